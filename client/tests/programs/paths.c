/* A region is opened, measured and unlinked by path, as it is by shm_open. */
#include "check.h"

static off_t size_at(const char *path)
{
    struct stat by_stat, by_lstat, by_fstatat;
    CHECK(stat(path, &by_stat) == 0 && lstat(path, &by_lstat) == 0);
    CHECK(fstatat(AT_FDCWD, path, &by_fstatat, AT_SYMLINK_NOFOLLOW) == 0);
    CHECK(S_ISREG(by_stat.st_mode) && by_stat.st_ino == by_lstat.st_ino);
    CHECK(by_stat.st_size == by_lstat.st_size && by_stat.st_size == by_fstatat.st_size);
#ifdef STATX_SIZE
    struct statx by_statx;
    CHECK(statx(AT_FDCWD, path, 0, STATX_SIZE, &by_statx) == 0);
    CHECK((off_t)by_statx.stx_size == by_stat.st_size);
#endif
    return by_stat.st_size;
}

static void use(const char *name, const char *path, const char *other)
{
    /* One region under all of its names. */
    int by_name = open_region(name);
    int fd = open(path, O_RDWR);
    CHECK(fd == by_name + 1);
    CHECK(fcntl(by_name, F_GETFD) == FD_CLOEXEC && fcntl(fd, F_GETFD) == 0);
    FAILS(open(path, O_RDONLY | O_DIRECTORY), ENOTDIR);
    CHECK((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR);
    _Atomic uint64_t *words = map_region(by_name, 4096, 0);
    _Atomic uint64_t *same = map_region(fd, 4096, 0);
    words[9] = (uintptr_t)path;
    CHECK(same[9] == (uintptr_t)path);
    CHECK(size_at(path) == (off_t)SIZE && size_at(other) == (off_t)SIZE);
    CHECK(ftruncate(fd, 5000) == 0 && size_at(path) == 5000 && size_at(other) == 5000);

    /* A position, which is all that seeking does. */
    CHECK(lseek(fd, 0, SEEK_CUR) == 0);
    CHECK(lseek(fd, 0, SEEK_END) == 5000);
    CHECK(lseek(fd, -1000, SEEK_CUR) == 4000);
    CHECK(lseek(fd, 100, SEEK_SET) == 100);
    FAILS(lseek(fd, -1, SEEK_SET), EINVAL);
    FAILS(lseek(fd, 0, 77), EINVAL);
    CHECK(lseek(fd, 0, SEEK_CUR) == 100);
    char byte = 'x';
    FAILS(read(fd, &byte, 1), EBADF);
    FAILS(write(fd, &byte, 1), EBADF);

    /* What may be done with it. */
    CHECK(access(path, F_OK) == 0 && access(path, R_OK | W_OK) == 0);
    FAILS(access(path, R_OK | X_OK), EACCES);
    CHECK(faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0 && euidaccess(path, R_OK) == 0);
    int reader = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    CHECK(reader >= 0 && fcntl(reader, F_GETFD) == FD_CLOEXEC);
    FAILS(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, reader, 0), EACCES);
    CHECK(((_Atomic uint64_t *)mmap(NULL, 4096, PROT_READ, MAP_SHARED, reader, 0))[9] == (uintptr_t)path);

    /* Made and given up, by either name. creat() shows all of it again. */
    FAILS(open(path, O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
    CHECK(unlink(other) == 0);
    int made = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(made >= 0);
    CHECK(shm_unlink(name) == 0);
    CHECK(ftruncate(made, 4096) == 0);
    int created = creat(path, 0600);
    CHECK(created >= 0 && size_at(path) > (off_t)SIZE && ftruncate(created, SIZE) == 0);
    FAILS(open(path, O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
    FAILS(unlinkat(AT_FDCWD, path, AT_REMOVEDIR), ENOTDIR);
    CHECK(remove(path) == 0);
    CHECK(words[9] == (uintptr_t)path);

    CHECK(munmap((void *)words, 4096) == 0 && munmap((void *)same, 4096) == 0);
    int all[] = {by_name, fd, reader, made, created};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        CHECK(close(all[i]) == 0);
}

int main(int argc, char **argv)
{
    const char *name = region_name(argc, argv);
    char shared[300], ours[300], nothing[300];
    snprintf(shared, sizeof shared, "/dev/shm%s", name);
    snprintf(ours, sizeof ours, "/pagemesh%s", name);
    use(name, shared, ours);
    use(name, ours, shared);

    /* Nothing is there: the agent is asked, and says no. */
    snprintf(nothing, sizeof nothing, "%s-not", ours);
    FAILS(open(nothing, O_RDWR | O_CREAT, 0600), ENOENT);
    FAILS(access(nothing, F_OK), ENOENT);
    return 0;
}
