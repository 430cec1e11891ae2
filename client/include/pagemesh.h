/*
 * pagemesh.h - attach to a region of memory that several nodes share.
 *
 *     #include <pagemesh.h>                       cc prog.c -lpagemesh
 *
 *     pagemesh_region *region = pagemesh_attach("table");
 *     if (region == NULL) {
 *         fprintf(stderr, "%s\n", pagemesh_last_error());
 *         return 1;
 *     }
 *     _Atomic uint64_t *words = pagemesh_data(region);
 *     atomic_fetch_add(&words[0], 1);
 *     pagemesh_detach(region);
 *
 * A program that uses shm_open() or open(), and mmap(), needs none of this: it runs unmodified under
 * libpagemesh_preload.so.
 *
 * Memory    The data is ordinary memory. Other processes, on this node and on others, change it at any time: share it
 *           with C11 atomics and with locks built on them. Any word that is aligned to its size can be atomic. Pointers
 *           do not belong in it, as each process may have it at another address: store offsets.
 *           A first access to a page may wait for other nodes. If the agent goes away, an access that needs it waits;
 *           it never reads zeros or old data.
 *
 * Threads   Every function may be called from any thread, and a region may be used by all threads at once. Only
 *           pagemesh_detach() must be alone: after it, nobody may use that region or its memory.
 *
 * fork      The child has no mapping: an access there ends it with SIGSEGV. Attach again in the child. The child may call
 *           pagemesh_detach() on what it inherited, which frees only what is its own. The parent is not affected.
 *
 * exec      Every descriptor is close-on-exec. The attachment ends with the process, however it ends.
 *
 * Signals   Accesses to the data are allowed in signal handlers; these functions are not.
 *
 * Errors    A function that fails returns NULL, and pagemesh_last_error() says why and what to do. errno is not used.
 */
#ifndef PAGEMESH_H
#define PAGEMESH_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A region that this process is attached to. */
typedef struct pagemesh_region pagemesh_region;

/*
 * Attaches to the region `name`, which is NAME or NAMESPACE/NAME, at the agent whose socket the environment variable
 * PAGEMESH_SOCKET names, and maps all of it for reading and writing. Attaching twice gives two mappings of the same data.
 *
 * Returns NULL if that fails.
 */
pagemesh_region *pagemesh_attach(const char *name);

/* The same, at the agent that listens at the path `socket`. */
pagemesh_region *pagemesh_attach_to(const char *socket, const char *name);

/*
 * Attaches to read only, which every program may that may attach at all; to attach for writing fails where a program may
 * only read. A store to the data ends the program with SIGSEGV.
 */
pagemesh_region *pagemesh_attach_read_only(const char *name);

/* The same, at the agent that listens at the path `socket`. */
pagemesh_region *pagemesh_attach_read_only_to(const char *socket, const char *name);

/* Unmaps the region and ends the attachment. What was written stays in the region. NULL is allowed. */
void pagemesh_detach(pagemesh_region *region);

/* The first byte of the data, aligned to 4096. Valid until pagemesh_detach(). NULL for NULL. */
void *pagemesh_data(const pagemesh_region *region);

/* Bytes of data: a multiple of the page size. 0 for NULL. */
size_t pagemesh_size(const pagemesh_region *region);

/*
 * Bytes of a page: what nodes share at a time, a power of two from 4096 up. Keep what different nodes write in different
 * pages. 0 for NULL.
 */
size_t pagemesh_page_size(const pagemesh_region *region);

/*
 * One sentence about the last attach that failed in this thread; empty if none did. Valid until the next one fails in this
 * thread, or the thread ends. Never NULL.
 */
const char *pagemesh_last_error(void);

#ifdef __cplusplus
}
#endif

#endif
