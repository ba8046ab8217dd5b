"""Who reads what a command prints: a pipe that is closed, a terminal. Files that were asked for are written all the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from children import SLIMULATOR, Child
from tiny_checkpoint import PIECES, write_checkpoint

from slimulator.commands.shared import SCHEMA

ROOT = Path(__file__).parents[1]
LIMIT = 120             # seconds that a child may take

SOURCE = """
        .globl _start
_start: li a0, 1
        la a1, text
        li a2, 2
        li a7, 64
        ecall
        li a0, 3
        li a7, 93
        ecall
text:   .ascii "!\\n"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a model, a text, a source, and a program of it."""
    write_checkpoint(tmp_path)
    (tmp_path / "t.txt").write_text("a cat sat on a mat.", encoding="utf-8")
    (tmp_path / "p.s").write_text(SOURCE, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "slimulator", "asm", tmp_path / "p.s", "-o", tmp_path / "p.elf"], cwd=ROOT, check=True,
                   timeout=LIMIT)
    return tmp_path


def unread(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command whose stdout nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        return subprocess.run([sys.executable, "-m", "slimulator", *map(str, arguments)], cwd=ROOT, stdout=writing,
                              stderr=subprocess.PIPE, text=True, timeout=LIMIT)
    finally:
        os.close(writing)


@pytest.mark.parametrize(("command", "key"), [
    ("asm p.s -o again.elf --listing - --json OUT", "symbols"),
    ("run p.elf --json OUT --quiet", "reason"),
    ("run p.elf --json OUT --csv - --quiet", "reason"),
    ("generate tiny.bin ab -n 4 --json OUT --quiet", "text"),
    ("eval tiny.bin t.txt --tokens 8 --json OUT", "bits_per_byte"),
    ("verify tiny.bin --prompt ab --tokens 2 --json OUT", "checks"),
    ("bench --shape 15m --weights t2 --context 16 --seconds 0.1 --json OUT", "shapes"),
])
def test_a_json_file_is_written_though_nobody_reads_the_rest(folder: Path, command: str, key: str) -> None:
    """`slimulator ... --json F | head`. The status is 1, as of any output that was not taken."""
    out = folder / "out.json"
    words = [str(folder / word) if word in ("p.s", "p.elf", "again.elf", "tiny.bin", "t.txt") else word.replace("OUT", str(out))
             for word in command.split()]
    done = unread(*words)
    assert done.returncode == 1 and "rror" not in done.stderr and "Traceback" not in done.stderr, done.stderr
    data = json.loads(out.read_text(encoding="utf-8"))
    assert data["schema"] == SCHEMA and key in data
    if command.startswith("asm"):
        assert (folder / "again.elf").read_bytes() == (folder / "p.elf").read_bytes()


def test_json_to_a_reader_that_is_gone_takes_no_other_file_with_it(folder: Path) -> None:
    files = "--csv", folder / "out.csv", "--save-snapshot", folder / "snap"
    done = unread("run", folder / "p.elf", "--quiet", "--json", "-", *files)
    assert done.returncode == 1 and "rror" not in done.stderr
    assert (folder / "out.csv").read_text(encoding="utf-8").startswith("counter,events") and (folder / "snap").exists()


def test_without_a_file_a_reader_that_is_gone_ends_the_command(folder: Path) -> None:
    model = folder / "tiny.bin"
    for arguments in (["eval", model, folder / "t.txt"], ["verify", model, "--prompt", "ab", "--tokens", 2], ["cache"],
                      ["isa", "--json"]):
        done = unread(*arguments)
        assert done.returncode == 1 and "Traceback" not in done.stderr


def test_a_full_disk_behind_a_text_is_an_error(folder: Path) -> None:
    command = [sys.executable, "-m", "slimulator", "generate", folder / "tiny.bin", "ab", "-n", "4", "--quiet"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=LIMIT)
    assert done.returncode == 1 and done.stderr == "stdout: error: No space left on device\n"


def terminal(*arguments: object) -> bytes:
    """What a command prints to a terminal."""
    with Child(*SLIMULATOR, *arguments, terminal=True, stderr=subprocess.DEVNULL) as child:
        text, _ = child.end()
        assert child.status == 0
        return text.encode()


def test_generated_text_cannot_command_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OSC 52 sets the clipboard of whoever looks on. A file gets the text as it is."""
    evil = "\x1b]52;c;YQ==\x07"
    others = {b"b": evil.encode(), b"c": b"\n"}
    monkeypatch.setattr("tiny_checkpoint.PIECES", [others.get(piece, piece) for piece in PIECES])
    model = write_checkpoint(tmp_path)
    arguments = "generate", model, f"a{evil}\na", "-n", 1, "--quiet"
    shown = terminal(*arguments)
    assert b"\x1b" not in shown and b"\x07" not in shown
    assert shown.startswith(b"a\\x1b]52;c;YQ==\\x07\r\na")
    done = subprocess.run([sys.executable, "-m", "slimulator", *map(str, arguments)], cwd=ROOT, capture_output=True, timeout=LIMIT)
    assert done.stdout.startswith(f"a{evil}\na".encode())
