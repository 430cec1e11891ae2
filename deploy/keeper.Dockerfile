# pagemesh/keeper. deploy/image/build makes the static program that the build context holds, gives the labels, and checks
# that this image is the one that it packs without an engine.
FROM scratch
COPY pagemesh-keeper /usr/local/bin/pagemesh-keeper
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/pagemesh-keeper"]
