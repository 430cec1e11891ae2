"""Workers on several nodes fill one dictionary: each stores index -> index * 2, and all see all of it.

Nothing here knows of pagemesh. On one machine it works without, on several with `pagemesh run`.

usage: dictionary.py NAME INDEX WORKERS RUN    (RUN: a number, not 0, that is the same for all workers of a run)
"""

import struct
import sys
import time
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import ShareableList

EMPTY = -1
DEADLINE_SECONDS = 30


def create(name, workers, run):
    """The list [run, value of 0, value of 1, ...]; None if another worker makes it."""
    try:
        table = ShareableList([0] + [EMPTY] * workers, name=name)
    except FileExistsError:
        return None
    table[0] = run  # Last: whoever sees it sees the rest.
    return table


def attach(name, workers, run):
    """The list that another worker has made; None if it is not complete yet."""
    try:
        table = ShareableList(name=name)
    except (OSError, ValueError, struct.error):
        return None
    # Python before 3.13 takes whatever it attaches to for its own, and would unlink it.
    resource_tracker.unregister(table.shm._name, "shared_memory")
    try:
        if len(table) == 1 + workers and table[0] == run:
            return table
    except (ValueError, struct.error):
        pass
    table.shm.close()
    return None


def wait_for(what, attempt, deadline):
    while (result := attempt()) is None:
        if time.monotonic() > deadline:
            sys.exit(f"gave up waiting for {what}")
        time.sleep(0.005)
    return result


def main():
    name, index, workers, run = sys.argv[1], *map(int, sys.argv[2:5])
    deadline = time.monotonic() + DEADLINE_SECONDS
    created = create(name, workers, run)
    table = created
    if table is None:
        table = wait_for("the list", lambda: attach(name, workers, run), deadline)

    table[1 + index] = index * 2

    def everybody():
        values = list(table)[1:]
        return None if EMPTY in values else values

    values = wait_for("the other workers", everybody, deadline)
    print(dict(enumerate(values)))
    table.shm.close()
    if created is not None:
        created.shm.unlink()


main()
