/* What is not a region goes to libc untouched. Also run without PAGEMESH_SOCKET: then it does not matter what is named. */
#include "check.h"

static void use(const char *format)
{
    char name[64], path[80];
    snprintf(name, sizeof name, format, getpid());
    snprintf(path, sizeof path, "/dev/shm%s", name);

    FAILS(shm_open(name, O_RDWR, 0), ENOENT);
    FAILS(shm_unlink(name), ENOENT);
    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(fd >= 0);
    FAILS(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
    struct stat stat_;
    CHECK(stat(path, &stat_) == 0);
    CHECK(ftruncate(fd, 100000) == 0);
    CHECK(fstat(fd, &stat_) == 0 && stat_.st_size == 100000);
    CHECK(posix_fallocate(fd, 0, 200000) == 0);
    CHECK(fstat(fd, &stat_) == 0 && stat_.st_size == 200000);
    CHECK(fchmod(fd, 0640) == 0 && fstat(fd, &stat_) == 0 && (stat_.st_mode & 0777) == 0640);
    CHECK((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR);
    CHECK(pwrite(fd, "local", 6, 4096) == 6);

    char *shared = mmap(NULL, 200000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *private = mmap(NULL, 200000, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(shared != MAP_FAILED && private != MAP_FAILED);
    CHECK(strcmp(shared + 4096, "local") == 0);
    private[4096] = 'f';
    CHECK(strcmp(shared + 4096, "local") == 0);
    expect_success(fork() ?: (strcpy(shared, "child"), _exit(0), 0));
    CHECK(strcmp(shared, "child") == 0);
    CHECK(madvise(shared, 4096, MADV_REMOVE) == 0 && shared[0] == 0);
    CHECK(munmap(shared, 200000) == 0 && munmap(private, 200000) == 0);

    int copy = dup2(fd, 30);
    CHECK(copy == 30 && close(copy) == 0 && close(fd) == 0);
    FAILS(close(fd), EBADF);
    CHECK(shm_unlink(name) == 0);
    FAILS(shm_unlink(name), ENOENT);
}

int main(void)
{
    /* What cannot be a region's name, and what could but is none. */
    use("/pagemesh_local_%d");
    use("/pagemesh-local-%d");

    /* Names that libc refuses. */
    FAILS(shm_open("/", O_RDWR, 0), EINVAL);
    FAILS(shm_open("/a_b/c", O_RDWR | O_CREAT, 0600), EINVAL);
    return 0;
}
