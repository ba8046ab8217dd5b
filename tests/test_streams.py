"""What a process writes to: as it comes and in bounded memory; where stdout or stderr is closed, full or unread, one message at
most and a defined status, for every command.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_checkpoint import write_checkpoint

import asm
import slimulator
from slimulator.command_line import command as GROUP

ROOT = Path(__file__).parents[1]
SOURCE = """
_start: li  s0, {times}
1:      li  a0, {file}
        la  a1, text
        li  a2, {size}
        li  a7, 64
        ecall
        addi s0, s0, -1
        bnez s0, 1b
        li  a0, 3
        li  a7, 93
        ecall
        .data
text:   .ascii "0123456789abcde\\n"
        .bss
        .zero 0x200000
"""
CHILD = f"""
import resource, subprocess, sys
peak = lambda: resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
status = subprocess.call([sys.executable, "-m", "slimulator", *sys.argv[1:]], cwd={str(ROOT)!r})
print(status, peak() >> 10, file=sys.stderr)
"""


@pytest.fixture
def program(tmp_path: Path):
    def make(times: int = 5, size: int = 16, file: int = 1) -> Path:
        asm.assemble(SOURCE.format(times=times, size=size, file=file)).save(tmp_path / "p.elf")
        return tmp_path / "p.elf"
    return make


def run(redirections: str, *arguments: object) -> tuple[int, str, str]:
    """Status, stdout and stderr of the command with a shell's redirections: each may be a file or closed."""
    done = subprocess.run(["sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, "-m", "slimulator", *map(str, arguments)],
                          cwd=ROOT, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


# ------------------------------------------------------------------------------------------------ output as it comes


@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_output_of_a_gigabyte_is_not_kept(program, engine) -> None:
    done = subprocess.run(["bash", "-c", '"$@" | wc -c', "bash", sys.executable, "-c", CHILD, "run", program(700, 0x180000),
                           "--quiet", "--engine", engine], capture_output=True, text=True, timeout=300)
    assert int(done.stdout) == 700 * 0x180000
    status, megabytes = map(int, done.stderr.split())
    assert status == 3 and megabytes < 400


def test_one_write_of_gigabytes_goes_out_in_pieces(program) -> None:
    done = subprocess.run(["bash", "-c", '"$@" | wc -c', "bash", sys.executable, "-c", CHILD, "run", program(1, 3 << 30),
                           "--quiet"], capture_output=True, text=True, timeout=300)
    assert int(done.stdout) == 3 << 30 and int(done.stderr.split()[1]) < 400


@pytest.mark.parametrize("file", [1, 2])
def test_json_has_the_last_megabytes_and_says_how_many_there_were(command, program, tmp_path, file) -> None:
    snapshot, name = tmp_path / "s.slim", ("output", "errors")[file - 1]
    assert command("run", program(20, 1 << 20, file), "--json", tmp_path / "j", "--save-snapshot", snapshot)[0] == 3
    data = json.loads((tmp_path / "j").read_text())
    assert (len(data[name]), data[f"{name}_bytes"]) == (1 << 24, 20 << 20)
    assert [at for at in range(1 << 24) if data[name].startswith("0", at)] == [at << 20 for at in range(16)]
    assert command("run", "--restore", snapshot, "--json", tmp_path / "k")[0] == 3
    assert json.loads((tmp_path / "k").read_text()) == data


def test_a_host_keeps_what_it_is_told_and_counts_all() -> None:
    host = slimulator.Host(keep=5)
    for piece in (b"abc", b"defg", b"", b"h" * 9, b"ij"):
        host.write(1, piece)
    assert (host.output, host.errors, host.written) == (b"hhhij", b"", [18, 0])
    for token in range((1 << 20) + 7):
        host.emit_token(token)
    assert (len(host.tokens), host.tokens[0]) == (1 << 20, 7)


def test_a_reader_that_goes_away_ends_the_run_and_what_was_asked_for_is_written(program, tmp_path) -> None:
    done = subprocess.run(
        ["bash", "-c", '"$@" | head -c 5', "bash", sys.executable, "-m", "slimulator", "run", program(1 << 30), "--quiet",
         "--json", tmp_path / "j"], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("01234", "")
    data = json.loads((tmp_path / "j").read_text())
    assert data["reason"] == "write error" and data["output"].startswith("0123") and data["output_bytes"] == data["counters"][
        "dram.bytes_read"]


# ------------------------------------------------------------------------------------------------ closed, full, unread

PRINTING = {
    "asm": ["asm", "{source}", "-o", "{folder}/x.elf", "--listing", "-"],
    "disasm": ["disasm", "{elf}"],
    "run": ["run", "{elf}", "--engine", "reference"],
    "debug": ["debug", "{elf}", "--engine", "reference", "--script", "{script}"],
    "generate": ["generate", "{model}", "a", "-n", "1", "--engine", "reference"],
    "eval": ["eval", "{model}", "{text}", "--tokens", "2", "--engine", "reference"],
    "isa": ["isa", "add"],
    "machines": ["machines"],
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory):
    """The arguments of a command that prints to stdout; of others its help."""
    folder = tmp_path_factory.mktemp("streams")
    places = {"folder": folder} | {name: folder / f"p.{name}" for name in ("source", "elf", "script", "text")}
    places["source"].write_text(SOURCE.format(times=2, size=16, file=1))
    places["script"].write_text("info registers\ncontinue\n")
    places["text"].write_text("a few words.")
    asm.assemble(places["source"]).save(places["elf"])
    places["model"] = write_checkpoint(folder)
    return lambda name: [part.format(**places) for part in PRINTING.get(name, [name, "--help"])]


@pytest.mark.parametrize("name", sorted(GROUP.commands))
@pytest.mark.parametrize(("redirections", "message"), [
    (">&-", "stdout: error: Bad file descriptor"), (">/dev/full", "stdout: error: No space left on device"),
    (">&- 2>&- <&-", ""), (">/dev/full 2>/dev/full", "")])
def test_every_command_ends_in_one_message_where_stdout_cannot_be_written(filled, name, redirections, message) -> None:
    if "full" in redirections and not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    status, out, err = run(redirections, *filled(name))
    assert (status, out) == (1, "")
    assert "Traceback" not in err and "Exception ignored" not in err
    assert err.count("error:") == bool(message) and message in err, err


@pytest.mark.parametrize("redirections", ["2>&-", "2>/dev/full", "2>&- <&-"])
def test_errors_that_cannot_be_said_change_nothing_else(filled, tmp_path, redirections) -> None:
    elf = filled("disasm")[1]
    status, out, _ = run(redirections, "run", elf, "--engine", "reference", "--json", tmp_path / "j")
    assert (status, out) == (3, "0123456789abcde\n" * 2)
    assert json.loads((tmp_path / "j").read_text())["exit_code"] == 3
    assert run(redirections, "run", tmp_path / "none")[:2] == (1, "")
    assert run(redirections, "run")[:2] == (2, "")
    assert run(redirections, "debug", elf, "--engine", "reference")[0] == 0


def test_no_file_of_ours_takes_the_number_of_a_closed_stream(filled, tmp_path) -> None:
    """The program prints to file 1: it must not be the snapshot that this process writes."""
    elf = filled("disasm")[1]
    status, _, err = run(">&-", "run", elf, "--engine", "reference", "--save-snapshot", tmp_path / "s", "--trace", tmp_path / "t")
    assert status == 1 and "stdout: error: Bad file descriptor; the run stopped at pc" in err
    assert (tmp_path / "s").read_bytes()[:2] == b"PK" and not (tmp_path / "t").read_bytes().startswith(b"0123")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_character_that_stdout_has_no_code_for_is_its_number(tmp_path, encoding, monkeypatch) -> None:
    (tmp_path / "a.s").write_text("_start: nop  # \u65e5\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    status, out, err = run("", "asm", tmp_path / "a.s", "-o", tmp_path / "a.elf", "--listing", "-")
    assert (status, err) == (0, "") and "_start: nop  # \\u65e5\n" in out
