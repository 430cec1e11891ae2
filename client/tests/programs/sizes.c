/* Sizes and modes: fstat, statx, ftruncate, posix_fallocate, O_TRUNC, read-only and private mappings. */
#include "check.h"

static off_t size_of(int fd)
{
    struct stat stat, at;
    CHECK(fstat(fd, &stat) == 0);
    CHECK(fstatat(fd, "", &at, AT_EMPTY_PATH) == 0 && at.st_size == stat.st_size);
#ifdef STATX_SIZE
    struct statx statx_;
    CHECK(statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &statx_) == 0);
    CHECK((off_t)statx_.stx_size == stat.st_size);
#endif
    CHECK(S_ISREG(stat.st_mode));
    return stat.st_size;
}

int main(int argc, char **argv)
{
    const char *name = region_name(argc, argv);
    int fd = shm_open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    off_t full = size_of(fd);
    CHECK(full >= (off_t)SIZE && full % 4096 == 0);

    /* The size that a program sets is what every descriptor shows, and is never more than the region's. */
    CHECK(ftruncate(fd, 1000) == 0);
    CHECK(size_of(fd) == 1000);
    int other = shm_open(name, O_RDONLY, 0);
    CHECK(other >= 0);
    CHECK(size_of(other) == 1000);
    CHECK(ftruncate(fd, full) == 0);
    CHECK(size_of(other) == full);
    FAILS(ftruncate(fd, full + 1), EFBIG);
    FAILS(ftruncate(fd, -1), EINVAL);
    CHECK(size_of(fd) == full);
    CHECK(ftruncate(fd, 5000) == 0);
    CHECK(posix_fallocate(fd, 0, 100) == 0);
    CHECK(size_of(fd) == 5000);
    CHECK(posix_fallocate(fd, 0, 9000) == 0);
    CHECK(size_of(fd) == 9000);
    CHECK(posix_fallocate(fd, 0, full + 1) == ENOSPC);
    FAILS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), EOPNOTSUPP);
    CHECK(fchmod(fd, 0644) == 0);

    /* A descriptor reaches the memory by mmap only. */
    char byte = 'x';
    FAILS(read(fd, &byte, 1), EBADF);
    FAILS(write(fd, &byte, 1), EBADF);

    /* Reading only. */
    CHECK((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR);
    CHECK((fcntl(other, F_GETFL) & O_ACCMODE) == O_RDONLY);
    FAILS(ftruncate(other, 10), EINVAL);
    FAILS(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, other, 0), EACCES);
    _Atomic uint64_t *words = map_region(fd, SIZE, 0);
    const _Atomic uint64_t *seen = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, other, 0);
    CHECK(seen != MAP_FAILED);
    words[77] = 4711;
    CHECK(seen[77] == 4711);
    FAILS(mprotect((void *)seen, SIZE, PROT_READ | PROT_WRITE), EACCES);
    CHECK(store_is_fatal((volatile char *)seen));

    /* A private mapping to read is fine, one to write would not be private. */
    const uint64_t *private = mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, fd, 0);
    CHECK(private != MAP_FAILED && private[77] == 4711);
    FAILS(mprotect((void *)private, SIZE, PROT_READ | PROT_WRITE), EACCES);
    FAILS(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0), ENODEV);

    /* Arguments that cannot be. */
    FAILS(mmap(NULL, 0, PROT_READ, MAP_SHARED, fd, 0), EINVAL);
    FAILS(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 100), EINVAL);
    FAILS(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, full), ENXIO);
    FAILS(mmap(NULL, full + 1, PROT_READ, MAP_SHARED, fd, 0), ENXIO);
    FAILS(mmap(NULL, SIZE_MAX, PROT_READ, MAP_SHARED, fd, 0), EINVAL);
    FAILS(shm_open(name, O_WRONLY, 0), EINVAL);

    /* The name can be made by one at a time, and again after it is unlinked. The data stays. */
    FAILS(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
    CHECK(shm_unlink(name) == 0);
    CHECK(size_of(fd) == full);
    int again = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(again >= 0);
    CHECK(((_Atomic uint64_t *)map_region(again, SIZE, 0))[77] == 4711);
    CHECK(shm_unlink(name) == 0);
    return 0;
}
