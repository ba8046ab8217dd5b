"""Full-text search of the manual: `slimulator isa sparse rows` finds what has these words in its name or its text, best first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from inspect import cleandoc

from isa import numbers, services
from isa.counters import COUNTERS
from isa.csrs import CSRS
from isa.formats import FORMATS
from isa.instruction import rows
from isa.manual.entry import families, family_name
from isa.regions import REGIONS
from isa.traps import MEANING, Cause
from isa.units import UNITS

MOST = 40                   # entries that are shown


@dataclass(frozen=True)
class Entry:
    """Something that the manual explains. `text` says what it is, `body` is what else is said of it."""

    name: str
    kind: str
    text: str
    body: str = ""


def entries() -> Iterator[Entry]:
    """All of them, in the order of the manual."""
    for unit in UNITS.values():
        yield Entry(unit.name, "unit", unit.title, cleandoc(unit.text))
        for group in families(rows(unit.name)):
            yield Entry(family_name(group), "instruction", " ".join(group[0].text.split()),
                        " ".join((unit.title, *(f"{row.mnemonic} {row.syntax} {row.example}" for row in group))))
        for parameter in unit.parameters:
            yield Entry(parameter.name, f"size of {unit.name}", parameter.text)
        for state in unit.state:
            yield Entry(state.name, f"state of {unit.name}", state.text)
    yield from (Entry(name, "counter", counter.text, counter.unit) for name, counter in COUNTERS.items())
    yield from (Entry(name, "CSR", csr.text) for name, csr in CSRS.items() if name not in COUNTERS)
    yield from (Entry(name, "number format", form.text, form.values) for name, form in numbers.FORMATS.items())
    yield from (Entry(cause.name, "trap", MEANING[cause]) for cause in Cause)
    yield from (Entry(name, "region", kind.text) for name, kind in REGIONS.items())
    yield from (Entry(form.name, "instruction format", form.syntax) for form in FORMATS.values())
    yield from (Entry("services", "topic", f"{service.name}: {service.text}") for service in services.SERVICES)


def search(query: str, more: Iterable[Entry] = ()) -> list[Entry]:
    """The entries, and those of `more`, that have every word of a query, best first: in the name, in the text, elsewhere."""
    words = [word for word in re.split(r"\s+", query.lower()) if word]
    ranked = [(rank, entry) for entry in (*entries(), *more) if words and (rank := _rank(entry, words))]
    return [entry for _, entry in sorted(ranked, key=lambda item: -item[0])]


def _rank(entry: Entry, words: Sequence[str]) -> int:
    """0 if a word is missing."""
    ranks = [_of_word(entry, word) for word in words]
    return sum(ranks) if all(ranks) else 0


def _of_word(entry: Entry, word: str) -> int:
    name = entry.name.lower()
    if word in re.split(r"[._]", name):
        return 8
    stem = word.removesuffix("s") if len(word) > 3 else word
    start = re.compile(rf"(?<![^\W_]){re.escape(stem)}", re.IGNORECASE)         # "rows" finds "row", "row" not "narrow"
    return 6 if word in name else 4 if start.search(f"{entry.text} {entry.kind}") else 2 if start.search(entry.body) else 0
