"""Tables of the manual's pages as lists of rows, for tests that hold what a page says against the engines."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs" / "isa"


def tables(page: str) -> list[list[dict[str, str]]]:
    """The tables of a page of docs/isa, in order: for each row its cells by the header of their column."""
    found: list[list[dict[str, str]]] = []
    for block in re.findall(r"(?:^\|.*\n)+", (DOCS / f"{page}.md").read_text(encoding="utf-8"), re.MULTILINE):
        header, _, *lines = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
                             for line in block.splitlines()]
        found.append([dict(zip(header, line, strict=True)) for line in lines])
    return found


def table(page: str, *columns: str) -> list[dict[str, str]]:
    """The only table of a page that has these columns."""
    found = [rows for rows in tables(page) if rows and set(columns) <= rows[0].keys()]
    assert len(found) == 1, f"{len(found)} tables of {page}.md have the columns {columns}"
    return found[0]
