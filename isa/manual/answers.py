"""What the manual answers to `slimulator isa QUERY`: an instruction, a unit, a topic, a name, or what a search finds."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from typing import Any, NoReturn

from isa import numbers, registers
from isa.counters import COUNTERS
from isa.csrs import CSRS
from isa.effects import counters, csrs, traps
from isa.formats import FORMATS
from isa.instruction import TABLE, Row, rows
from isa.manual.document import Block, Heading, Paragraph, Table
from isa.manual.entry import as_json, entry, families, family_name
from isa.manual.reset import TYPES
from isa.manual.search import MOST, Entry, search
from isa.manual.topics import (
    TEXT,
    TOPICS,
    Answer,
    counter_data,
    counter_table,
    csr_table,
    number_blocks,
    number_data,
    rate_table,
    running_text,
    trap_data,
    trap_table,
)
from isa.manual.vocabulary import functions
from isa.preset import preset_names
from isa.regions import REGIONS
from isa.traps import Cause
from isa.unit import Unit
from isa.units import UNITS


class UnknownEntry(LookupError):
    """The manual has no such entry; the message names the nearest ones."""


def look_up(query: str = "", more: Sequence[Entry] = ()) -> Answer:
    """The answer to `slimulator isa QUERY`: a mnemonic, a family of them ("lut.mac"), a unit, a topic, or a CSR, counter,
    trap (also "trap 24"), number format, register or region by name, or a name that a unit's introduction explains; all of the
    units when the query is empty. Other words are searched for in all of these, and in `more`. Raises UnknownEntry."""
    if not query:
        return Answer(index(), [as_json(row) for row in rows()])
    if query in TABLE:
        return Answer(entry([TABLE[query]], 1), as_json(TABLE[query]))
    trap = re.fullmatch(r"trap +(\w+)(?: *\(.*\))?", query, re.IGNORECASE)             # as a report says: "trap 26 (capacity)"
    if trap and (trap[1].isdecimal() or trap[1].upper() in Cause.__members__):
        return _trap(trap[1])
    if query in UNITS:
        return Answer([*_unit_head(UNITS[query]), _summary(list(rows(query)))], [as_json(row) for row in rows(query)])
    if query in TOPICS:
        return TOPICS[query]()
    family = [row for row in rows() if row.mnemonic.startswith(query.removesuffix(".") + ".")]
    if family:
        groups = families(family)
        return Answer(entry(groups[0], 1) if len(groups) == 1 else [Heading(1, query), _summary(family)],
                      [as_json(row) for row in family])
    named = _named(query)
    if named:
        return named
    for topic, names in (("registers", registers.NUMBER), ("formats", FORMATS), ("memory", REGIONS)):
        if query in names:
            return TOPICS[topic]()
    if query.lower() in preset_names():
        raise UnknownEntry(f"the manual has no entry {query!r}\nhint: `slimulator machines {query.lower()}` prints this machine")
    if query.lower() != query and query.lower() in (*TABLE, *UNITS, *CSRS, *COUNTERS, *numbers.FORMATS, *REGIONS):
        return look_up(query.lower())
    found = search(query, more) if "." not in query else []             # a mnemonic with a slip is answered with the nearest ones
    return _of_introductions(query) or _found(query, found) or _unknown(query)


def _found(query: str, entries: Sequence[Entry]) -> Answer | None:
    """A list of what a search has found."""
    if not entries:
        return None
    shown = f", the first {MOST} of them" if len(entries) > MOST else ""
    return Answer([Heading(1, f"{len(entries)} {'entries' if len(entries) > 1 else 'entry'} with {query!r}{shown}"),
                   Table(("entry", "kind", "is"), [(entry.name, entry.kind, entry.text) for entry in entries[:MOST]]),
                   Paragraph("`slimulator isa ENTRY` prints one.")],
                  [{"name": entry.name, "kind": entry.kind, "text": entry.text} for entry in entries])


def _unknown(query: str) -> NoReturn:
    """Raise UnknownEntry with the names that begin like the query, or are like it."""
    groups = [*(row.mnemonic.rpartition(".")[0] for row in TABLE.values()), *UNITS, *TOPICS, *CSRS, *COUNTERS]
    known = [*TABLE, *groups, *numbers.FORMATS, *(cause.name for cause in Cause)]
    near = dict.fromkeys([*(name for name in groups if name.startswith(query)), *get_close_matches(query, known, n=4)]
                         or get_close_matches(query.lower(), known, n=4))
    raise UnknownEntry(f"the manual has no entry {query!r}"
                       + (f"\nhint: did you mean {' or '.join([*near][:4])}?" if near else
                          "\nhint: `slimulator isa` lists units, instructions and topics"))


_NAME = re.compile(r"(?<![\w`.])(\.\w+|[A-Z][A-Z0-9_]+|[a-z]+_\w+)\b|`(\.?\w+)")       # as running text writes names


def _of_introductions(query: str) -> Answer | None:
    """What units' introductions say of a name that no table has, such as a mode or `.crf`: paragraphs, with pictures below them."""
    blocks: list[Block] = []
    data = {}
    for unit in UNITS.values():
        parts = re.split(r"\n\n(?! {4})", inspect.cleandoc(unit.text))
        found = [part for part in parts if query.lower() in {name.lower() for names in _NAME.findall(part) for name in names}]
        if found:
            data[unit.name] = "\n\n".join(found)
            blocks += [Heading(1, f"{query}, in {unit.name}: {unit.title}"), *running_text(data[unit.name])]
    return Answer(blocks, {"name": query, "introductions": data}) if data else None


# ------------------------------------------------------------------------------------------------ index and units


def index() -> list[Block]:
    blocks: list[Block] = [
        Heading(1, "The Slim machine's instruction set"),
        Paragraph(TEXT["index"]),
    ]
    for unit in UNITS.values():
        blocks += [Heading(2, f"{unit.name}: {unit.title}"),
                   Paragraph(", ".join(_forms(group) for group in families(rows(unit.name))))]
    return [*blocks, Heading(2, "Topics"), Paragraph(", ".join(TOPICS))]


def _unit_head(unit: Unit) -> list[Block]:
    blocks: list[Block] = [Heading(1, f"{unit.name}: {unit.title}"), *running_text(inspect.cleandoc(unit.text))]
    if unit.csrs:
        blocks += [Heading(2, "CSRs"), csr_table([csr.name for csr in unit.csrs])]
    if unit.parameters:
        blocks += [Heading(2, "Sizes that the machine preset gives"),
                   Table(("parameter", "unit", "is"), [(p.name, p.unit, p.text) for p in unit.parameters])]
    if unit.rates:
        blocks += [Heading(2, "Rates that the machine preset gives"), rate_table(unit.rates)]
    if unit.state:
        blocks += [Heading(2, "State inside the unit"), Paragraph(TYPES),
                   Table(("array", "type", "length", "is"), [(s.name, s.dtype, str(s.length), s.text) for s in unit.state])]
    if unit.counters:
        blocks += [Heading(2, "Counters"), counter_table([counter.name for counter in unit.counters])]
    return [*blocks, Heading(2, "Instructions")]


def _summary(some: Iterable[Row]) -> Table:
    return Table(("instruction", "does"), [
        (f"{_forms(group)} {group[0].syntax}".strip(), " ".join(group[0].text.split())) for group in families(some)])


def _forms(group: Sequence[Row]) -> str:
    """ "lut.mac.{b1,t2,t5}" """
    name = family_name(group)
    suffixes = [row.mnemonic.removeprefix(name).removeprefix(".") for row in group]
    return name if len(group) == 1 else f"{name}.{{{','.join(suffixes)}}}"


def unit_page(unit: Unit) -> list[Block]:
    return [*_unit_head(unit), *(block for group in families(rows(unit.name)) for block in entry(group)), *functions(unit.name)]


# ------------------------------------------------------------------------------------------------ one name


def _trap(word: str) -> Answer:
    """A trap by its number or name. Raises UnknownEntry for another number."""
    names = {str(int(cause)): cause.name for cause in Cause}
    answer = _named(names.get(word, word))
    if answer is None:
        raise UnknownEntry(f"no trap has the number {word}; the traps are "
                           + ", ".join(f"{number} {name.lower()}" for number, name in names.items()))
    return answer


def _named(name: str) -> Answer | None:
    """A single counter, CSR, trap or number format, with the instructions that have to do with it."""
    used: Callable[[Row], Iterable[Any]]
    if name in COUNTERS:
        table, data, verb, used = counter_table([name]), counter_data(name), "Touched by", counters
    elif name in CSRS:
        table, data, verb, used = csr_table([name]), asdict(CSRS[name]), "Used by", csrs
    elif name.upper() in Cause.__members__:
        cause = Cause[name.upper()]
        table, data, verb, used = trap_table([cause]), trap_data(cause), "Raised by", traps
        name = name.upper()
    elif name in numbers.FORMATS:
        fmt, data = numbers.FORMATS[name], number_data(name)
        users = [row.mnemonic for row in rows() if any(operand.access and operand.layout.form == name for operand in row.operands)]
        return Answer([*number_blocks(fmt, 1), Paragraph(f"Operands of: {', '.join(users) or 'no instruction'}.")], data)
    else:
        return None
    users = [row.mnemonic for row in rows() if any(str(getattr(item, "name", item)) == name for item in used(row))]
    some = "every instruction" if len(users) == len(TABLE) else ", ".join(users) or "no instruction by itself"
    return Answer([Heading(1, name), table, Paragraph(f"{verb}: {some}.")], data)
