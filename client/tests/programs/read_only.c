/*
 * A region that the program may only read, and in word 0 of which somebody else counts. Usage: read_only REGION
 * With `forbidden` for a second argument: one that it may not even read. With a descriptor: after an exec.
 */
#include "check.h"

static const _Atomic uint64_t *words;

/* Nobody can store there for us, not even the kernel. */
static void cannot_be_written(const _Atomic uint64_t *at)
{
    int zeros = open("/dev/zero", O_RDONLY);
    CHECK(zeros >= 0);
    FAILS(read(zeros, (void *)at, 8), EFAULT);
    CHECK(close(zeros) == 0);
    FAILS(mprotect((void *)at, 4096, PROT_READ | PROT_WRITE), EACCES);
    FAILS(mprotect((void *)at, 4096, PROT_WRITE), EACCES);
    FAILS(read(0x7fff, (void *)at, 8), EBADF);
}

/* What the others store arrives. */
static void goes_on(const _Atomic uint64_t *at)
{
    time_t deadline = time(NULL) + 20;
    uint64_t first = *at;
    while (*at == first)
        CHECK(time(NULL) < deadline);
}

static void check_map(int fd)
{
    const _Atomic uint64_t *shared = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
    const _Atomic uint64_t *private = mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK(shared != MAP_FAILED && private != MAP_FAILED);
    const _Atomic uint64_t *both[] = {shared, private};
    for (int i = 0; i < 2; i++) {
        CHECK(both[i][SIZE / 8 - 1] == 4711);
        goes_on(both[i]);
        cannot_be_written(both[i]);
        CHECK(mprotect((void *)both[i], 4096, PROT_NONE) == 0);
        CHECK(mprotect((void *)both[i], 4096, PROT_READ) == 0);
        goes_on(both[i]);
        CHECK(munmap((void *)both[i], SIZE) == 0);
    }
    FAILS(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), EACCES);
    FAILS(mmap(NULL, SIZE, PROT_WRITE, MAP_SHARED, fd, 0), EACCES);
    CHECK((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
    FAILS(ftruncate(fd, 4096), EINVAL);
    CHECK(posix_fallocate(fd, 0, 4096) == EBADF);
    struct stat stat;
    CHECK(fstat(fd, &stat) == 0 && stat.st_size == (off_t)SIZE);
}

int main(int argc, char **argv)
{
    const char *name = region_name(argc, argv);
    char shared[300], ours[300];
    snprintf(shared, sizeof shared, "/dev/shm%s", name);
    snprintf(ours, sizeof ours, "/pagemesh%s", name);
    if (argc == 3 && strcmp(argv[2], "forbidden") == 0) {
        FAILS(shm_open(name, O_RDONLY, 0), EACCES);
        FAILS(open(shared, O_RDONLY), EACCES);
        FAILS(open(ours, O_RDWR), EACCES);
        FAILS(access(ours, F_OK), EACCES);
        return 0;
    }
    if (argc == 3) {
        check_map(atoi(argv[2]));
        return 0;
    }

    FAILS(shm_open(name, O_RDWR, 0), EACCES);
    FAILS(shm_open(name, O_RDWR | O_CREAT | O_TRUNC, 0600), EACCES);
    FAILS(open(shared, O_RDWR), EACCES);
    FAILS(open(ours, O_WRONLY), EACCES);
    FAILS(creat(ours, 0600), EACCES);
    FAILS(shm_open(name, O_RDONLY | O_CREAT | O_EXCL, 0600), EEXIST);
    FAILS(shm_unlink(name), EACCES);
    FAILS(unlink(ours), EACCES);
    CHECK(access(ours, R_OK) == 0);
    FAILS(access(ours, R_OK | W_OK), EACCES);

    int all[] = {shm_open(name, O_RDONLY, 0), open(shared, O_RDONLY), open(ours, O_RDONLY | O_CREAT, 0600)};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        CHECK(all[i] >= 0);
        check_map(all[i]);
    }
    /* With a descriptor and a mapping, it is no more than before. */
    words = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, all[0], 0);
    CHECK(words != MAP_FAILED);
    FAILS(open(ours, O_RDWR), EACCES);

    pid_t child = fork();
    if (child == 0) {
        goes_on(words);
        cannot_be_written(words);
        check_map(all[1]);
        _exit(0);
    }
    expect_success(child);
    child = fork();
    if (child == 0) {
        char number[16];
        snprintf(number, sizeof number, "%d", dup(all[2]));
        execv("/proc/self/exe", (char *[]){argv[0], argv[1], number, NULL});
        _exit(1);
    }
    expect_success(child);
    CHECK(store_is_fatal((volatile char *)words));
    goes_on(words);
    return 0;
}
