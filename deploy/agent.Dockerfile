# pagemesh/agent. deploy/image/build makes the static program and the library that the build context holds, gives the
# labels, and checks that this image is the one that it packs without an engine.
FROM scratch
COPY pagemesh-agent /usr/local/bin/pagemesh-agent
# What it gives to pods.
COPY libpagemesh_preload.so /usr/local/lib/pagemesh/libpagemesh_preload.so
# Root: it opens /dev/userfaultfd, mounts a tmpfs and takes descriptors of all users' programs.
USER 0:0
ENTRYPOINT ["/usr/local/bin/pagemesh-agent"]
