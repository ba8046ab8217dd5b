"""The page of the vocabulary: what `m` is in the Python text of a meaning, and the functions that a page's meanings reach."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from operator import attrgetter

from isa.engine import operand_checks
from isa.engine.vocabulary import Vocabulary
from isa.instruction import rows
from isa.manual.document import Block, Code, Heading, Paragraph, Table
from isa.manual.notation import NOTATION
from isa.reach import Definition, definition_of, named, named_by, reached

TEXT = """
Each instruction's entry has its meaning as Python, as the reference engine runs it. An engine that leaves the same
registers, memory, CSRs, counters and traps is right, however it works. `m` is the machine. Its words are below, and nothing
else changes its state.

An instruction is executed in this order: it is fetched and decoded; its unit and its operands are checked
(`check_operands`); the meaning is called with the operands by name, a register as 64 bits without sign, an immediate as an
integer; what it returns is written to rd modulo 2**64, unless rd is x0; `core.instructions` counts 1, of a unit its `ops`
counts 1 too. Then the writes to memory and to the units' state become visible, which all have waited until here: so an
instruction reads what was there before it, also where its operands overlap. Where a write overlaps an earlier one of the
same instruction, the later one stays. A trap drops all of this, and the counts with it.

Integers of Python have no bounds. `np` is NumPy: arrays have the type that is named, integers of an array wrap,
floating-point operations are those of IEEE 754 in the type of the array, each rounded to nearest even, and nothing warns or
stops for overflow or NaN. Where two types meet, int8 and fp32 give fp32, and of two integers with signs, or two without, the
wider type holds; a number of Python takes the type of the array. The order of sums is that of the text.
`np.add.reduceat(x, starts)` sums from each start to the next one, and from the last one to the end. `@` is the matrix product,
`//` rounds down. `yield` hands over a piece at a time; the text of a function with `yield` starts when its first piece is asked
for.

`exact` is [arithmetic](arithmetic.md). `CSRS[name]` and `COUNTERS[name]` are rows of these tables ([CSRs](csrs.md),
[counters](counters.md)), their columns by name; `address` is the number.
"""

# Parts of the machine that are no words. Dotted names first: what is used of a part.
STATE: dict[str, str] = {
    "m.pc":                 "address of the current instruction",
    "m.next_pc":            "where the program goes on; the next instruction, unless a jump sets it",
    "m.x":                  "the 32 integer registers, 64 bits without sign; x[0] is 0",
    "m.fields":             "the numbers in the instruction's fields, by operand: of registers their numbers",
    "m.unit":               "whose memory port the instruction uses: its unit, or \"core\"",
    "m.written":            "the register that the instruction has set, and its value; for those who observe",
    "m.state":              "arrays of the units' state, by name, as they were before the instruction; each unit's page has them",
    "m.csr_values":         "what was written to each CSR, by number; at the start its reset value",
    "m.counts":             "the counters, by slot; all 0 at the start",
    "m.exit_code":          "set: the run ends after this instruction",
    "m.preset.name":        "name of the machine",
    "m.preset.banks":       "the banks behind hbm: [`Organisation`](pim.md#banksorganisation)",
    "m.preset.parameter":   "a size of a unit on this machine, by name",
    "m.preset.settings":    "a size or a text of a unit on this machine, by name",
    "m.preset.page_bytes":  "bytes of a page of flash, 0 where there is none",
    "m.preset.region":      "a region by name: its base, its size, its end behind the last byte; all but flash can be written",
    "m.preset.regions":     "all regions, with the units that have ports to each",
    "m.memory.region":      "the region that holds all of these bytes, None if none does",
    "m.memory.view":        "the bytes themselves",
    "m.memory.look":        "the same, for those who only read",
    "m.memory.holds":       "does the region have these bytes? Flash has those of the program's sections, every other region all",
    "m.devices":            "the device registers in mmio ([services.md](services.md))",
    "m.devices.have":       "is there a device register that holds all of these bytes?",
    "m.devices.stored":     "tells the devices of a store to these bytes: they act as [services.md](services.md) says",
    "m.host.write_all":     "prints bytes: to the output for file 1, to the errors for 2",
    "m.host.read_token":    "the next token of the prompt, -1 when there is none left",
    "m.host.emit_token":    "hands a token to the host",
    "m.host.sequence":      "whose tokens are emitted from now on",
    "m.host.show":          "lets the host look at numbers",
    "row.lengths":          "the names of the operands that a shape names, as n in f32[n]",
    "row.plain":            "the memory operands whose shape is made of numbers and of these, and that have no scales",
    "operand.access":       "`<` read, `>` written, `<>` both",
    "operand.layout":       "its shape: `size` are the bytes of all of it",
    "operand.align":        "of which its address is a multiple: the bytes of an element; 1 in packed formats",
    "region.ports":         "the units that reach the region, and \"core\"",
    "region.writable":      "can it be written?",
    "region.is_devices":    "is it mmio?",
    "m._reads":             "ranges that the instruction has read; for those who observe",
    "m._writes":            "writes that wait for the end of the instruction",
    "m._state_writes":      "changes of the units' state that wait for the end of the instruction",
}

_PAGES = {"isa.arithmetic": "arithmetic", "isa.half": "arithmetic", "isa.numbers": "numbers", "isa.traps": "traps",
          "isa.counters": "counters"}
_TABLES = {"CSRS": "csrs", "BY_ADDRESS": "csrs", "COUNTER_BY_ADDRESS": "csrs", "NUMBERS": "services"}
_WORDS = "vocabulary"


def page_of(definition: Definition) -> str:
    """The page that prints a definition."""
    if definition.module.startswith("isa.units."):
        return definition.module.split(".")[2]
    return _PAGES.get(definition.module) or _TABLES.get(definition.name, _WORDS)


def label(definition: Definition) -> str:
    """Its name on the pages: a word is `m.read`, a helper of a unit in several files `cache.by_row`."""
    if "." in definition.name:
        return "m." + definition.name.partition(".")[2]
    file = ".".join(definition.module.split(".")[3:])
    return f"{file}.{definition.name}" if file else definition.name


def anchor(heading: str) -> str:
    """The part behind # of a link to a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def link(name: str, definition: Definition, page: str) -> str:
    """A link from `page` to where a definition is printed; constants stand together."""
    there = page_of(definition)
    target = "" if there == page else f"{there}.md"
    if there == _WORDS or definition.module.startswith("isa.units."):
        target += f"#{anchor('Constants' if definition.is_constant else label(definition))}"
    return f"[`{name}`]({target or there + '.md'})"


def uses(names: dict[str, Definition], page: str) -> list[Block]:
    """A line of links to what a Python text names."""
    links = [link(name, definition, page) for name, definition in names.items()]
    return [Paragraph(f"Uses {', '.join(links)}.")] if links else []


@cache
def _printed() -> dict[str, tuple[Definition, ...]]:
    """What each page prints of what meanings reach, in the order of the files."""
    found: dict[Definition, None] = {}
    work = [definition for row in rows() for definition in (*named_by(row.meaning).values(), *reached(row.meaning))]
    work += [definition_of(operand_checks.check_operands), *(Definition(Vocabulary.__module__, f"Vocabulary.{name}")
                                                            for name in ("begin", "commit"))]
    while work:
        definition = work.pop()
        if definition not in found:
            found[definition] = None
            work += named(definition).values()
    order = sorted(found, key=lambda one: (one.module, one.tree.lineno))
    pages: dict[str, list[Definition]] = {}
    for definition in order:
        pages.setdefault(page_of(definition), []).append(definition)
    return {page: tuple(some) for page, some in pages.items()}


def printed(page: str) -> tuple[Definition, ...]:
    """The definitions that a page prints."""
    return _printed().get(page, ())


def functions(page: str) -> list[Block]:
    """The sections of functions and constants of a page, with links between them."""
    some = printed(page)
    blocks: list[Block] = [Heading(2, "Functions")] if some else []
    for definition in some:
        if not definition.is_constant:
            blocks += [Heading(3, label(definition)), Code(definition.text, "python"), *uses(named(definition), page)]
    constants = [definition for definition in some if definition.is_constant]
    if constants:
        blocks += [Heading(3, "Constants"), *_constants(constants)]
    return blocks


def _constants(some: Sequence[Definition]) -> Iterable[Block]:
    for module in dict.fromkeys(map(attrgetter("module"), some)):
        texts = dict.fromkeys(definition.text for definition in some if definition.module == module)
        yield Code("\n".join([f"# {module.removeprefix('isa.').removeprefix('units.')}", *texts]), "python")


def vocabulary_blocks() -> list[Block]:
    """The chapter."""
    names = [(name, unit or "all", what) for unit, some in NOTATION.items() for name, what in some.items()]
    return [Heading(1, "The Python of meanings"), *map(Paragraph, TEXT.strip().split("\n\n")),
            Heading(2, "Parts of the machine"), Table(("part", "is"), [(f"`{name}`", what) for name, what in STATE.items()]),
            Heading(2, "Names in short meanings"), Table(("name", "units", "is"), names),
            *functions(_WORDS)]
