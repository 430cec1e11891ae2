/*
 * A text and a hash table of its words, put into shared memory by one process and used by others on other nodes. Offsets
 * serve as pointers, since each process may have the memory at another address.
 *
 * Nothing here knows of pagemesh. On one machine it works without, on several with `pagemesh run`.
 *
 * usage: words NAME build TEXT      counts the words of the file TEXT into the table, and puts TEXT behind it
 *        words NAME check TEXT      counts them by itself, looks each of them up, and compares; then compares the text
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BUCKETS 16384
#define LONGEST 63

struct entry {
    uint64_t next; /* offset, 0 at the end */
    uint64_t count;
    uint32_t length;
    char word[];
};

struct table {
    _Atomic uint64_t ready;
    uint64_t size; /* of the memory */
    uint64_t used; /* of it */
    uint64_t words, distinct;
    uint64_t text; /* offset, behind all entries */
    uint64_t buckets[BUCKETS]; /* offsets */
};

static struct entry *at(struct table *table, uint64_t offset)
{
    /* What an offset says is checked as any input is: 0 is the end, and an entry lies within the memory. */
    if (offset < sizeof *table || offset > table->used - sizeof(struct entry))
        return NULL;
    return (struct entry *)((char *)table + offset);
}

static uint64_t hash(const char *word, uint32_t length)
{
    uint64_t hash = 0xcbf29ce484222325; /* FNV-1a */
    for (uint32_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)word[i]) * 0x100000001b3;
    return hash ^ hash >> 32;
}

static struct entry *find(struct table *table, const char *word, uint32_t length)
{
    struct entry *entry = at(table, table->buckets[hash(word, length) % BUCKETS]);
    while (entry != NULL && (entry->length != length || memcmp(entry->word, word, length) != 0))
        entry = at(table, entry->next);
    return entry;
}

static void add(struct table *table, const char *word, uint32_t length)
{
    struct entry *entry = find(table, word, length);
    if (entry == NULL) {
        uint64_t bytes = (sizeof *entry + length + 7) & ~7ULL;
        if (table->size - table->used < bytes) {
            fprintf(stderr, "words: the memory is full: give it more, or a shorter text\n");
            exit(1);
        }
        uint64_t offset = table->used, *bucket = &table->buckets[hash(word, length) % BUCKETS];
        table->used += bytes;
        entry = at(table, offset);
        *entry = (struct entry){.next = *bucket, .count = 0, .length = length};
        memcpy(entry->word, word, length);
        *bucket = offset;
        table->distinct++;
    }
    entry->count++;
    table->words++;
}

/* Counts the words of a text into an empty table: runs of letters, in lower case. */
static void count(struct table *table, uint64_t size, const char *text, size_t length)
{
    memset(table, 0, sizeof *table);
    table->size = size;
    table->used = sizeof *table;
    char word[LONGEST];
    uint32_t letters = 0;
    for (size_t i = 0; i <= length; i++) {
        if (i < length && isalpha((unsigned char)text[i])) {
            if (letters < LONGEST)
                word[letters++] = tolower((unsigned char)text[i]);
        } else if (letters > 0) {
            add(table, word, letters);
            letters = 0;
        }
    }
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static void fail(const char *what)
{
    fprintf(stderr, "words: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Looks up every word of `own` in `shared`; the number that is not there or counted otherwise. */
static uint64_t compare(struct table *own, struct table *shared)
{
    uint64_t wrong = 0;
    for (int bucket = 0; bucket < BUCKETS; bucket++) {
        for (struct entry *word = at(own, own->buckets[bucket]); word != NULL; word = at(own, word->next)) {
            struct entry *found = find(shared, word->word, word->length);
            wrong += found == NULL || found->count != word->count;
        }
    }
    return wrong;
}

/* Says how fast `bytes` came, and returns the time now. */
static double report(const char *what, double bytes, double since)
{
    double now = seconds();
    printf("%s: %.2f MB in %.1f ms, %.0f MB/s\n", what, bytes / 1e6, (now - since) * 1e3, bytes / (now - since) / 1e6);
    return now;
}

static int check(struct table *own, struct table *shared, size_t size, const char *text, size_t length)
{
    if (!atomic_load(&shared->ready) || shared->text > size || length > size - shared->text) {
        fprintf(stderr, "words: nobody has built the table of this text\n");
        return 1;
    }
    uint64_t entries = shared->used;
    double start = seconds();
    uint64_t wrong = compare(own, shared);
    start = report("looked up all words", entries, start);
    wrong += compare(own, shared);
    start = report("again, from memory", entries, start);
    int other = memcmp(text, (char *)shared + shared->text, length);
    report("read the text", length, start);
    printf("%lu words that occur %lu times: %lu wrong; the text is %s\n", own->distinct, own->words, wrong,
           other == 0 ? "the same" : "ANOTHER");
    return wrong != 0 || other != 0 || own->distinct != shared->distinct || own->words != shared->words;
}

/* Maps a whole file, or dies. */
static void *map(const char *name, int fd, int protection, int flags, size_t *size)
{
    struct stat stat;
    if (fd < 0 || fstat(fd, &stat) != 0)
        fail(name);
    void *memory = mmap(NULL, *size = stat.st_size, protection, flags, fd, 0);
    if (memory == MAP_FAILED)
        fail(name);
    return memory;
}

static int build(const char *name, const char *text, size_t length, size_t room)
{
    size_t size;
    int fd = shm_open(name, O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, room + length) != 0)
        fail(name);
    struct table *shared = map(name, fd, PROT_READ | PROT_WRITE, MAP_SHARED, &size);
    double start = seconds();
    count(shared, size, text, length);
    shared->text = size - length;
    memcpy((char *)shared + shared->text, text, length);
    atomic_store(&shared->ready, 1);
    printf("built a table of %lu words that occur %lu times, %.2f MB, in %.1f ms\n", shared->distinct,
           shared->words, shared->used / 1e6, (seconds() - start) * 1e3);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 4 || (strcmp(argv[2], "build") != 0 && strcmp(argv[2], "check") != 0)) {
        fprintf(stderr, "usage: words NAME build|check TEXT\n");
        return 2;
    }
    size_t length, size;
    const char *text = map(argv[3], open(argv[3], O_RDONLY), PROT_READ, MAP_PRIVATE, &length);
    /* Every word has a letter and one byte behind it, and takes an entry and at most 8 bytes more for every 8 letters. */
    size_t room = sizeof(struct table) + (length + 1) / 2 * (sizeof(struct entry) + 8);
    char name[256];
    snprintf(name, sizeof name, "/%s", argv[1]);
    if (strcmp(argv[2], "build") == 0)
        return build(name, text, length, room);

    struct table *shared = map(name, shm_open(name, O_RDONLY, 0), PROT_READ, MAP_SHARED, &size);
    struct table *own = malloc(room);
    if (own == NULL)
        fail("memory");
    count(own, room, text, length);
    return check(own, shared, size, text, length);
}
