"""Fenced blocks of a guide, and how they are executed.

The blocks of a page run in order, in one folder that looks like a checkout: the commands of the page find `programs` and `isa`
there, and leave their files there. What a block is follows from its language:

    console   each `$ ` line is a command; the lines below it are all that it prints, on a terminal, in the end. `(slim) ` lines
              are typed at the debugger's prompt. A line `...` stands for any lines, ` ...` at the end of a line for its rest
    sh        commands; the last one must succeed
    python    executed, with the names of the page's blocks before; prints what stands behind `  # ` in its lines that print
    asm       assembles as a program

HTML comments directly above a block say what else is to be known (`<!-- KEY: VALUE -->`):

    file: NAME          it is a file of that name; later blocks use it
    from: PATH          these lines stand in that file of the repository
    part of: COMMAND    these lines are among those that the command prints
    needs: PATHS        files of the optional data beside the repository; it is executed where they are
    numbers vary: WHY   digits are not compared
    not run: WHY        it is not executed
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

from children import ROOT, SLIMULATOR, Child, run

import asm

DATA = ROOT.parent / "shared" / "data"
KEYS = {"file", "from", "part of", "needs", "numbers vary", "not run"}
LANGUAGES = {"console", "sh", "python", "asm"}
FENCE = re.compile(r"(?P<marks>(?:^ *<!-- .*? -->\n)*)"
                   r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)
VARIES = re.compile(r"^  this host ")           # a summary's line of seconds


@dataclass(frozen=True)
class Block:
    """One fenced block: `line` is that of its fence."""

    page: str
    line: int
    language: str
    text: str
    marks: dict[str, str]

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a page, in order. A comment that is no mark raises ValueError."""
    text, page, found = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix(), []
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.end("marks")) + 1
        marks = dict(re.findall(r"<!-- ([\w ]+): (.*?) -->", match["marks"]))
        if unknown := marks.keys() - KEYS:
            raise ValueError(f"{page}:{line}: mark {sorted(unknown)}; expected {sorted(KEYS)}")
        found.append(Block(page, line, match["language"],
                           textwrap.dedent(match["text"]) if match["indent"] else match["text"], marks))
    return found


def missing(block: Block) -> str:
    """What a block lacks so that a test can hold it; empty if nothing."""
    if "not run" in block.marks:
        return "" if len(block.marks["not run"].split()) >= 3 else "a reason"
    if block.language in LANGUAGES or block.marks.keys() & {"file", "from", "part of"}:
        return ""
    return "a language that is executed, or a mark"


class Folder:
    """The folder in which the blocks of one page are executed."""

    def __init__(self, path: Path) -> None:
        self.path, self.names = path / "checkout", {"__name__": "guide"}
        self.path.mkdir()
        for name in ("benchmarks", "docs", "isa", "programs", "pyproject.toml", "slimulator", "tests"):
            (self.path / name).symlink_to(ROOT / name)
        commands = path / "bin"
        commands.mkdir()
        for name, words in (("slimulator", SLIMULATOR), ("python", (sys.executable,))):
            (commands / name).write_text(f"#!/bin/sh\nexec '{words[0]}' {' '.join(words[1:])} \"$@\"\n")
            (commands / name).chmod(0o755)
        self.environment = os.environ | {"PATH": f"{commands}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "COLUMNS": "80"}

    def execute(self, block: Block) -> None:
        """Do what a block shows, and compare. Raises AssertionError with its place."""
        for name in block.marks.get("needs", "").split():
            if not (link := self.path / Path(name).name).exists():
                link.symlink_to(DATA / name)
        if file := block.marks.get("file"):
            (self.path / file).write_text(block.text, encoding="utf-8")
        elif source := block.marks.get("from"):
            lines, count = (ROOT / source).read_text(encoding="utf-8").splitlines(keepends=True), block.text.count("\n")
            parts = (textwrap.dedent("".join(lines[i:i + count])) for i in range(len(lines) - count + 1))
            assert textwrap.dedent(block.text) in parts, f"{block.place}: these lines are not in {source}"
        elif command := block.marks.get("part of"):
            self._compare(block, f"...\n{block.text}...\n", self._run(command)[1], command)
        elif block.language == "python":
            self._python(block)
        elif block.language == "asm":
            assert asm.assemble(block.text).sections, block.place
        elif block.language == "sh":
            status, printed = self._run(f"set -e\n{block.text}")
            assert status == 0, f"{block.place}: {printed}"
        else:
            self._console(block)

    def _console(self, block: Block) -> None:
        assert block.text.startswith("$ "), f"{block.place}: a console block starts with a command"
        for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
            command, shown = re.fullmatch(r"((?:[^\n]*\\\n)*[^\n]*)\n(.*)", part, re.S).groups()
            if "(slim) " in shown:
                self._session(block, command, shown)
                continue
            status, printed = self._run(command)
            assert shown or status == 0, f"{block.place}: {command}: status {status}: {printed}"
            self._compare(block, shown, printed, command)

    def _run(self, command: str) -> tuple[int, str]:
        """Status, and output and errors as a terminal shows them in the end: without the lines that say what takes long."""
        done = run("bash", "-c", f"exec 2>&1\n{command}", cwd=self.path, env=self.environment)
        return done.returncode, re.sub(r"^[a-z][^\n]* \.\.\.\n", "", done.stdout, flags=re.M)

    def _session(self, block: Block, command: str, shown: str) -> None:
        """A debugger's prompt, on a terminal: what is typed is what stands behind `(slim) `."""
        opening, *steps = re.split(r"^\(slim\) ", shown, flags=re.M)
        with Child("bash", "-c", command, terminal=True, cwd=self.path, env=self.environment | {"TERM": "dumb"}) as child:
            printed = _plain(child.wait_for("(slim) "))
            self._compare(block, opening, printed.removesuffix("(slim) "), command)
            for step in steps:
                typed, _, expected = step.partition("\n")
                child.send(f"{typed}\n")
                if step is steps[-1]:
                    printed = child.end()[0]
                else:
                    printed = child.wait_for("(slim) ").removesuffix("(slim) ")
                self._compare(block, expected, _plain(printed).removeprefix(f"{typed}\n"), f"(slim) {typed}")

    def _python(self, block: Block) -> None:
        printed = io.StringIO()
        with contextlib.chdir(self.path), contextlib.redirect_stdout(printed):
            exec(compile(block.text, block.place, "exec"), self.names)
        says = [line.rpartition("  # ")[2] for line in block.text.splitlines()
                if re.search(r"^\s*(print|machine\.hook)\(.*  # ", line)]
        self._compare(block, "".join(f"{line}\n" for line in says), printed.getvalue(), "the block")

    def _compare(self, block: Block, shown: str, printed: str, command: str) -> None:
        everywhere = "numbers vary" in block.marks
        pattern, text = (_comparable(each, everywhere) for each in (shown, printed))
        parts = [re.escape(part) for part in re.split(r"^\.\.\.\n", pattern, flags=re.M)]
        parts = [re.sub(r"\\ \\\.\\\.\\\.(?=\\\n)", ".*", part) for part in parts]
        same = re.fullmatch(r"(?:.*\n)*?".join(parts), text)
        assert same, f"{block.place}: {command} prints\n{text}\nand the page shows\n{pattern}"


def _plain(text: str) -> str:
    """What a terminal shows in the end: without what it erased."""
    return re.sub(r"^.*\r\x1b\[K", "", text.replace("\r\n", "\n"), flags=re.M)


def _comparable(text: str, everywhere: bool) -> str:
    """A text without spaces at the ends of lines, numbers that differ from run to run, and what only transformers can say."""
    lines = [line.rstrip() for line in text.splitlines()]
    lines = [re.sub(r"[\d,.]*\d", "#", line) if everywhere or VARIES.search(line) else line for line in lines]
    lines = [re.sub(r"^(pass|not checked) +(float graph = transformers).*", r"\2", line) for line in lines]
    return "".join(f"{line}\n" for line in lines)
