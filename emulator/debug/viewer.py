"""The commands that only look. The debugger has them, and `monitor` in gdb has them too."""

from __future__ import annotations

from collections.abc import Iterable

from emulator.debug import inspection
from emulator.debug.access import DebugError
from emulator.debug.call_stack import backtrace
from emulator.debug.command_reader import CommandReader, Say, print_line
from emulator.debug.expressions import integer, parse_expression
from emulator.debug.places import SourceLine
from emulator.debug.session import Session
from isa.counters import COUNTERS
from isa.hints import nearest
from isa.units import UNITS

_INFO = ("breakpoints", "registers", "csrs", "counters", "units", "symbols", "sections", "machine")
_LISTED = 10                        # lines of source, instructions


class Viewer(CommandReader):
    """Commands for a session whose program stands still."""

    def __init__(self, session: Session, say: Say = print_line) -> None:
        super().__init__(say)
        self.session = session
        self.next_line: SourceLine | None = None            # where `list` goes on

    def symbol_names(self) -> Iterable[str]:
        return self.session.places.symbol_names()

    def do_print(self, text: str) -> None:
        """print EXPRESSION | ADDRESS FORMAT[SHAPE] | registers | csrs | counters | UNIT
        Show a value, a tensor (print weights t2[4,16]), all registers, a unit's CSRs, counters and arrays, or one array."""
        if not text:
            raise DebugError("`print` needs an expression, as in `print a0`")
        self.say_all(inspection.show(self.session, text))

    def do_x(self, text: str) -> None:
        """x ADDRESS[, BYTES]
        Show memory, 64 bytes by default; press Enter to show the bytes that follow."""
        if not text:
            raise DebugError("`x` needs an address, as in `x sp, 32`")
        address, size = inspection.span(self.session, text, 64)
        self.say_all(inspection.dump(self.session, address, size))
        self.again = f"x {address + size:#x}, {size}"

    def do_disassemble(self, text: str) -> None:
        """disassemble [PLACE][, N]
        Show N instructions from a place on, by default 10 from pc; press Enter to show those that follow."""
        place, _, number = text.partition(",")
        session = self.session
        address = session.places.code(place, session.machine)[0] if place.strip() else session.machine.pc
        count = integer(parse_expression(number, session.places.program).evaluate(session.machine), "N") if number else _LISTED
        self.say_all(inspection.disassembly(session, address, count))
        self.again = f"disassemble *{address + 4 * count:#x}, {count}"

    def do_counters(self, text: str) -> None:
        """counters [UNIT]
        Show how much each counter has increased since the last stop; `print counters` shows the totals."""
        units = dict.fromkeys(name.partition(".")[0] for name in COUNTERS)
        if text and text not in units:
            hint = nearest(text, units, quote="`")
            raise DebugError(f"`{text}` has no counters; {hint or 'expected one of ' + ', '.join(units)}")
        self.say_all(inspection.counters(self.session, True, f"{text}." if text else ""))

    def do_list(self, text: str) -> None:
        """list [PLACE]
        Show source lines around a place, by default pc; repeat to show the lines that follow."""
        session = self.session
        if text:
            line = session.places.source_line(text, session.machine) or session.places.line(
                session.places.address(text, session.machine))
            start = line and line._replace(number=max(1, line.number - _LISTED // 2))
        elif self.next_line:
            start = self.next_line
        else:
            line = session.places.line(session.machine.pc)
            start = line and line._replace(number=max(1, line.number - _LISTED // 2))
        if start is None:
            raise DebugError("no source line is known for this place")
        lines = session.places.source(start.file)
        if lines is None:
            raise DebugError(f"the source file {start.file} is not there")
        if start.number > len(lines):
            raise DebugError(f"{start.file} ends at line {len(lines)}")
        at = session.places.line(session.machine.pc)
        for number in range(start.number, min(start.number + _LISTED, len(lines) + 1)):
            mark = "=>" if at == SourceLine(start.file, number) else "  "
            self.say(f"{mark} {number:>5}  {lines[number - 1].expandtabs()}".rstrip())
        self.next_line = start._replace(number=start.number + _LISTED)
        self.again = "list"

    def do_backtrace(self, text: str) -> None:
        """backtrace
        Show the calls that have not returned. They are inferred from ra, sp and the code."""
        self.no_operand(text)
        places = self.session.places
        calls, why = backtrace(self.session.machine)
        for number, call in enumerate(calls):
            name = places.symbols.name(call.function)
            arrived = number > 0 or self.session.machine.exit_code is not None
            within = places.program.before(call.pc) if arrived else call.pc
            self.say(f"#{number:<3} {places.name(call.pc, within)}" + (f" in {name}" if name else ""))
        if why:
            self.say(f"the backtrace ends here: {why}")

    def do_info(self, text: str) -> None:
        """info [breakpoints | registers | csrs | counters | units | symbols [PART] | sections | machine]
        Show one of these; without a word, where the program is and the breakpoints."""
        what, _, rest = text.partition(" ")
        session, program = self.session, self.session.places.program
        matches = [name for name in _INFO if name.startswith(what)] if what else ["here"]
        if not matches or (len(matches) > 1 and what not in matches):
            raise DebugError(f"info {what}: expected one of {', '.join(matches or _INFO)}")
        match matches[0]:
            case "here":
                self.say_all(inspection.here(session))
                self._breakpoints()
            case "breakpoints": self._breakpoints()
            case "registers":   self.say_all(inspection.registers(session))
            case "csrs":        self.say_all(inspection.csrs(session))
            case "counters":    self.say_all(inspection.counters(session, False))
            case "units":       self.say_all(f"{name:<6} {UNITS[name].title}" for name in session.machine.preset.units)
            case "symbols":
                found = sorted((s.value, s.name) for s in program.symbols if rest.strip() in s.name)
                self.say_all([f"{address:#x}  {name}" for address, name in found] or ["no symbol matches"])
            case "sections":
                self.say_all(f"{s.address:#14x}..{s.end:#x}  {s.flags:<3}  {s.name}" for s in program.sections)
            case _:
                preset = session.machine.preset
                self.say(f"{preset.name}: {preset.file.title}")
                for region in preset.regions:
                    self.say(f"{region.base:#14x}..{region.end:#x}  {region.name:<5}  ports {', '.join(sorted(region.ports))}")

    def _breakpoints(self) -> None:
        self.say_all([line for number in self.session.points for line in inspection.point(self.session, number)]
                      or ["no breakpoints, no watchpoints"])
