"""What the debugger shows of a machine that stands still, as lines of text: values, tensors, memory, instructions, counters, units.

The debugger's commands and `monitor` in gdb print the same lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from emulator.debug.access import DebugError, read_memory, readable
from emulator.debug.expressions import Number, integer, parse_expression, refuse_both, symbol_of
from emulator.debug.session import Breakpoint, Session, Stop, Watchpoint, Write, changed_bytes
from isa.counters import COUNTERS
from isa.csrs import COUNTER_BY_ADDRESS, CSRS
from isa.engine.state import WORD
from isa.registers import ABI_NAMES
from isa.tensor import NAMES, TensorError, read_tensor
from isa.text import counted
from isa.units import UNITS

_MOST_BYTES = 1 << 16           # of a dump
_MOST_INSTRUCTIONS = 10_000


# ------------------------------------------------------------------------------------------------ values


def value(session: Session, number: Number) -> str:
    """ "42 (0x2a)", with the symbol where it is an address of the program."""
    if isinstance(number, float):
        return repr(number)
    symbol = session.places.symbols.name(number & WORD)
    return f"{number}" + (f" ({number & WORD:#x})" if not 0 <= number < 10 else "") + (f" <{symbol}>" if symbol else "")


def show(session: Session, text: str) -> Iterator[str]:
    """The lines of `print`: registers, csrs, counters, a unit, an array of a unit, a tensor, or the value of an expression.

    Raises DebugError.
    """
    text = text.strip()
    machine = session.machine
    word = text.removeprefix("$")
    if word in ("registers", "csrs", "counters", *UNITS, *machine.state):
        refuse_both(text, "what the machine has", machine.program)
        text = word
    tensor = re.fullmatch(r"(.*[\w)\]'])\s+((\w+)\s*(\[[^\[\]]*\])?)", text)
    if text == "registers":
        yield from registers(session)
    elif text == "csrs":
        yield from csrs(session)
    elif text == "counters":
        yield from counters(session, changes=False)
    elif text in UNITS:
        yield from unit(session, text)
    elif text in machine.state:
        yield from _array(machine.state[text])
    elif tensor and (tensor[4] or tensor[3] in NAMES):
        address = session.places.address(tensor[1], machine)
        try:
            yield from _array(read_tensor(machine, address, tensor[2]))
        except TensorError as error:
            raise DebugError(str(error)) from None
    elif re.fullmatch(r".*[\w)\]']\s+\w+\s*\[[^\[\]]*", text):
        raise DebugError(f"`{text}`: expected `]`, got the end")
    else:
        yield f"{text} = {value(session, parse_expression(text, machine.program).evaluate(machine))}"


def registers(session: Session) -> Iterator[str]:
    """pc and the integer registers, four on a line."""
    yield f"pc   {session.places.name(session.machine.pc)}"
    cells = [f"{name:<4} {number:#018x}" for name, number in zip(ABI_NAMES, session.machine.x, strict=True)]
    for start in range(0, 32, 4):
        yield "   ".join(cells[start:start + 4])


def csrs(session: Session, prefix: str = "") -> Iterator[str]:
    """CSRs that are not counters, with what they mean."""
    for name, csr in CSRS.items():
        if name.startswith(prefix) and csr.address not in COUNTER_BY_ADDRESS:
            yield f"{name:<20} {session.machine.csr(name):#18x}  {csr.text}"


def counters(session: Session, changes: bool, prefix: str = "") -> Iterator[str]:
    """Counters that are not zero; with `changes`, those that have changed since the last stop, and by how much."""
    now = session.machine.counters
    width = max(map(len, COUNTERS))
    lines = [f"{name:<{width}}  {sign}{number:,} {COUNTERS[name].unit}" for name, count in now.items()
             if name.startswith(prefix) and (number := (count - session.before[name]) & WORD if changes else count)
             for sign in ("+" if changes else "",)]
    yield from lines or ["no counter has changed" if changes else "all counters are 0"]


def unit(session: Session, name: str) -> Iterator[str]:
    """The CSRs, counters and arrays of a unit. Raises DebugError for one that the machine does not have."""
    machine = session.machine
    if name not in UNITS or not machine.preset.has_unit(name):
        raise DebugError(f"machine {machine.preset.name} has no unit {name!r}; it has {', '.join(machine.preset.units)}")
    yield UNITS[name].title
    yield from csrs(session, f"{name}.")
    yield from (line for line in counters(session, False, f"{name}.") if line.startswith(name))
    for array in UNITS[name].state:
        found = machine.state[array.name]
        changed = np.count_nonzero(found != array.reset)
        state = f"{changed:,} of them not {array.reset}" if changed else f"all {array.reset}"
        yield f"{array.name:<20} {len(found):,} {found.dtype}, {state}: {array.text}"


# ------------------------------------------------------------------------------------------------ memory


def _array(values: np.ndarray) -> Iterator[str]:
    yield from np.array2string(values, max_line_width=110, threshold=4096).splitlines()


def span(session: Session, text: str, default: int | None) -> tuple[int, int]:
    """(address, bytes) of `ADDRESS[, BYTES]`. Without BYTES: the size of the symbol, or else `default`. Raises DebugError."""
    where, comma, size = text.rpartition(",")
    where = where if comma else text
    if not comma and (two := re.fullmatch(r"([$&]?[\w.]+)\s+\w.*", text.strip())):
        raise DebugError(f"`{text}`: expected ADDRESS[, BYTES], as in `{two[1]}, 16`")
    address = session.places.address(where, session.machine)
    if comma:
        count = parse_expression(size, session.machine.program).evaluate(session.machine)
        return address, integer(count, "the number of bytes")
    symbol = symbol_of(where, session.places.program)
    if symbol is not None and symbol.size:
        return address, symbol.size
    if default is None:
        raise DebugError(f"{where.strip()} needs a number of bytes: ADDRESS, BYTES")
    return address, default


def dump(session: Session, address: int, size: int) -> Iterator[str]:
    """Memory as bytes and characters, 16 on a line. Raises DebugError where there is no memory."""
    if not 0 < size <= _MOST_BYTES:
        raise DebugError(f"a dump of {size} bytes; expected 1..{_MOST_BYTES}")
    data = readable(session.machine, address, size)
    if not len(data):
        raise DebugError(f"there is no memory at {address:#x}")
    for start in range(0, len(data), 16):
        row = data[start:start + 16].tobytes()
        digits = f"{row[:8].hex(' ')}  {row[8:].hex(' ')}"
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{address + start:#x}  {digits:<48}  |{letters}|"
    if len(data) < size:
        yield f"the memory ends at {address + len(data):#x}"


def disassembly(session: Session, address: int, count: int) -> Iterator[str]:
    """The instructions in memory; `=>` marks pc, `*` a breakpoint. Raises DebugError where there is no memory."""
    if not 0 < count <= _MOST_INSTRUCTIONS:
        raise DebugError(f"{count} instructions; expected 1..{_MOST_INSTRUCTIONS}")
    machine, places = session.machine, session.places
    stops = {at for point in session.points.values() if isinstance(point, Breakpoint) for at in point.addresses}
    address &= ~3
    read_memory(machine, address, 4)
    for at in range(address, address + 4 * min(count, len(readable(machine, address, 4 * count)) // 4), 4):
        label = places.symbols.name(at)
        if label and "+" not in label:
            yield f"{label}:"
        mark = ("=>" if at == machine.pc else "  ") + ("*" if at in stops else " ")
        yield f"{mark} {at:#x}  {places.instruction(machine, at)}"


# ------------------------------------------------------------------------------------------------ points and stops


def point(session: Session, number: int) -> Iterator[str]:
    """A breakpoint or watchpoint, a line for each of its addresses."""
    found = session.points[number]
    condition = f" if {found.condition.text}" if found.condition else ""
    hits = f", {found.hits} hit{'s' if found.hits != 1 else ''}" if found.hits else ""
    if isinstance(found, Watchpoint):
        yield f"watchpoint {number}: {found.size} bytes at {session.places.name(found.address)}{condition}{hits}"
    elif isinstance(found, Breakpoint):
        kind = "temporary breakpoint" if found.temporary else "breakpoint"
        for address in found.addresses:
            yield f"{kind} {number}: {session.places.name(address)}{condition}{hits}"


def here(session: Session) -> Iterator[str]:
    """Where pc is: its place, the source line if the file is there, the instruction."""
    machine, places = session.machine, session.places
    line = places.line(machine.pc)
    text = places.text(line) if line else None
    yield places.name(machine.pc)
    if line and text is not None:
        yield f"{line.number:>6}  {text.expandtabs().strip()}"
    try:
        yield f"    =>  {places.instruction(machine, machine.pc)}"
    except DebugError as error:
        yield f"    =>  {error}"


def why(session: Session, stop: Stop) -> Iterator[str]:
    """Why the program has stopped, then where."""
    yield from stop.problems
    yield from (f"{'temporary breakpoint' if hit.temporary else 'breakpoint'} {hit.number}" for hit in stop.breakpoints)
    for write in stop.writes:
        yield from _written(session, write)
    match stop.reason:
        case "exit":
            yield f"the program exited with {stop.result.exit_code} after {counted(stop.result.instructions, 'instruction', ',')}"
            return
        case "trap":
            yield str(stop.result.trap)
            return
        case "interrupted":
            yield f"interrupted after {counted(stop.result.instructions, 'instruction', ',')}"
    yield from here(session)


def _written(session: Session, write: Write) -> Iterator[str]:
    watched = write.watchpoint
    yield f"watchpoint {watched.number}: {watched.text} was written by the instruction at {session.places.name(write.pc)}"
    yield f"    ->  {session.places.instruction(session.machine, write.pc)}"
    if watched.size <= 8:
        old, new = (int.from_bytes(data, "little") for data in (write.old, write.new))
        yield f"    old {old:#x} ({old})"
        yield f"    new {new:#x} ({new})" + (", the same" if old == new else "")
        return
    changed = changed_bytes(write.old, write.new)
    if not changed:
        yield "    no byte has changed"
        return
    first = changed[0]
    yield f"    {len(changed)} of {watched.size} bytes changed, the first at {watched.address + first:#x}"
    yield f"    old {write.old[first:first + 16].hex(' ')}"
    yield f"    new {write.new[first:first + 16].hex(' ')}"
