// A rank: does what the harness orders, by one-sided operations on a window that rank 1 holds. The orders are those of order.rs.
// After each, both ranks meet at a barrier: until then the one that has nothing to do is inside MPI, so that what the other wants
// goes on. Between orders a rank sleeps, and takes no processor from those that are compared with it.

#include <mpi.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 256, WORDS = PAGE / 8, HOLDER = 1, COUNTER = PAGES * PAGE };

static MPI_Win window;
static FILE *orders, *harness;
static uint64_t memory[PAGES * WORDS];

static uint64_t now_nanos(void) {
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

// Says what is wrong, and ends both ranks.
__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...) {
	va_list arguments;
	va_start(arguments, format);
	fputs("error ", harness);
	vfprintf(harness, format, arguments);
	fputc('\n', harness);
	fflush(harness);
	va_end(arguments);
	MPI_Abort(MPI_COMM_WORLD, 1);
	abort();
}

static void check(const uint64_t *page, uint64_t word) {
	if (page[0] != word || page[WORDS - 1] != word)
		fail("%llu and %llu are read, not %llu", (unsigned long long)page[0],
		     (unsigned long long)page[WORDS - 1], (unsigned long long)word);
}

static void answer(uint64_t number) { fprintf(harness, "%llu ", (unsigned long long)number); }

static void get(void *to, int bytes, MPI_Aint from) {
	MPI_Get(to, bytes, MPI_BYTE, HOLDER, from, bytes, MPI_BYTE, window);
	MPI_Win_flush(HOLDER, window);
}

// Adds to the counter, or only reads it; returns what it was.
static uint64_t counter(MPI_Op operation) {
	uint64_t one = 1, before = 0;
	MPI_Fetch_and_op(&one, &before, MPI_UINT64_T, HOLDER, COUNTER, operation, window);
	MPI_Win_flush(HOLDER, window);
	return before;
}

static uint64_t number(char **rest) {
	char *end;
	uint64_t value = strtoull(*rest, &end, 10);
	if (end == *rest)
		fail("a number is missing");
	*rest = end;
	return value;
}

// The next page of a row of them, or -1 at its end.
static int next_page(char **rest) {
	while (**rest == ' ' || **rest == '\n')
		++*rest;
	if (**rest == 0)
		return -1;
	uint64_t page = number(rest);
	if (page >= PAGES)
		fail("there is no page %llu", (unsigned long long)page);
	return (int)page;
}

static void each_page(int writes, char *rest) {
	uint64_t tag = number(&rest);
	for (int page; (page = next_page(&rest)) >= 0;) {
		uint64_t word = tag + (uint64_t)page;
		if (writes)
			memory[0] = memory[WORDS - 1] = word;
		uint64_t start = now_nanos();
		if (writes) {
			MPI_Put(memory, PAGE, MPI_BYTE, HOLDER, (MPI_Aint)page * PAGE, PAGE, MPI_BYTE, window);
			MPI_Win_flush(HOLDER, window);
		} else {
			get(memory, PAGE, (MPI_Aint)page * PAGE);
		}
		answer(now_nanos() - start);
		if (!writes)
			check(memory, word);
	}
}

static void sweep(char *rest) {
	uint64_t tag = number(&rest), start = now_nanos();
	get(memory, sizeof memory, 0);
	answer(now_nanos() - start);
	for (int page = 0; page < PAGES; page++)
		check(memory + page * WORDS, tag + (uint64_t)page);
}

static void add(char *rest) {
	uint64_t nanos = number(&rest), start = now_nanos(), times = 0, passed;
	do {
		counter(MPI_SUM);
		times++;
		passed = now_nanos() - start;
	} while (passed < nanos);
	answer(passed);
	answer(times);
}

static void turns(char *rest) {
	uint64_t parity = number(&rest), times = number(&rest);
	while (times--) {
		uint64_t start = now_nanos();
		while (counter(MPI_NO_OP) % 2 != parity) {
		}
		counter(MPI_SUM);
		answer(now_nanos() - start);
	}
}

static void follow(char *line) {
	char *rest = line + strcspn(line, " \n");
	size_t length = (size_t)(rest - line);
	if (length == 4 && !memcmp(line, "read", length))
		each_page(0, rest);
	else if (length == 5 && !memcmp(line, "write", length))
		each_page(1, rest);
	else if (length == 5 && !memcmp(line, "sweep", length))
		sweep(rest);
	else if (length == 3 && !memcmp(line, "add", length))
		add(rest);
	else if (length == 5 && !memcmp(line, "turns", length))
		turns(rest);
	else if (length == 5 && !memcmp(line, "value", length))
		answer(counter(MPI_NO_OP));
	else if (length != 5 || memcmp(line, "serve", length))
		fail("the harness orders what there is not");
}

int main(int count, char **arguments) {
	int rank, ranks;
	MPI_Init(&count, &arguments);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (count != 2 || ranks != 2 || strlen(arguments[1]) >= sizeof address.sun_path) {
		fputs("two ranks and a socket are needed\n", stderr);
		MPI_Abort(MPI_COMM_WORLD, 2);
	}
	strcpy(address.sun_path, arguments[1]);

	void *base;
	MPI_Win_allocate(rank == HOLDER ? COUNTER + PAGE : 0, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &base, &window);
	if (rank == HOLDER)
		memset(base, 0, COUNTER + PAGE);
	MPI_Barrier(MPI_COMM_WORLD);
	MPI_Win_lock_all(MPI_MODE_NOCHECK, window);

	int connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connection < 0 || connect(connection, (struct sockaddr *)&address, sizeof address) ||
	    !(orders = fdopen(connection, "r")) || !(harness = fdopen(dup(connection), "w"))) {
		perror("the harness does not answer");
		MPI_Abort(MPI_COMM_WORLD, 1);
	}
	fputc(rank, harness);
	fflush(harness);
	char *line = NULL;
	for (size_t space = 0; getline(&line, &space, orders) > 0;) {
		follow(line);
		MPI_Barrier(MPI_COMM_WORLD);
		fputc('\n', harness);
		fflush(harness);
	}
	free(line);
	MPI_Win_unlock_all(window);
	MPI_Win_free(&window);
	MPI_Finalize();
	return 0;
}
