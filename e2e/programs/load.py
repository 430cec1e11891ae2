"""Reads and writes all pages of a region until it is told to end, and says every second how it went.

Usage: load.py REGION INDEX COUNT

COUNT of these run at a time, on any nodes. Page p belongs to program p % COUNT: only that one writes it, always the next
number, and looks before each write that nobody else has. All read all pages: what they see of a page must never go
backwards. At SIGTERM it looks at every page once more and ends, with exit status 0 if nothing was ever wrong.
"""
import json
import random
import signal
import sys
import time
from multiprocessing.shared_memory import SharedMemory

PAGE = 4096
WORD = 8
PACE = 0.0005  # leaves room for others on small machines


def main():
    region, index, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    memory = SharedMemory(region)
    # The first word of each page.
    words = memory.buf.cast("Q")[:: PAGE // WORD]
    mine = range(index, len(words), count)
    seen = [0] * len(words)
    for page in mine:
        seen[page] = words[page]
    report = {"reads": 0, "writes": 0, "wrong": 0, "longest_ms": 0.0, "ended": False}

    def look(page):
        value = words[page]
        report["reads"] += 1
        if value < seen[page] or (value != seen[page] and page in mine):
            report["wrong"] += 1
            report["complaint"] = f"page {page} has {value} after {seen[page]}"
        seen[page] = value

    def say():
        print(json.dumps(dict(report, at=round(time.time(), 1))), flush=True)

    told_to_end = []
    signal.signal(signal.SIGTERM, lambda *_: told_to_end.append(True))
    chance = random.Random(index)
    said = time.monotonic()
    while not told_to_end:
        start = time.monotonic()
        look(chance.randrange(len(words)))
        page = chance.choice(mine)
        look(page)
        seen[page] += 1
        words[page] = seen[page]
        report["writes"] += 1
        now = time.monotonic()
        report["longest_ms"] = max(report["longest_ms"], round((now - start) * 1000, 1))
        if now - said >= 1:
            said = now
            say()
        time.sleep(PACE)
    for page in range(len(words)):
        look(page)
    words.release()
    memory.close()
    report["ended"] = True
    say()
    sys.exit(1 if report["wrong"] else 0)


main()
