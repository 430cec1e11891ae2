/* munmap, MAP_FIXED, mprotect, mremap and madvise of all and of parts of a region's mapping, whose pages have up
 * to 128 KiB. */
#include "check.h"

#define HALF (SIZE / 2)

static int mapped(void *at)
{
    unsigned char vec;
    return mincore(at, 4096, &vec) == 0 || errno != ENOMEM;
}

int main(int argc, char **argv)
{
    const char *name = region_name(argc, argv);
    int fd = open_region(name);

    /* An odd length, and an offset that is no multiple of a large page: released whole. */
    char *whole = map_region(fd, SIZE, 0);
    strcpy(whole + 3 * 4096, "three");
    char *odd = map_region(fd, 5 * 1024, 3 * 4096);
    CHECK(strcmp(odd, "three") == 0);
    strcpy(odd + 4096, "four");
    CHECK(strcmp(whole + 4 * 4096, "four") == 0);
    CHECK(munmap(odd, 5 * 1024) == 0);
    CHECK(!mapped(odd) && !mapped(odd + 4096));

    /* Parts from the middle, the front and the back; the rest goes on. */
    char *parts = map_region(fd, SIZE, 0);
    CHECK(munmap(parts + HALF / 2, HALF) == 0);
    CHECK(!mapped(parts + HALF) && mapped(parts) && mapped(parts + SIZE - 4096));
    strcpy(parts, "front");
    strcpy(parts + SIZE - 4096, "back");
    CHECK(strcmp(whole, "front") == 0 && strcmp(whole + SIZE - 4096, "back") == 0);
    expect_success(fork() ?: (strcpy(parts + 100, "child"), _exit(0), 0));
    CHECK(strcmp(whole + 100, "child") == 0);
    /* In 4 KiB steps a large page goes when the last of it is unmapped. */
    for (size_t at = 0; at < HALF / 2; at += 4096) {
        parts[at]++;
        CHECK(munmap(parts + at, 4096) == 0);
    }
    CHECK(!mapped(parts));
    /* Over everything, with holes. */
    CHECK(munmap(parts, SIZE) == 0);
    CHECK(!mapped(parts + SIZE - 4096));
    CHECK(munmap(parts, SIZE) == 0);
    FAILS(munmap(parts + 1, 4096), EINVAL);
    FAILS(munmap(parts, 0), EINVAL);

    /* A mapping at a place of the program's choice, over what is there, and something else over it. */
    char *space = mmap(NULL, 2 * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(space != MAP_FAILED);
    FAILS(mmap(space, SIZE, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0), EEXIST);
    CHECK(mmap(space, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == space);
    strcpy(space + 200, "fixed");
    CHECK(strcmp(whole + 200, "fixed") == 0);
    CHECK(mmap(space, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == space);
    CHECK(strcmp(space + 200, "fixed") == 0);
    void *over = mmap(space + HALF, HALF, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    CHECK(over == space + HALF);
    space[HALF + 300] = 'p';
    whole[HALF + 300] = 's';
    CHECK(space[HALF + 300] == 'p' && strcmp(space + 200, "fixed") == 0);
    CHECK(munmap(space, 2 * SIZE) == 0);
    CHECK(!mapped(space) && !mapped(space + HALF));

    /* Protection is kept, also in children. */
    CHECK(mprotect(whole + HALF, HALF, PROT_READ) == 0);
    CHECK(store_is_fatal(whole + HALF) && !store_is_fatal(whole));
    CHECK(mprotect(whole, SIZE, PROT_READ | PROT_WRITE) == 0);
    CHECK(!store_is_fatal(whole + HALF));

    /* What would break coherence is refused. */
    FAILS(mremap(whole, SIZE, 2 * SIZE, MREMAP_MAYMOVE), EINVAL);
    FAILS(madvise(whole, SIZE, MADV_REMOVE), EINVAL);
    FAILS(madvise(whole, SIZE, MADV_DOFORK), EINVAL);
    FAILS(madvise(whole, SIZE, MADV_HUGEPAGE), EINVAL);
    /* What would not is not. */
    strcpy(whole + 8192, "kept");
    CHECK(madvise(whole, SIZE, MADV_DONTNEED) == 0);
    CHECK(strcmp(whole + 8192, "kept") == 0);
    CHECK(madvise(whole, SIZE, MADV_SEQUENTIAL) == 0);
    CHECK(msync(whole, SIZE, MS_SYNC) == 0);
    CHECK(strcmp(whole + 8192, "kept") == 0);

    /* Populated and locked mappings do not skip the agent. */
    char *ready = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE | MAP_LOCKED, fd, 0);
    CHECK(ready != MAP_FAILED && strcmp(ready + 8192, "kept") == 0);
    CHECK(munmap(ready, SIZE) == 0);
    CHECK(munmap(whole, SIZE) == 0);

    /* Other memory is none of our business. */
    char *plain = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(plain != MAP_FAILED);
    plain = mremap(plain, 8192, 1 << 20, MREMAP_MAYMOVE);
    CHECK(plain != MAP_FAILED);
    plain[(1 << 20) - 1] = 1;
    CHECK(munmap(plain, 1 << 20) == 0);
    CHECK(shm_unlink(name) == 0);
    return 0;
}
