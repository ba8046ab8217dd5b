"""Tables of the manual, taken apart, for tests that hold what a page says against the engines.

`table` has those between bars, by column; `table_in_text` the indented ones in the running text of a unit, line by line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from isa.units import UNITS

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


# ------------------------------------------------------------------------------------------------ running text


def table_in_text(unit: str, beginning: str) -> list[str]:
    """The lines of the indented table behind the paragraph of a unit's text that begins so."""
    parts = re.split(r"\n\n", UNITS[unit].text)
    after = next(number for number, part in enumerate(parts) if part.startswith(beginning)) + 1
    assert parts[after].startswith("    "), beginning
    return [line[4:] for line in parts[after].splitlines()]


def by_mnemonic(lines: list[str]) -> dict[str, str]:
    """Lines "pim.rd, pim.wr    rest", continued by indented ones: mnemonic, or its beginning -> rest."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in lines:
        if line.startswith(" "):
            for name in names:
                found[name] += " " + line.strip()
            continue
        left, _, rest = re.sub(r"  +", "\t", line).partition("\t")
        names = left.split(", ")
        found |= dict.fromkeys(names, rest)
    return found


def entry(found: dict[str, str], mnemonic: str) -> str:
    """The entry for a mnemonic: its own, or that of its longest beginning up to a dot. Raises KeyError."""
    parts = mnemonic.split(".")
    for count in range(len(parts), 0, -1):
        if ".".join(parts[:count]) in found:
            return found[".".join(parts[:count])]
    raise KeyError(mnemonic)


def events(text: str) -> Iterator[tuple[str, str]]:
    """(counter without its unit, formula) of "row_hits C*P, read_commands C"."""
    for part in re.split(r",\s+", text):
        name, _, formula = part.strip().partition(" ")
        yield name, formula
