"""Reads the debugger's commands from a terminal, a script or a pipe: short names, repetition, help.

A command is a method do_NAME. `help` prints its docstring: the first line says how the command is written, the rest what it
does. The method gets the text after the name. It says lines, raises DebugError, and returns True to leave the debugger.
"""

from __future__ import annotations

import cmd
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from emulator.debug.access import DebugError
from isa.hints import nearest
from isa.text import printable

PROMPT = "(slim) "
SHORT = {"b": "break", "bt": "backtrace", "c": "continue", "d": "delete", "h": "help", "i": "info", "l": "list", "n": "next",
         "p": "print", "q": "quit", "s": "step", "u": "until", "w": "watch", "where": "backtrace", "stepi": "step", "si": "step"}
_REPEATED = ("backtrace", "continue", "counters", "disassemble", "finish", "info", "line", "list", "next", "print", "step", "unit",
             "until", "x")

_TOPICS = """
places:       main, main+8, 0x80000010 or *EXPRESSION, gemv.s:12, 12 (a line of the current file)
expressions:  registers a0, x[10], pc; CSRs and counters vec.cols, lut.lookups; symbols (their address); memory u8[sp + 8],
              i32[table + 4 * a1], f32[a0]; f32(a0): the number with these bits; bits(1.5): the bits of a number;
              || && == != < <= > >= | ^ & << >> + - * / % - ~ !, on 64-bit signed integers or floating-point numbers
tensors:      print ADDRESS FORMAT[SHAPE], as in print weights t2[4,16]; `slimulator isa numbers` lists the formats
"""

Say = Callable[[str], None]


def print_line(line: str) -> None:
    """Print a line without control characters: symbols, source lines and data come from outside."""
    print(printable(line, keep="\n\t"), flush=True)


class ScriptError(DebugError):
    """A command of a script failed: FILE:LINE: error: why."""


class CommandReader(cmd.Cmd):
    """Reads commands and executes them. `again` is the command that an empty line repeats."""

    prompt = PROMPT

    def __init__(self, say: Say = print_line) -> None:
        super().__init__()
        self.say, self.again = say, ""
        self._reading: list[Path] = []                      # the scripts that are being read

    def say_all(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.say(line)

    def symbol_names(self) -> Iterable[str]:
        """The words that Tab completes after a command."""
        return ()

    def interact(self) -> None:
        """Read commands from a terminal until one leaves or the input ends. Errors are printed; Ctrl-C clears the line."""
        while True:
            try:
                self.cmdloop()
                return
            except KeyboardInterrupt:
                self.say("\n(`quit` leaves the debugger)")

    def run_script(self, lines: Iterable[str], name: str) -> bool:
        """Execute the commands of a script; blank lines and lines that start with # are skipped. True if one of them leaves.

        Raises ScriptError at the first command that fails.
        """
        for number, line in enumerate(lines, 1):
            if line.strip() and not line.lstrip().startswith("#"):
                try:
                    if self.execute(line):
                        return True
                except ScriptError:
                    raise
                except DebugError as error:
                    raise ScriptError(f"{name}:{number}: error: {error}") from None
        return False

    def execute(self, line: str) -> bool:
        """Execute one command. True if it leaves the debugger. Raises DebugError."""
        found = re.match(r"([A-Za-z]+|\?)\s*(.*)$", line.strip())
        if found is None:
            raise DebugError(f"`{line.strip()}` is not a command; `help` lists all commands")
        name = self.resolve(found[1])
        self.again = line.strip() if name in _REPEATED else ""
        return bool(getattr(self, f"do_{name}")(found[2]))

    def commands(self) -> list[str]:
        """Names of all commands, in the order of the source."""
        return [name.removeprefix("do_") for owner in type(self).__mro__ for name in vars(owner)
                if name.startswith("do_") and owner is not cmd.Cmd]

    def resolve(self, word: str) -> str:
        """The command that a word, or the start of one, means. Raises DebugError with the commands it may mean, or a near one."""
        names = self.commands()
        if word == "?":
            return "help"
        if word in names or SHORT.get(word) in names:
            return SHORT.get(word, word)
        begun = [name for name in names if name.startswith(word)]
        if len(begun) == 1:
            return begun[0]
        if begun:
            raise DebugError(f"`{word}` is ambiguous: {' or '.join(begun)}")
        raise DebugError(f"no command `{word}`; {nearest(word, names, quote='`') or '`help` lists all commands'}")

    def no_operand(self, text: str) -> None:
        """Check the text after a command that takes no operand. Raises DebugError."""
        if text:
            raise DebugError(f"`{text}`: this command takes no operand")

    def onecmd(self, line: str) -> bool:
        """Execute a line of a terminal; an empty one repeats."""
        if line == "EOF":
            self.say("")
            return True
        line = line.strip() or self.again
        try:
            return bool(line) and not line.startswith("#") and self.execute(line)
        except DebugError as error:
            self.say(f"error: {error}")
            return False

    def completenames(self, text: str, *ignored: object) -> list[str]:
        return [name for name in self.commands() if name.startswith(text)]

    def completedefault(self, text: str, *ignored: object) -> list[str]:
        return sorted({name for name in self.symbol_names() if name.startswith(text)})

    def do_help(self, text: str) -> None:
        """help [COMMAND]
        List the commands, or explain one. You may abbreviate a command to any prefix that only one command has."""
        for name in [self.resolve(text)] if text else self.commands():
            usage, *explanation = str(getattr(self, f"do_{name}").__doc__).splitlines()
            self.say(usage)
            self.say_all(f"    {line.strip()}" for line in explanation)
        if not text:
            self.say(_TOPICS.rstrip())
