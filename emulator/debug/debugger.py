"""The debugger's commands: `slimulator debug`, at a prompt, from a script or from a pipe.

A command is a method do_NAME, which command_reader.py calls. inspection.py makes what commands show; session.py lets the
program go on.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from emulator.debug import inspection
from emulator.debug.access import DebugError
from emulator.debug.expressions import Expression, integer, parse_expression
from emulator.debug.session import Session, Stop
from emulator.debug.viewer import Viewer
from isa.files import contents
from isa.text import printable


class Debugger(Viewer):
    """The commands, on one session."""

    def interact(self) -> None:
        """Read commands from a terminal until `quit`."""
        self.say_all(inspection.here(self.session))
        super().interact()

    # ---------------------------------------------------------------------------------------------- where to stop

    def _condition(self, text: str) -> tuple[str, Expression | None]:
        """The place and the condition of "PLACE [if CONDITION]"."""
        place, found, condition = re.match(r"(.*?)(?:(?:^|\s)(if)(?:\s+(.*))?)?$", text).groups()  # type: ignore[union-attr]
        return place.strip(), parse_expression(condition or "", self.session.places.program) if found else None

    def do_break(self, text: str, temporary: bool = False) -> None:
        """break [PLACE] [if CONDITION]
        Stop before a place: a symbol, FILE:LINE, LINE or an address; by default pc."""
        place, condition = self._condition(text)
        point = self.session.break_at(place or f"{self.session.machine.pc:#x}", condition, temporary)
        self.say_all(inspection.point(self.session, point.number))

    def do_tbreak(self, text: str) -> None:
        """tbreak [PLACE] [if CONDITION]
        Stop before a place once, then remove the breakpoint."""
        self.do_break(text, temporary=True)

    def do_watch(self, text: str) -> None:
        """watch ADDRESS[, BYTES] [if CONDITION]
        Stop after an instruction that writes there. By default BYTES is the size of the symbol, or 8."""
        place, condition = self._condition(text)
        if not place:
            raise DebugError("`watch` needs an address, as in `watch sp, 32`")
        address, size = inspection.span(self.session, place, 8)
        point = self.session.watch(place.rpartition(",")[0].strip() or place, address, size, condition)
        self.say_all(inspection.point(self.session, point.number))

    def do_delete(self, text: str) -> None:
        """delete [NUMBER ...]
        Remove breakpoints and watchpoints; without a number, all."""
        known = self.session.points
        numbers = re.findall(r"[^\s,]+", text) or [str(number) for number in known]
        for number in numbers:
            if not number.isdecimal() or int(number) not in known:
                raise DebugError(f"there is no breakpoint or watchpoint {number}; there are "
                                 + (", ".join(map(str, known)) or "none"))
        for number in numbers:
            known.pop(int(number), None)

    # ---------------------------------------------------------------------------------------------- going on

    def _go(self, way: Callable[[], Stop]) -> None:
        host = self.session.machine.host
        before = host.written[0]
        stop = self.session.advance(way)
        self.next_line = None
        if host.written[0] > before and not host.output.endswith(b"\n"):
            self.say("")                                    # the program has not ended its line
        self.say_all(inspection.why(self.session, stop))

    def do_step(self, text: str) -> None:
        """step [N]
        Execute one instruction, or N."""
        program = self.session.places.program
        count = integer(parse_expression(text, program).evaluate(self.session.machine), "N") if text else 1
        if count < 1:
            raise DebugError(f"step {count}; expected 1 or more instructions")
        self._go(lambda: self.session.resume(limit=count))

    def do_line(self, text: str) -> None:
        """line
        Run to the next source line; enter calls."""
        self.no_operand(text)
        self._go(lambda: self.session.line(over_calls=False))

    def do_next(self, text: str) -> None:
        """next
        Run to the next source line; step over calls."""
        self.no_operand(text)
        self._go(lambda: self.session.line(over_calls=True))

    def do_unit(self, text: str) -> None:
        """unit [NAME]
        Run to the next operation of a unit (lut, vec ...), or of any unit, and stop before it."""
        self._go(lambda: self.session.unit(text))

    def do_until(self, text: str) -> None:
        """until PLACE
        Run to a place."""
        if not text:
            raise DebugError("`until` needs a place, as in `until main+8`")
        addresses = self.session.places.code(text, self.session.machine)
        self._go(lambda: self.session.resume(until=addresses))

    def do_continue(self, text: str) -> None:
        """continue
        Run to the next breakpoint or watchpoint, or to the end. Ctrl-C stops the program."""
        self.no_operand(text)
        self._go(self.session.resume)

    def do_finish(self, text: str) -> None:
        """finish
        Run until this function has returned."""
        self.no_operand(text)
        self._go(self.session.finish)

    def do_restart(self, text: str) -> None:
        """restart
        Load the program again. Breakpoints and watchpoints stay."""
        self.no_operand(text)
        self.session.restart()
        self.next_line = None
        self.say_all(inspection.here(self.session))

    # ---------------------------------------------------------------------------------------------- changing, leaving

    def do_set(self, text: str) -> None:
        """set PLACE = EXPRESSION
        Change a register, pc, a CSR or memory: set a0 = 5, set vec.cols = 64, set f32[a0 + 4] = 1.5."""
        found = re.match(r"(.*?)(?<![<>=!])=(?!=)(.*)$", text)
        if found is None:
            raise DebugError(f"`set {text}`: expected `set PLACE = EXPRESSION`, as in `set a0 = 5`")
        program, machine = self.session.places.program, self.session.machine
        target, source = parse_expression(found[1], program), parse_expression(found[2], program)
        if target.store is None:
            raise DebugError(f"`{target.text}` cannot be set; registers, pc, CSRs and memory such as u64[{target.text}] can")
        target.store(machine, source.evaluate(machine))
        self.say(f"{target.text} = {inspection.value(self.session, target.evaluate(machine))}")

    def do_source(self, text: str) -> bool:
        """source FILE
        Execute the commands of a file."""
        path = Path(text).absolute()
        if path in self._reading:
            raise DebugError(f"{text} is already being read: it would read itself without end")
        try:
            lines = contents(path).decode("utf-8").splitlines()
        except OSError as error:
            raise DebugError(f"{text}: {error.strerror or error}") from None
        except ValueError:
            raise DebugError(f"{text}: not a text file") from None
        self._reading.append(path)
        try:
            return self.run_script(lines, text)
        finally:
            self._reading.pop()

    def do_quit(self, text: str) -> bool:
        """quit
        Leave the debugger."""
        return True


def run_debugger(session: Session, script: Path | None) -> int:
    """`slimulator debug`: read commands from a script, a pipe or a terminal. Returns the exit status."""
    debugger = Debugger(session)
    if script is None and sys.stdin.isatty():
        debugger.interact()
        return 0
    try:
        if script is not None:
            debugger.run_script(contents(script).decode("utf-8", "replace").splitlines(), str(script))
        else:
            with open(sys.stdin.fileno(), encoding="utf-8", errors="replace", closefd=False) as pipe:
                debugger.run_script(pipe, "<stdin>")
    except DebugError as error:
        print(printable(str(error), keep="\n\t"), file=sys.stderr)
        return 1
    return 0
