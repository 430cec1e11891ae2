# pagemesh/agent. deploy/image/build makes the static program that the build context holds, gives the labels, and checks
# that this image is the one that it packs without an engine.
FROM scratch
COPY pagemesh-agent /usr/local/bin/pagemesh-agent
# Root: it opens /dev/userfaultfd, mounts a tmpfs and takes descriptors of all users' programs.
USER 0:0
ENTRYPOINT ["/usr/local/bin/pagemesh-agent"]
