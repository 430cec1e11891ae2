/* Descriptors of a region are duplicated and closed like any; the program can neither see nor close ours. */
#include "check.h"

static off_t size_of(int fd)
{
    struct stat stat;
    CHECK(fstat(fd, &stat) == 0);
    return stat.st_size;
}

static void check_it_works(int fd)
{
    CHECK(size_of(fd) == (off_t)SIZE);
    _Atomic int *word = map_region(fd, 4096, 0);
    *word = *word + 1;
    CHECK(munmap((void *)word, 4096) == 0);
}

int main(int argc, char **argv)
{
    const char *name = region_name(argc, argv);

    /* The number is the one that it would be without us. */
    int lowest = dup(0);
    close(lowest);
    int fd = open_region(name);
    CHECK(fd == lowest);
    CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);

    int copy = dup(fd);
    CHECK(copy == lowest + 1 && fcntl(copy, F_GETFD) == 0);
    check_it_works(copy);
    CHECK(dup2(fd, 40) == 40 && dup2(40, 40) == 40);
    FAILS(dup2(41, 41), EBADF);
    CHECK(dup3(fd, 41, O_CLOEXEC) == 41);
    FAILS(dup3(fd, fd, 0), EINVAL);
    CHECK(fcntl(fd, F_DUPFD_CLOEXEC, 50) == 50);
    CHECK(fcntl(fd, F_DUPFD, 60) == 60);
    int all[] = {fd, copy, 40, 41, 50, 60};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        check_it_works(all[i]);

    /* One name less does not matter to the others, and a closed one is closed. */
    CHECK(close(fd) == 0);
    FAILS(close(fd), EBADF);
    struct stat stat;
    FAILS(fstat(fd, &stat), EBADF);
    FAILS(dup(fd), EBADF);
    check_it_works(copy);

    /* Another file under a number that was a region's. */
    int file = open("/dev/null", O_RDWR);
    CHECK(file == fd);
    CHECK(size_of(file) == 0);
    CHECK(dup2(file, 40) == 40 && size_of(40) == 0);
    CHECK(dup2(copy, file) == file && size_of(file) == (off_t)SIZE);

    /* stdio closes past us. */
    FILE *stream = fdopen(file, "r");
    if (stream != NULL) {
        fclose(stream);
        CHECK(open("/dev/null", O_RDWR) == file);
        CHECK(size_of(file) == 0);
    }

    /* A mapping outlives every descriptor, and closing all numbers, each way that programs have. */
    _Atomic int *word = map_region(copy, 4096, 0);
    int value = *word;
    CHECK(close_range(3, 59, 0) == 0);
    FAILS(fstat(copy, &stat), EBADF);
    check_it_works(60);
    for (int i = 3; i < 4096; i++)
        close(i);
    CHECK(*word == value + 1);
    closefrom(3);
    CHECK(close_range(3, ~0U, 0) == 0);
    *word = 7;
    fd = open_region(name);
    CHECK(fd == 3);
    CHECK(*(_Atomic int *)map_region(fd, 4096, 0) == 7);

    /* A program may take any number, also one of ours. */
    for (int i = 100; i < 700; i++)
        CHECK(dup2(fd, i) == i);
    check_it_works(699);
    expect_success(fork() ?: (check_it_works(600), _exit(0), 0));
    for (int i = 100; i < 700; i++)
        CHECK(close(i) == 0);
    *word = 8;
    check_it_works(fd);
    CHECK(munmap((void *)word, 4096) == 0);
    CHECK(shm_unlink(name) == 0);
    return 0;
}
