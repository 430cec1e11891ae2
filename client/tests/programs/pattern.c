/*
 * What one node writes another reads, whatever way it maps. Usage: pattern REGION write|read|locked|populated SEED
 * locked: under mlockall, so that the kernel touches every page of a mapping as it is made. populated: with MAP_POPULATE.
 */
#include "check.h"

int main(int argc, char **argv)
{
    const char *name = region_name(argc, argv);
    CHECK(argc == 4);
    const char *how = argv[2];
    uint64_t seed = strtoull(argv[3], NULL, 10);
    if (strcmp(how, "locked") == 0)
        CHECK(mlockall(MCL_CURRENT | MCL_FUTURE) == 0);

    int fd = open_region(name);
    int flags = MAP_SHARED | (strcmp(how, "populated") == 0 ? MAP_POPULATE : 0);
    uint64_t *words = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, flags, fd, 0);
    CHECK(words != MAP_FAILED);
    for (uint64_t i = 0; i < SIZE / 8; i++) {
        uint64_t word = (i + 1) * (seed + 1);
        if (strcmp(how, "write") == 0)
            words[i] = word;
        else
            CHECK(words[i] == word);
    }
    return 0;
}
