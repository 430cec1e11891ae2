/*
 * Takes the pages of a region away from whoever uses them, and changes nothing, until it is killed: for programs that must
 * not notice. Says "disturbing" once it has begun.
 */
#include "check.h"

int main(int argc, char **argv)
{
    int fd = shm_open(region_name(argc, argv), O_RDWR, 0);
    CHECK(fd >= 0);
    char *memory = map_region(fd, SIZE, 0);
    for (unsigned long round = 0;; round++) {
        for (size_t at = 0; at < SIZE; at += 4096)
            atomic_fetch_add((_Atomic int *)(memory + at), 0);
        if (round == 0)
            CHECK(puts("disturbing") >= 0 && fflush(stdout) == 0);
    }
}
