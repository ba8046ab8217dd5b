"""Tables in the running text of a unit's page, taken apart: what a page says is what tests hold the engines to."""

from __future__ import annotations

import re
from collections.abc import Iterator

from isa.units import UNITS


def table(unit: str, beginning: str) -> list[str]:
    """The lines of the table behind the paragraph of a unit's text that begins so."""
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
