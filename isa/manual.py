"""The manual: every page of docs/isa and every answer of `slimulator isa`, from the tables that the machine itself uses.

`python -m isa.manual DIRECTORY` writes the pages. One instruction's entry stands in isa/entry.py, the renderings in
isa/document.py.
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NoReturn

from isa import arithmetic, half, numbers, registers, services
from isa.counters import COUNTERS, csr_address
from isa.csrs import CSRS
from isa.document import Block, Code, Heading, Paragraph, Table, markdown
from isa.entry import as_json, counters, csrs, entry, families, family_name, traps
from isa.formats import FORMATS
from isa.instruction import TABLE, Row, rows
from isa.preset import Preset, Sourced, load_preset, preset_names
from isa.regions import REGIONS
from isa.search import MOST, Entry, search
from isa.traps import MEANING, Cause
from isa.unit import Unit
from isa.units import UNITS

# What tables cannot say, by page.
TEXT = {
    "index": """
RV64IM with Zicsr and Zicntr is the control core, machine mode only. Xslim adds instructions that work on whole
vectors and tiles. An Xslim operand is an integer register that holds an address, a length, an index or the bits of an f32;
what rarely changes sits in CSRs. An instruction reads all of its operands before it writes any result, so operands may
overlap; one that traps leaves nothing written. A length of zero moves nothing.""",
    "csrs": """
Control and status registers. Bits that are not writable keep their reset value; access to any other number is an
illegal instruction. Every counter is a read-only CSR too.""",
    "counters": """
Exact events, 64 bits wide, zero at the start. They are part of the architecture: the same program and input
give the same counts on every engine. Cycles and joules are estimates and not among them.""",
    "traps": """
A trap is precise: registers, memory and counters are as if the instruction had not started, except that
core.traps counts it. With mtvec = 0 it ends the run and is reported with pc, source line, operands and reason; otherwise the
handler runs.""",
    "trap_order": """
An Xslim instruction raises one trap: the first that applies. Every instruction checks in this order.

1. The unit: ILLEGAL_INSTRUCTION where the machine does not have it.
2. The length operands, in operand order: CAPACITY for one beyond 2**28. Lengths are the operands that a shape names: n in f32[n].
3. The memory operands whose shape is made of numbers and length operands alone: all that are read, in operand order, then all that
are written. Of each operand: first its alignment, MISALIGNED_OPERAND; then whether it lies in one region, LOAD_ACCESS or
STORE_ACCESS; then whether the unit has a port there, PORT; then whether the region has these bytes, LOAD_ACCESS or STORE_ACCESS:
flash has those of the program's sections, to be read alone, and mmio has its registers.
4. What the instruction itself asks of its operands, CSRs and state, and with them the other memory operands: those whose shape
names a CSR or state, as W in f32[rows,cols]. The order is that of the Python text in the instruction's entry.

An operand of no bytes is not checked: a length of 0 never traps for an address.""",
    "formats": """
Xslim uses R and R4 only, in the opcodes custom-0 (0x0B) to custom-3 (0x7B), so that GNU as can write any of its
instructions with `.insn r` and `.insn r4`.""",
    "registers": """
32 integer registers of 64 bits; zero reads as 0. fp is another name of s0. At the start sp is near the end of
dram and every other register is 0.""",
    "memory": """
Flat 64-bit physical addresses, little-endian. An access must lie in one region to which the unit has a port.
Units need operands aligned to their elements; loads and stores need no alignment.""",
    "services": """
`ecall` while mtvec is 0: number in a7, arguments in a0-a2, result in a0.""",
    "devices": """
Device registers in mmio, of 8 bytes each. A load or store must lie in one of them: everywhere else in mmio
nothing answers, and the access traps. A program may define the symbols tohost and fromhost elsewhere: then they are the
registers, and the two in mmio are none. A register reads as what was written to it last, by the program or by its device.

A store to the first byte of console prints it. A store to the first byte of tohost is a request of the host-target interface,
(device << 56 | command << 48 | payload): 0, 0 with an odd payload ends the run with payload >> 1; with an even one it asks for the
system call (write or exit) in the block of four 64-bit words at payload, whose first word takes the result; 1, 1 prints a
character. When it is taken tohost becomes 0, and fromhost answers with (device << 56 | command << 48 | 1). Devices do not trap:
a request that they do not know, or that names no memory, does nothing.""",
}


class UnknownEntry(LookupError):
    """The manual has no such entry; the message names the nearest ones."""


@dataclass(frozen=True)
class Answer:
    """What the manual says about a query: blocks for people, `data` for programs."""

    blocks: list[Block]
    data: Any


def look_up(query: str = "", more: Sequence[Entry] = ()) -> Answer:
    """The answer to `slimulator isa QUERY`: a mnemonic, a family of them ("lut.mac"), a unit, a topic, or a CSR, counter,
    trap, number format, register or region by name, or a name that a unit's introduction explains; all of the units when the
    query is empty. Other words are searched for in all of these, and in `more`. Raises UnknownEntry."""
    if not query:
        return Answer(_index(), [as_json(row) for row in rows()])
    if query in TABLE:
        return Answer(entry([TABLE[query]], 1), as_json(TABLE[query]))
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
            blocks += [Heading(1, f"{query}, in {unit.name}: {unit.title}"), *_text(data[unit.name])]
    return Answer(blocks, {"name": query, "introductions": data}) if data else None


# ------------------------------------------------------------------------------------------------ index and units


def _index() -> list[Block]:
    blocks: list[Block] = [
        Heading(1, "The Slim machine's instruction set"),
        Paragraph(TEXT["index"]),
    ]
    for unit in UNITS.values():
        blocks += [Heading(2, f"{unit.name}: {unit.title}"),
                   Paragraph(", ".join(_forms(group) for group in families(rows(unit.name))))]
    return [*blocks, Heading(2, "Topics"), Paragraph(", ".join(TOPICS))]


def _unit_head(unit: Unit) -> list[Block]:
    blocks: list[Block] = [Heading(1, f"{unit.name}: {unit.title}"), *_text(inspect.cleandoc(unit.text))]
    if unit.csrs:
        blocks += [Heading(2, "CSRs"), _csr_table([csr.name for csr in unit.csrs])]
    if unit.parameters:
        blocks += [Heading(2, "Sizes that the machine preset gives"),
                   Table(("parameter", "unit", "is"), [(p.name, p.unit, p.text) for p in unit.parameters])]
    if unit.state:
        blocks += [Heading(2, "State inside the unit"),
                   Table(("array", "type", "length", "is"), [(s.name, s.dtype, str(s.length), s.text) for s in unit.state])]
    if unit.counters:
        blocks += [Heading(2, "Counters"), _counter_table([counter.name for counter in unit.counters])]
    return [*blocks, Heading(2, "Instructions")]


def _summary(some: Iterable[Row]) -> Table:
    return Table(("instruction", "does"), [
        (f"{_forms(group)} {group[0].syntax}".strip(), " ".join(group[0].text.split())) for group in families(some)])


def _forms(group: Sequence[Row]) -> str:
    """ "lut.mac.{b1,t2,t5}" """
    name = family_name(group)
    suffixes = [row.mnemonic.removeprefix(name).removeprefix(".") for row in group]
    return name if len(group) == 1 else f"{name}.{{{','.join(suffixes)}}}"


def _unit_page(unit: Unit) -> list[Block]:
    return [*_unit_head(unit), *(block for group in families(rows(unit.name)) for block in entry(group))]


# ------------------------------------------------------------------------------------------------ topics


def _csr_table(names: Sequence[str]) -> Table:
    return Table(("CSR", "number", "reset", "writable bits", "is"),
                 [(c.name, f"{c.address:#x}", f"{c.reset:#x}", f"{c.writable:#x}" if c.writable else "none", c.text)
                  for c in (CSRS[name] for name in names)])


def _csrs() -> Answer:
    names = [name for name in CSRS if name not in COUNTERS]
    return Answer([Heading(1, "CSRs"),
                   Paragraph(TEXT["csrs"]),
                   _csr_table(names)], [asdict(CSRS[name]) for name in names])


def _counter_table(names: Sequence[str]) -> Table:
    return Table(("counter", "slot", "CSR", "counts", "is"),
                 [(c.name, str(c.slot), f"{csr_address(c.slot):#x}", c.unit, c.text)
                  for c in (COUNTERS[name] for name in names)])


def _counter_data(name: str) -> dict[str, Any]:
    return asdict(COUNTERS[name]) | {"csr": csr_address(COUNTERS[name].slot)}


def _counters() -> Answer:
    return Answer([Heading(1, "Counters"),
                   Paragraph(TEXT["counters"]),
                   _counter_table(list(COUNTERS))], [_counter_data(name) for name in COUNTERS])


def _trap_table(causes: Iterable[Cause]) -> Table:
    return Table(("mcause", "name", "is"), [(str(int(cause)), cause.name, MEANING[cause]) for cause in causes])


def _trap_data(cause: Cause) -> dict[str, Any]:
    return {"mcause": int(cause), "name": cause.name, "text": MEANING[cause]}


def _traps() -> Answer:
    return Answer([Heading(1, "Traps"),
                   Paragraph(TEXT["traps"]),
                   _trap_table(Cause),
                   Heading(2, "Order of checks"),
                   *_text(TEXT["trap_order"])], [_trap_data(cause) for cause in Cause])


def _named(name: str) -> Answer | None:
    """A single counter, CSR, trap or number format, with the instructions that have to do with it."""
    used: Callable[[Row], Iterable[Any]]
    if name in COUNTERS:
        table, data, verb, used = _counter_table([name]), _counter_data(name), "Touched by", counters
    elif name in CSRS:
        table, data, verb, used = _csr_table([name]), asdict(CSRS[name]), "Used by", csrs
    elif name.upper() in Cause.__members__:
        cause = Cause[name.upper()]
        table, data, verb, used = _trap_table([cause]), _trap_data(cause), "Raised by", traps
        name = name.upper()
    elif name in numbers.FORMATS:
        fmt, data = numbers.FORMATS[name], _number_data(name)
        users = [row.mnemonic for row in rows() if any(operand.access and operand.layout.form == name for operand in row.operands)]
        return Answer([*_number_blocks(fmt, 1), Paragraph(f"Operands of: {', '.join(users) or 'no instruction'}.")], data)
    else:
        return None
    users = [row.mnemonic for row in rows() if any(str(getattr(item, "name", item)) == name for item in used(row))]
    some = "every instruction" if len(users) == len(TABLE) else ", ".join(users) or "no instruction by itself"
    return Answer([Heading(1, name), table, Paragraph(f"{verb}: {some}.")], data)


def _formats() -> Answer:
    table = [(f.name, f.syntax, ", ".join(f"{field.name} {_bits(field.segments)}" for field in f.fields))
             for f in FORMATS.values()]
    return Answer([Heading(1, "Instruction formats"),
                   Paragraph(TEXT["formats"]),
                   Table(("format", "operands", "fields, bit 31 first"), table)],
                  [{"name": f.name, "syntax": f.syntax,
                    "fields": {field.name: [list(segment) for segment in field.segments] for field in f.fields}}
                   for f in FORMATS.values()])


def _bits(segments: Sequence[tuple[int, int, int]]) -> str:
    return "+".join(f"{high}:{low}" if high > low else str(high) for high, low, _ in segments)


def _registers() -> Answer:
    names = list(enumerate(registers.ABI_NAMES))
    return Answer([Heading(1, "Registers"),
                   Paragraph(TEXT["registers"]),
                   Table(("register", "name"), [(f"x{number}", name) for number, name in names])],
                  [{"number": number, "name": name} for number, name in names])


def _memory() -> Answer:
    machines = [load_preset(name) for name in preset_names()]
    table = [(region.name, machine.name, f"{region.base:#x}", f"{region.size:#x}", " ".join(sorted(region.ports)),
              REGIONS[region.name].text) for machine in machines for region in machine.regions]
    return Answer([Heading(1, "Memory map"),
                   Paragraph(TEXT["memory"]),
                   Table(("region", "machine", "base", "size", "ports", "is"), table)],
                  [{"machine": machine.name, **asdict(region), "ports": sorted(region.ports)}
                   for machine in machines for region in machine.regions])


def _services() -> Answer:
    devices = [("tohost", services.TOHOST), ("fromhost", services.FROMHOST), ("console", services.CONSOLE)]
    return Answer([Heading(1, "Services and devices"),
                   Paragraph(TEXT["services"]),
                   Table(("a7", "name", "arguments", "does"),
                         [(f"{s.number:#x} ({s.number})", s.name, s.arguments or "none", s.text)
                          for s in services.SERVICES]),
                   Paragraph(TEXT["devices"]),
                   Table(("register", "offset"), [(name, f"{offset:#x}") for name, offset in devices])],
                  [asdict(service) for service in services.SERVICES])


def _numbers() -> Answer:
    blocks: list[Block] = [Heading(1, "Number formats"), *_docstring(numbers)]
    for fmt in numbers.FORMATS.values():
        blocks += _number_blocks(fmt, 3)
    return Answer(blocks, [_number_data(name) for name in numbers.FORMATS])


def _number_blocks(fmt: numbers.NumberFormat, level: int) -> list[Block]:
    return [Heading(level, fmt.name), Paragraph(f"{fmt.text}. Bits a value: {fmt.bits}. Values: {fmt.values}."),
            Code(fmt.picture)]


def _number_data(name: str) -> dict[str, Any]:
    fmt = numbers.FORMATS[name]
    return {"name": fmt.name, "text": fmt.text, "bits": fmt.bits, "values": fmt.values,
            "row_bytes_of_64_values": fmt.row_bytes(64)}


def _arithmetic() -> Answer:
    """The modules themselves: recipes are Python that the manual shows as it runs."""
    blocks: list[Block] = [Heading(1, "Exact arithmetic")]
    data = []
    for number, module in enumerate((arithmetic, half)):
        source = inspect.getsource(module)
        functions = [f for f in vars(module).values() if isinstance(f, FunctionType) and f.__module__ == module.__name__]
        blocks += [*([Heading(2, "In 16 bits")] if number else []), *_docstring(module),
                   Code(source[source.index("\nimport"):].strip(), "python")]
        data += [{"name": f.__name__, "text": inspect.getdoc(f) or ""} for f in functions if f.__name__[0] != "_"]
    return Answer(blocks, data)


def _docstring(module: ModuleType) -> list[Block]:
    return _text(inspect.getdoc(module) or "")


def _text(text: str) -> list[Block]:
    """Paragraphs of running text; indented ones are code or a picture."""
    return [Code(textwrap.dedent(part)) if part.startswith("    ") else Paragraph(part) for part in text.split("\n\n")]


def _machines() -> Answer:
    machines = [load_preset(name) for name in preset_names()]
    return Answer([Heading(1, "Machine presets"),
                   Table(("machine", "title", "is"),
                         [(m.name, m.file.title, " ".join(m.file.description.split())) for m in machines])],
                  [m.file.model_dump() for m in machines])


def machine_answer(machine: Preset) -> Answer:
    """Everything that a preset says, each figure with its source."""
    preset = machine.file
    figures: list[tuple[str, str, str]] = [("clock_hz", _value(preset.clock_hz), preset.clock_hz.source)]
    for name, region in preset.region.items():
        figures += [(f"region.{name}.{key}", _value(figure, hexadecimal=key == "base"), figure.source)
                    for key, figure in region if figure is not None]
    for name, unit in preset.unit.items():
        figures.append((f"unit.{name}", "present", unit.source))
        figures += [(f"unit.{name}.{key}", _value(figure), figure.source) for key, figure in unit.parameters.items()]
    figures += [(f"facts.{key}", _value(figure), figure.source) for key, figure in preset.facts.items()]
    blocks: list[Block] = [Heading(1, f"{machine.name}: {preset.title}"), Paragraph(preset.description),
                           Table(("key", "value", "source"), figures)]
    if machine.banks:
        blocks += [Paragraph("An address of hbm, less its base, from the top down, with how many values each part has:"),
                   Code(machine.banks.picture())]
    return Answer(blocks, preset.model_dump())


def _value(figure: Sourced[Any], *, hexadecimal: bool = False) -> str:
    if isinstance(figure.value, list):
        return " ".join(figure.value)
    if isinstance(figure.value, int):
        return f"{figure.value:#x}" if hexadecimal else f"{figure.value:_}"
    return str(figure.value)


TOPICS: dict[str, Callable[[], Answer]] = {
    "registers": _registers,
    "formats": _formats,
    "numbers": _numbers,
    "arithmetic": _arithmetic,
    "memory": _memory,
    "csrs": _csrs,
    "counters": _counters,
    "traps": _traps,
    "services": _services,
    "machines": _machines,
}


# ------------------------------------------------------------------------------------------------ pages


def pages() -> dict[str, str]:
    """File name -> Markdown, for every page of docs/isa."""
    note = Paragraph("<!-- Generated from the instruction table by `make docs`. Do not edit. -->")
    topics = {name: TOPICS[name]().blocks for name in TOPICS}
    topics["machines"] += [block for name in preset_names() for block in _below(machine_answer(load_preset(name)).blocks)]
    units = {unit.name: _unit_page(unit) for unit in UNITS.values()}
    links = [(f"[{unit.name}]({unit.name}.md)", f"{unit.title}, {len(list(rows(unit.name)))} instructions")
             for unit in UNITS.values()]
    links += [(f"[{name}]({name}.md)", blocks[0].text) for name, blocks in topics.items() if isinstance(blocks[0], Heading)]
    contents = {"index": [*_index()[:2], Table(("page", "is"), links)], **units, **topics}
    return {f"{name}.md": markdown([note, *blocks]) for name, blocks in contents.items()}


def _below(blocks: Sequence[Block]) -> list[Block]:
    """The same blocks one heading level down."""
    return [Heading(block.level + 1, block.text) if isinstance(block, Heading) else block for block in blocks]


def write(directory: Path) -> None:
    """Write every page; pages that no longer exist are removed. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    current = pages()
    for stale in directory.glob("*.md"):
        if stale.name not in current:
            stale.unlink()
    for name, text in current.items():
        (directory / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m isa.manual DIRECTORY")
    write(Path(sys.argv[1]))
