"""Reads and writes a region for as long as it lives, and says every second how it went.

Usage: load.py REGION INDEX COUNT [PAGES]

COUNT of these run at a time, on any nodes. Page p belongs to program p % COUNT: only that one writes it, always the next
number, and looks before each write that nobody else has. All read all pages: what they see of a page must never go
backwards. It ends at SIGTERM with exit status 0 if nothing was ever wrong.
"""
import json
import random
import signal
import sys
import time
from multiprocessing.shared_memory import SharedMemory

PAGE = 4096
PACE = 0.0005  # leaves room for others on small machines


def main():
    region, index, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    pages = int(sys.argv[4]) if len(sys.argv) > 4 else 64 * count
    memory = SharedMemory(region)
    words = memory.buf.cast("Q")
    chance = random.Random(index)
    mine = [page for page in range(pages) if page % count == index]
    written = {page: words[page * PAGE // 8] for page in mine}
    seen = [0] * pages
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    report = {"reads": 0, "writes": 0, "wrong": 0, "longest_ms": 0.0}
    complaint = ""
    said = time.monotonic()
    while True:
        start = time.monotonic()
        page = chance.randrange(pages)
        value = words[page * PAGE // 8]
        report["reads"] += 1
        if value < seen[page]:
            report["wrong"] += 1
            complaint = f"page {page} went back from {seen[page]} to {value}"
        seen[page] = max(seen[page], value)
        page = chance.choice(mine)
        value = words[page * PAGE // 8]
        if value != written[page]:
            report["wrong"] += 1
            complaint = f"page {page} has {value}, but {written[page]} was written last"
        written[page] += 1
        words[page * PAGE // 8] = written[page]
        report["writes"] += 1
        now = time.monotonic()
        report["longest_ms"] = max(report["longest_ms"], (now - start) * 1000)
        if now - said >= 1 or stopping:
            said = now
            line = dict(report, longest_ms=round(report["longest_ms"], 1), at=round(time.time(), 1))
            if complaint:
                line["complaint"] = complaint
            print(json.dumps(line), flush=True)
        if stopping:
            # Others may look at what was written last.
            print(json.dumps({"written": written}), flush=True)
            sys.exit(1 if report["wrong"] else 0)
        time.sleep(PACE)


main()
