/* Counts in word 0 of a region until it is killed, and leaves 4711 in the last word. Says "counting" once it has begun. */
#include "check.h"

int main(int argc, char **argv)
{
    _Atomic uint64_t *words = map_region(open_region(region_name(argc, argv)), SIZE, 0);
    words[SIZE / 8 - 1] = 4711;
    CHECK(puts("counting") >= 0 && fflush(stdout) == 0);
    for (;;)
        words[0]++;
}
