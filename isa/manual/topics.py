"""The topics of the manual: registers, formats, memory, counters, machines and the rest that is no instruction."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from types import FunctionType, ModuleType
from typing import Any

from isa import arithmetic, half, numbers, registers, services
from isa.counters import COUNTERS, csr_address
from isa.csrs import CSRS
from isa.engine import devices
from isa.formats import FORMATS
from isa.manual.abilities import abilities
from isa.manual.addresses import addresses
from isa.manual.document import Block, Code, Heading, Paragraph, Table
from isa.manual.encoding import encoding
from isa.manual.ordering import ordering
from isa.manual.privileged import privileged
from isa.manual.reset import reset
from isa.manual.timing import timing
from isa.manual.trap_order import trap_order
from isa.manual.vocabulary import label, printed, vocabulary_blocks
from isa.preset import Preset, load_preset, preset_names
from isa.preset_file import Sourced
from isa.regions import REGIONS
from isa.timing.memories import MEMORIES, OWN, Dram, Memory, Nand
from isa.timing.rates import CORE_RATES, Rate
from isa.traps import MEANING, Cause

# What tables cannot say, by page.
TEXT = {
    "index": """
RV64IM with Zicsr and Zicntr is the control core, machine mode only. Xslim adds instructions that work on whole
vectors and tiles. An Xslim operand is an integer register that holds an address, a length, an index or the bits of an f32;
what rarely changes sits in CSRs. An instruction reads all of its operands before it writes any result, so operands may
overlap; one that traps leaves nothing written. A length of zero moves nothing.""",
    "csrs": """
Control and status registers. Bits that are not writable keep their reset value; access to any other number is an
illegal instruction. Every counter is a read-only CSR too. [Privileged architecture](privileged.md) says more of the standard
ones.""",
    "counters": """
Exact events, 64 bits wide, modulo 2**64, zero at the start. They are part of the architecture: the same program and input
give the same counts on every engine and machine, of a program that waits where it has to, and takes no late trap
([Order](ordering.md)). Cycles and joules are estimates and not among them.

An instruction that traps counts nothing but core.traps. The bytes of a region are those that loads, stores, services and
operations move; instruction fetches are not counted, nor what devices read and write. The loads of all regions make up
core.loads. Slots without a counter have no CSR.
When the counts of an operation can be seen: [Order](ordering.md).

On the events of counters with `yes` below energy a machine spends energy: one with energies gives pJ for each of them.""",
    "rates": """
A machine file gives these, and the rates of each of its units, which the units' pages list. A load takes the latency_cycles of its
region more, a store nothing. An operation of a unit takes its start_cycles and then as long as the slowest of its events. A file
without any rates is right too: the time of its machine is not modelled.""",
    "memories": """
`memory = { value = "DDR4-2400", source = "..." }` in a region takes the place of latency_cycles and bytes_per_cycle. dram and hbm
can have any DRAM of this table, flash any NAND. The figures of DRAM have the names of JEDEC's standards; those with t are cycles of
`period_ps`. `channels` are those of one memory; a region can say another number, and `speed`: how many times as fast as
these figures it is. `slimulator machines FILE.toml` prints the source
of each figure.""",
    "traps": """
The emulator's traps are precise: registers, memory and counters are as if the instruction had not started, except that core.traps
counts it. A machine may take some traps of a queued operation late: [Order](ordering.md). With mtvec = 0 a trap ends the run and
is reported with pc, source line, operands and reason. Otherwise the handler runs: pc is then mtvec, mepc the address of the
instruction that trapped, mcause the number of the cause, mtval what the table says, mstatus.MPIE what mstatus.MIE was, and
mstatus.MIE 0. Nothing else changes but core.traps ([Traps and returns](privileged.md#traps-and-returns)).

mtval is what each instruction's entry says, modulo 2**64. There, `stride` or `int(indices[place])` is the value of that expression
in the function that the entry links to, and texts in braces are values too. Of a memory access mtval is its first address. Where an
operand's bytes follow from the row (see the order of checks), that is the operand itself.""",
    "formats": """
Xslim uses R and R4 only, in the opcodes custom-0 (0x0B) to custom-3 (0x7B), so that GNU as can write any of its
instructions with `.insn r` and `.insn r4`. Of an immediate in several pieces the highest bits come first: b_imm has its bit 12 in
bit 31 of the word, bit 11 in bit 7. [Encoding](encoding.md) says which words are instructions.""",
    "registers": """
32 integer registers of 64 bits; zero reads as 0. fp is another name of s0. At the start sp is 16 less than the end of
dram and every other register is 0: [Reset](reset.md) says what else there is. pc is no register of these.""",
    "memory": """
Flat 64-bit physical addresses, little-endian. An access must lie in one region to which the unit has a port; the core has a
port to all of them. Between regions is nothing. Units need operands aligned to their elements; loads and stores need no alignment.

Flash is read-only: a write there is a STORE_ACCESS. It has the bytes of the program's sections alone, and a read must lie in one
section: elsewhere it is a LOAD_ACCESS, an instruction fetch a FETCH_ACCESS. In mmio an access must lie in one register
([Services and devices](services.md)). All other regions have all their bytes, and all of them can be written.

What the bytes are at the start, [Reset](reset.md) says; in which order accesses are done, [Order](ordering.md).""",
    "services": """
`ecall`: number in a7, arguments in a0-a2, result in a0. While mtvec is 0, all of these are served. While a trap handler is
installed (mtvec is not 0), numbers below 0x5110 raise ENVIRONMENT_CALL, so that a program can serve its own calls; those from
0x5110 on are served as before. A number that is not in the table raises ENVIRONMENT_CALL in any case.

Of an exit code the low 8 bits count, of ecall and of tohost alike. The run ends after the instruction, which is retired and
counted; a0 stays. After an exit through an odd payload tohost keeps its value.""",
    "devices": """
Device registers in mmio, of 8 bytes each. A load or store must lie in one of them: everywhere else in mmio
nothing answers, and the access traps. A program may define the symbols tohost and fromhost elsewhere: then they are the
registers, and the two in mmio are none. A register reads as what was written to it last, by the program or by its device.

A store to the first byte of console prints it. A store to the first byte of tohost is a request of the host-target interface,
(device << 56 | command << 48 | payload): 0, 0 with an odd payload ends the run with payload >> 1; with an even one it asks for the
system call (write or exit) in the block of four 64-bit words at payload, whose first word takes the result; 1, 1 prints a
character, the low byte of payload. A request of 0 does nothing. Every other one but an odd payload of 0, 0 is taken, known or not:
tohost becomes 0, and fromhost is answered with (device << 56 | command << 48 | 1), except for 1, 0 (read a character), which gets
no answer. Devices do not trap: a request that they do not know, or that names no memory, does no more than that.

A store is to the first byte of a register if that byte is among those it writes, whatever its width. The device then looks at the
whole register as it stands, of console at its first byte. Only stores of the core reach devices: what a unit writes to tohost or
fromhost in memory is data.

The four words of a system call are the number (64 write, 93 exit) and its arguments a0, a1, a2. The result is the bytes written;
0 of exit; -9 for another file than 1 and 2; -14 if the text does not lie in one region, in flash in one section (an empty text
needs an address there too); -38 for another number. If the block does not lie in one writable region, nothing is called and no
result is written. mtvec and ports do not matter, and nothing is counted but the store.""",
}


@dataclass(frozen=True)
class Answer:
    """What the manual says about a query: blocks for people, `data` for programs."""

    blocks: list[Block]
    data: Any


def csr_table(names: Sequence[str]) -> Table:
    return Table(("CSR", "number", "reset", "writable bits", "is"),
                 [(c.name, f"{c.address:#x}", f"{c.reset:#x}", f"{c.writable:#x}" if c.writable else "none", c.text)
                  for c in (CSRS[name] for name in names)])


def _csrs() -> Answer:
    names = [name for name in CSRS if name not in COUNTERS]
    return Answer([Heading(1, "CSRs"),
                   Paragraph(TEXT["csrs"]),
                   csr_table(names)], [asdict(CSRS[name]) for name in names])


def counter_table(names: Sequence[str]) -> Table:
    return Table(("counter", "slot", "CSR", "counts", "energy", "is"),
                 [(c.name, str(c.slot), f"{csr_address(c.slot):#x}", c.unit, "yes" if c.spends else "-", c.text)
                  for c in (COUNTERS[name] for name in names)])


def counter_data(name: str) -> dict[str, Any]:
    return asdict(COUNTERS[name]) | {"csr": csr_address(COUNTERS[name].slot)}


def _counters() -> Answer:
    return Answer([Heading(1, "Counters"),
                   Paragraph(TEXT["counters"]),
                   counter_table(list(COUNTERS))], [counter_data(name) for name in COUNTERS])


MTVAL: dict[Cause, str] = {
    Cause.FETCH_MISALIGNED:    "of a jump its target; of an instruction at such an address, pc",
    Cause.FETCH_ACCESS:        "pc",
    Cause.ILLEGAL_INSTRUCTION: "the instruction's 32 bits",
    Cause.BREAKPOINT:          "pc",
    Cause.LOAD_ACCESS:         "the first address of the access",
    Cause.STORE_ACCESS:        "the first address of the access",
    Cause.ENVIRONMENT_CALL:    "0",
    Cause.PORT:                "the first address of the access",
    Cause.MISALIGNED_OPERAND:  "the first address of the access",
    Cause.CAPACITY:            "the length or size that is too large",
    Cause.ILLEGAL_OPERAND:     "what the instruction's entry says",
    Cause.NEVER_SIGNALLED:     "the tag",
}


def trap_table(causes: Iterable[Cause]) -> Table:
    return Table(("mcause", "name", "mtval", "is"),
                 [(str(int(cause)), cause.name, MTVAL[cause], MEANING[cause]) for cause in causes])


def trap_data(cause: Cause) -> dict[str, Any]:
    return {"mcause": int(cause), "name": cause.name, "text": MEANING[cause]}


def _traps() -> Answer:
    return Answer([Heading(1, "Traps"),
                   *running_text(TEXT["traps"].strip()),
                   trap_table(Cause),
                   Heading(2, "Order of checks"),
                   *trap_order(),
                   Heading(2, "Addresses and strides"),
                   *addresses()], [trap_data(cause) for cause in Cause])


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
    places = [("tohost", devices.TOHOST), ("fromhost", devices.FROMHOST), ("console", devices.CONSOLE)]
    return Answer([Heading(1, "Services and devices"),
                   Paragraph(TEXT["services"]),
                   Table(("a7", "name", "arguments", "does", "while mtvec is not 0"),
                         [(f"{s.number:#x} ({s.number})", s.name, s.arguments or "none", s.text,
                           "served" if services.is_served(s.number, handler=True) else "traps") for s in services.SERVICES]),
                   Paragraph(TEXT["devices"]),
                   Table(("register", "offset"), [(name, f"{offset:#x}") for name, offset in places])],
                  [asdict(service) for service in services.SERVICES])


def _numbers() -> Answer:
    blocks: list[Block] = [Heading(1, "Number formats"), *_docstring(numbers)]
    for fmt in numbers.FORMATS.values():
        blocks += number_blocks(fmt, 3)
    source = inspect.getsource(numbers)
    blocks += [Heading(2, "The same as Python"), Code(source[source.index("\nclass "):].strip(), "python")]
    return Answer(blocks, [number_data(name) for name in numbers.FORMATS])


def number_blocks(fmt: numbers.NumberFormat, level: int) -> list[Block]:
    return [Heading(level, fmt.name), Paragraph(f"{fmt.text}. Bits a value: {fmt.bits}. Values: {fmt.values}."),
            Code(fmt.picture)]


def number_data(name: str) -> dict[str, Any]:
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


def _vocabulary() -> Answer:
    words = printed("vocabulary")
    return Answer(vocabulary_blocks(), [{"name": label(word), "text": ast.get_docstring(word.tree) or ""} for word in words
                                        if isinstance(word.tree, ast.FunctionDef)])


def _docstring(module: ModuleType) -> list[Block]:
    return running_text(inspect.getdoc(module) or "")


def running_text(text: str) -> list[Block]:
    """Paragraphs of running text; indented ones are code or a picture."""
    return [Code(textwrap.dedent(part)) if part.startswith("    ") else Paragraph(part) for part in text.split("\n\n")]


def rate_table(rates: Iterable[Rate]) -> Table:
    return Table(("rate", "unit", "is"), [(rate.name, rate.unit, rate.text) for rate in rates])


def _machines() -> Answer:
    machines = [load_preset(name) for name in preset_names()]
    return Answer([Heading(1, "Machine presets"),
                   Table(("machine", "title", "is"),
                         [(m.name, m.file.title, " ".join(m.file.description.split())) for m in machines]),
                   *abilities(machines),
                   Heading(2, "Rates of the core"),
                   Paragraph(TEXT["rates"]),
                   rate_table(CORE_RATES),
                   Heading(2, "Memories that a machine file can name"),
                   Paragraph(TEXT["memories"]),
                   *(_memories(kind) for kind in (Dram, Nand))],
                  [m.file.model_dump() for m in machines])


def _memories(kind: type[Memory]) -> Table:
    """A column for each memory of a kind, a row for each figure."""
    memories = [memory for memory in MEMORIES.values() if isinstance(memory, kind)]
    rows = zip(*(memory.figures() for memory in memories), strict=True)
    return Table(("figure", *(memory.name for memory in memories)), [
        ("is", *(memory.text for memory in memories)), ("source", *(memory.source for memory in memories)),
        *((row[0][0], *(_number(value) for _, value, _ in row)) for row in rows)])


def machine_answer(machine: Preset) -> Answer:
    """Everything that a preset says, each figure with its source."""
    preset = machine.file
    figures: list[tuple[str, str, str]] = [("clock_hz", _value(preset.clock_hz), preset.clock_hz.source)]
    figures += [(f"core.rates.{key}", _value(figure), figure.source) for key, figure in preset.core.rates.items()]
    for name, region in preset.region.items():
        figures += [(f"region.{name}.{key}", _value(figure, hexadecimal=key == "base"), figure.source)
                    for key, figure in region if figure is not None]
        if memory := machine.memory(name):
            figures += [(f"region.{name}.memory.{key}", _number(value), source) for key, value, source in memory.figures()
                        if key not in OWN or getattr(region, key) is None]
    for name, unit in preset.unit.items():
        figures.append((f"unit.{name}", "present", unit.source))
        figures += [(f"unit.{name}.{key}", _value(figure), figure.source) for key, figure in unit.parameters.items()]
        figures += [(f"unit.{name}.rates.{key}", _value(figure), figure.source) for key, figure in unit.rates.items()]
    figures += [(f"energy.{key}", f"{_value(figure)} pJ", figure.source) for key, figure in preset.energy.items()]
    figures += [(f"power.{key}", f"{_value(figure)} W", figure.source) for key, figure in preset.power.items()]
    figures += [(f"facts.{key}", _value(figure), figure.source) for key, figure in preset.facts.items()]
    blocks: list[Block] = [Heading(1, f"{machine.name}: {preset.title}"), Paragraph(preset.description),
                           Table(("key", "value", "source"), figures)]
    if missing := [what for what, given in (("time", machine.rates), ("energy", machine.energies)) if given is None]:
        blocks.append(Paragraph(f"Not modelled: {' and '.join(missing)}. The file has no figures for it."))
    if machine.banks:
        blocks += [Paragraph("An address of hbm, less its base, from the top down, with how many values each part has:"),
                   Code(machine.banks.picture())]
    return Answer(blocks, preset.model_dump())


def side_by_side(machines: Sequence[Preset]) -> list[Block]:
    """The figures that differ between machines, a column for each; "-": it has no such figure. What all have alike is left out."""
    columns = [{key: value for block in machine_answer(machine).blocks if isinstance(block, Table) for key, value, _ in block.rows}
               for machine in machines]
    keys = dict.fromkeys(key for column in columns for key in column)
    rows = [(key, *(column.get(key, "-") for column in columns)) for key in keys]
    different = [row for row in rows if len(set(row[1:])) > 1]
    return [Heading(1, ", ".join(machine.name for machine in machines)),
            Table(("key", *(machine.name for machine in machines)), different),
            Paragraph(f"{len(rows) - len(different)} other figures are the same.")]


def _number(value: int | Fraction | str) -> str:
    """With at most two digits behind the point."""
    if isinstance(value, str):
        return value
    return f"{int(value):_}" if value == int(value) else f"{float(value):.2f}"


def _value(figure: Sourced[Any], *, hexadecimal: bool = False) -> str:
    if isinstance(figure.value, list):
        return " ".join(figure.value)
    if isinstance(figure.value, int):
        return f"{figure.value:#x}" if hexadecimal else f"{figure.value:_}"
    return str(figure.value)


TOPICS: dict[str, Callable[[], Answer]] = {
    "registers": _registers,
    "encoding": lambda: Answer(*encoding()),
    "formats": _formats,
    "numbers": _numbers,
    "arithmetic": _arithmetic,
    "vocabulary": _vocabulary,
    "memory": _memory,
    "csrs": _csrs,
    "counters": _counters,
    "traps": _traps,
    "privileged": lambda: Answer(*privileged()),
    "ordering": lambda: Answer(*ordering()),
    "timing": lambda: Answer(*timing()),
    "reset": lambda: Answer(*reset()),
    "services": _services,
    "machines": _machines,
}
