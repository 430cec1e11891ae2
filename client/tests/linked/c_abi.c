/* The C ABI, linked with -lpagemesh and without the preload library: usage: c_abi REGION, with PAGEMESH_SOCKET set. */
#include "../programs/check.h"
#include <pagemesh.h>

static void *attach_and_count(void *name)
{
    for (int i = 0; i < 20; i++) {
        pagemesh_region *region = pagemesh_attach(name);
        CHECK(region != NULL);
        atomic_fetch_add((_Atomic uint64_t *)pagemesh_data(region), 1);
        pagemesh_detach(region);
    }
    return NULL;
}

static void fails_with(pagemesh_region *region, const char *words)
{
    CHECK(region == NULL);
    if (strstr(pagemesh_last_error(), words) == NULL)
        fprintf(stderr, "\"%s\" does not say \"%s\"\n", pagemesh_last_error(), words);
    CHECK(strstr(pagemesh_last_error(), words) != NULL);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2 && *pagemesh_last_error() == 0);
    pagemesh_region *region = pagemesh_attach(argv[1]);
    if (region == NULL)
        fprintf(stderr, "%s\n", pagemesh_last_error());
    CHECK(region != NULL);
    size_t size = pagemesh_size(region), page = pagemesh_page_size(region);
    CHECK(size >= SIZE && page >= 4096 && size % page == 0);
    _Atomic uint64_t *words = pagemesh_data(region);
    CHECK((uintptr_t)words % 4096 == 0);
    words[0] = 0;
    words[size / 8 - 1] = 5;

    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, attach_and_count, argv[1]) == 0);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(words[0] == 80);

    /* A child has no mapping, may give up what it inherited, and can attach by itself. */
    CHECK(store_is_fatal(pagemesh_data(region)));
    pid_t child = fork();
    if (child == 0) {
        pagemesh_detach(region);
        region = pagemesh_attach_to(getenv("PAGEMESH_SOCKET"), argv[1]);
        CHECK(region != NULL);
        words = pagemesh_data(region);
        CHECK(words[size / 8 - 1] == 5);
        words[0] = 81;
        pagemesh_detach(region);
        exit(0);
    }
    expect_success(child);
    CHECK(words[0] == 81);

    /* To read only: the kernel itself cannot store there for us. */
    pagemesh_region *reader = pagemesh_attach_read_only(argv[1]);
    CHECK(reader != NULL && pagemesh_size(reader) == size);
    const _Atomic uint64_t *seen = pagemesh_data(reader);
    CHECK(seen != words && seen[0] == 81 && seen[size / 8 - 1] == 5);
    int zeros = open("/dev/zero", O_RDONLY);
    CHECK(zeros >= 0);
    FAILS(read(zeros, (void *)seen, 8), EFAULT);
    CHECK(read(zeros, (void *)words, 8) == 8 && close(zeros) == 0);
    CHECK(seen[0] == 0);
    pagemesh_detach(reader);
    reader = pagemesh_attach_read_only_to(getenv("PAGEMESH_SOCKET"), argv[1]);
    CHECK(reader != NULL);
    pagemesh_detach(reader);

    fails_with(pagemesh_attach_read_only("no-such-region"), "no-such-region");
    fails_with(pagemesh_attach("no-such-region"), "no-such-region");
    fails_with(pagemesh_attach("No Region"), "NAME");
    fails_with(pagemesh_attach(NULL), "NAME");
    fails_with(pagemesh_attach_to("/nowhere.sock", argv[1]), "start the agent");
    fails_with(pagemesh_attach_to(NULL, argv[1]), "path");
    CHECK(unsetenv("PAGEMESH_SOCKET") == 0);
    fails_with(pagemesh_attach(argv[1]), "pagemesh run");

    pagemesh_detach(region);
    pagemesh_detach(NULL);
    CHECK(pagemesh_data(NULL) == NULL && pagemesh_size(NULL) == 0 && pagemesh_page_size(NULL) == 0);
    return 0;
}
