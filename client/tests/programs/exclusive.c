/* Of many processes that open a region with O_CREAT | O_EXCL at the same time, one makes it. */
#include "check.h"

#define PROCESSES 8
#define ROUNDS 20

int main(int argc, char **argv)
{
    const char *name = region_name(argc, argv);
    for (int round = 0; round < ROUNDS; round++) {
        shm_unlink(name);
        pid_t children[PROCESSES];
        for (int i = 0; i < PROCESSES; i++) {
            children[i] = fork();
            CHECK(children[i] >= 0);
            if (children[i] == 0) {
                int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
                CHECK(fd >= 0 || errno == EEXIST);
                _exit(fd >= 0);
            }
        }
        int made = 0;
        for (int i = 0; i < PROCESSES; i++) {
            int status;
            CHECK(waitpid(children[i], &status, 0) == children[i]);
            CHECK(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
            made += WEXITSTATUS(status);
        }
        CHECK(made == 1);
    }
    CHECK(shm_unlink(name) == 0);
    return 0;
}
