#!/usr/bin/env python3
"""Checks that relative links in the Markdown files lead somewhere, and that the book's summary has every page.

Standard library only. Prints each mistake as FILE:LINE and exits with 1 if there is one.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "docs" / "src"
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^\s*(```|~~~)")


def lines_outside_code(text):
    """The lines of a page with their numbers, code blocks left out and code spans blanked."""
    in_code = False
    for number, line in enumerate(text.splitlines(), start=1):
        if FENCE.match(line):
            in_code = not in_code
        elif not in_code:
            yield number, re.sub(r"`[^`]*`", "", line)


def anchors(page):
    """The anchors of a page's headings, as mdBook and GitHub make them."""
    found = set()
    in_code = False
    for line in page.read_text(encoding="utf-8").splitlines():
        if FENCE.match(line):
            in_code = not in_code
        elif not in_code and line.startswith("#"):
            heading = line.lstrip("#").strip().lower()
            found.add(re.sub(r"[^\w\- ]", "", heading).replace(" ", "-"))
    return found


def mistakes_of(page):
    for number, line in lines_outside_code(page.read_text(encoding="utf-8")):
        for match in LINK.finditer(line):
            link = match.group(1) or match.group(2)
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists():
                yield f"{page.relative_to(ROOT)}:{number}: {link} leads nowhere"
            elif anchor and target.suffix == ".md" and anchor not in anchors(target):
                yield f"{page.relative_to(ROOT)}:{number}: {link} names no heading of that page"


def pages_without_entry():
    summary = BOOK / "SUMMARY.md"
    listed = {(BOOK / link).resolve() for link in re.findall(r"\]\(([^)]+)\)", summary.read_text(encoding="utf-8"))}
    for page in sorted(BOOK.rglob("*.md")):
        if page != summary and page.resolve() not in listed:
            yield f"{page.relative_to(ROOT)}:1: is not in SUMMARY.md"


def main():
    pages = sorted(ROOT.glob("*.md")) + sorted(BOOK.rglob("*.md"))
    mistakes = [mistake for page in pages for mistake in mistakes_of(page)]
    mistakes += pages_without_entry()
    for mistake in mistakes:
        print(mistake)
    print(f"{len(pages)} pages, {len(mistakes)} mistakes")
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
