/*
 * What is not a region goes to libc untouched. Also run without PAGEMESH_SOCKET: then it does not matter what is named.
 * With an argument no thread is cancelled.
 */
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
    CHECK(stat(path, &stat_) == 0 && lstat(path, &stat_) == 0 && fstatat(AT_FDCWD, path, &stat_, 0) == 0);
    CHECK(access(path, R_OK | W_OK) == 0 && faccessat(AT_FDCWD, path, F_OK, AT_EACCESS) == 0);
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

    /* The same as a file, which it is. */
    FAILS(open(path, O_RDWR), ENOENT);
    FAILS(unlink(path), ENOENT);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0640);
    CHECK(fd >= 0 && write(fd, "file", 4) == 4 && lseek(fd, 1, SEEK_SET) == 1 && lseek(fd, 1, SEEK_CUR) == 2);
    CHECK(fstat(fd, &stat_) == 0 && (stat_.st_mode & 0777) == 0640);
    CHECK(close(fd) == 0);
    fd = creat(path, 0600);
    CHECK(fd >= 0 && lseek(fd, 0, SEEK_END) == 0 && close(fd) == 0);
    FILE *stream = fopen(path, "w+");
    char word[8] = "";
    CHECK(stream != NULL && fputs("stdio", stream) >= 0 && fseek(stream, 1, SEEK_SET) == 0);
    CHECK(fgets(word, sizeof word, stream) != NULL && strcmp(word, "tdio") == 0 && fclose(stream) == 0);
    CHECK(remove(path) == 0);
    FAILS(remove(path), ENOENT);
    CHECK(mkdir(path, 0700) == 0 && remove(path) == 0);
}

/* A thread may be cancelled where it waits in a function that the library stands in front of. */
static const char *fifo;
static void *wait_in_open(void *unused)
{
    open(fifo, O_RDONLY);
    return unused;
}

static void *wait_in_fcntl(void *unused)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open(fifo, O_RDWR);
    fcntl(fd, F_SETLKW, &lock);
    return unused;
}

static void cancelled(void *(*waiting)(void *))
{
    pthread_t thread;
    void *result;
    CHECK(pthread_create(&thread, NULL, waiting, NULL) == 0);
    CHECK(pthread_cancel(thread) == 0);
    CHECK(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
}

static void cancel(void)
{
    char name[64];
    snprintf(name, sizeof name, "/tmp/pagemesh-local-%d", getpid());
    fifo = name;
    CHECK(mkfifo(name, 0600) == 0);
    cancelled(wait_in_open);
    CHECK(unlink(name) == 0);

    /* Another process has the lock. */
    int ready[2], file = open(name, O_RDWR | O_CREAT, 0600);
    char byte;
    CHECK(file >= 0 && pipe(ready) == 0);
    pid_t child = fork();
    if (child == 0) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        CHECK(fcntl(file, F_SETLK, &lock) == 0 && write(ready[1], "x", 1) == 1);
        pause();
    }
    CHECK(child > 0 && read(ready[0], &byte, 1) == 1);
    cancelled(wait_in_fcntl);
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    CHECK(close(file) == 0 && unlink(name) == 0);
}

int main(int argc, char **argv)
{
    /* What cannot be a region's name, and what could but is none. */
    use("/pagemesh_local_%d");
    use("/pagemesh-local-%d");

    /* Names that libc refuses. */
    FAILS(shm_open("/", O_RDWR, 0), EINVAL);
    FAILS(shm_open("/a_b/c", O_RDWR | O_CREAT, 0600), EINVAL);

    /* Nothing is there, whoever is asked. */
    struct stat stat_;
    FAILS(open("/pagemesh/nothing", O_RDWR | O_CREAT, 0600), ENOENT);
    FAILS(stat("/pagemesh/no_thing", &stat_), ENOENT);
    FAILS(access("/pagemesh/a/b/c", F_OK), ENOENT);
    FAILS(unlink("/pagemesh/nothing"), ENOENT);
    FAILS(open(NULL, O_RDONLY), EFAULT);
    (void)argv;
    if (argc == 1)
        cancel();
    return 0;
}
