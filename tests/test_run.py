"""What `slimulator run` shows: counters, mix, traces, and how a run ends. Every option has an effect."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import resource
import time
from pathlib import Path

import click
import pytest
from children import SLIMULATOR, Child

from isa.counters import COUNTERS
from slimulator.command_line import command as GROUP

ROOT = Path(__file__).parents[1]
COUNTDOWN = """
    .globl _start, again
_start: li t0, 100
    la t1, cell
again: sd t0, 0(t1)
    addi t0, t0, -1
    bnez t0, again
    li a0, 5
    li a7, 93
    ecall
    .data
cell: .dword 0
"""
FOREVER = """
    .globl _start
_start: li a0, 1
    la a1, mark
    li a2, 1
    li a7, 64
    ecall
again: addi t0, t0, 1
    j again
mark: .ascii "!"
"""


def process(*arguments: object, **options: object) -> Child:
    return Child(*SLIMULATOR, "run", *arguments, **options)


# ------------------------------------------------------------------------------------------------ results


def test_csv_has_every_counter(command, assembled, tmp_path):
    elf = assembled(COUNTDOWN)
    assert command("run", elf, "--csv", tmp_path / "c.csv", "--json", tmp_path / "c.json")[0] == 5
    table = list(csv.DictReader(io.StringIO((tmp_path / "c.csv").read_text())))
    assert {row["counter"]: int(row["events"]) for row in table} == json.loads((tmp_path / "c.json").read_text())["counters"]
    assert [(row["unit"], row["text"]) for row in table] == [(c.unit, c.text) for c in COUNTERS.values()]
    assert next(int(row["events"]) for row in table if row["counter"] == "core.stores") == 100


def test_quiet_leaves_the_programs_output_and_errors(command, assembled):
    elf = assembled(COUNTDOWN)
    assert command("run", elf, "--quiet") == (5, "", "")
    status, _, err = command("run", elf, "--quiet", "--max-instructions", 10)
    assert (status, err.count("\n")) == (1, 1) and "--max-instructions 10" in err


def test_mix_on_stderr_and_in_json(command, assembled, tmp_path):
    elf = assembled(COUNTDOWN)
    _, out, err = command("run", elf, "--mix", "--json", tmp_path / "m.json")
    assert out == "" and re.search(r"^  bne +100 +32\.\d%$", err, re.MULTILINE)
    assert json.loads((tmp_path / "m.json").read_text())["mix"]["mnemonics"]["sd"] == 100
    command("run", elf, "--json", tmp_path / "m.json")
    assert json.loads((tmp_path / "m.json").read_text())["mix"] is None


def test_json_says_where_a_run_stopped(command, assembled, tmp_path):
    elf = assembled(COUNTDOWN)
    assert command("run", elf, "--max-instructions", 7, "--json", tmp_path / "j.json")[0] == 1
    data = json.loads((tmp_path / "j.json").read_text())
    assert (data["reason"], data["symbol"], data["pc"], data["instructions"]) == ("limit", "again+0x4", 0x80000010, 7)
    assert data["exit_code"] is None
    assert data["place"].endswith("program.s:6")


def test_what_goes_to_stdout_has_it_alone(command, assembled):
    elf = assembled(FOREVER.replace("again:", "li a0, 0\nli a7, 93\necall\nagain:"))
    for option, start in (("--trace", "# n  pc"), ("--commit-log", "core   0: 3 0x"), ("--csv", "counter,"), ("--json", "{")):
        status, out, err = command("run", elf, "--quiet", option, "-")
        assert (status, err) == (0, "!") and out.startswith(start) and "!" not in out.replace('"output": "!"', "")


# ------------------------------------------------------------------------------------------------ how a run ends


def test_timeout(command, assembled):
    status, _, err = command("run", assembled(FOREVER), "--timeout", 0.2)
    assert status == 1
    assert re.search(r"error: stopped by --timeout 0\.2 at pc 0x800000\w+ <again(\+0x4)?> \(.*program\.s:\d+\)", err)
    assert "core.instructions" in err


def test_a_timeout_of_ages_is_none(command, assembled):
    assert command("run", assembled(COUNTDOWN), "--timeout", 1e12)[0] == 5


def test_an_interrupted_run_keeps_its_counters_and_its_trace(assembled, tmp_path):
    with process(assembled(FOREVER), "--trace", tmp_path / "t", "--json", tmp_path / "j",
                 "--commit-log", tmp_path / "c") as running:
        running.wait_for("!")
        time.sleep(0.3)
        running.interrupt()
        _, err = running.end()
        assert running.status == 130
    assert re.search(r"interrupted at pc 0x\w+ <again", err) and "interrupted after " in err and "core.instructions" in err
    data = json.loads((tmp_path / "j").read_text())
    assert (data["reason"], data["exit_code"]) == ("interrupted", None)
    for name, header in (("t", 1), ("c", 0)):
        text = (tmp_path / name).read_text()
        assert text.endswith("\n") and text.count("\n") == data["instructions"] + header
    assert {path.name for path in tmp_path.iterdir()} == {"t", "j", "c", "program.s", "program.elf"}


def test_a_trap_keeps_the_trace(command, assembled, tmp_path):
    assert command("run", assembled("_start: ld a0, 0(zero)\n"), "--trace", tmp_path / "t")[0] == 1
    assert (tmp_path / "t").read_text().splitlines()[1].endswith("trap 5 LOAD_ACCESS")


# ------------------------------------------------------------------------------------------------ traces


@pytest.mark.parametrize(("options", "lines"), [
    ([], 306), (["--trace-unit", "zicsr"], 0), (["--trace-unit", "core"], 306), (["--trace-pc", "_start..again"], 3),
    (["--trace-symbol", "again"], 303), (["--trace-pc", "_start", "--trace-symbol", "again"], 306),
    (["--trace-registers", "a0,a7"], 2), (["--trace-registers", "any"], 105), (["--trace-writes", "cell"], 100),
    (["--trace-limit", 12], 12), (["--trace-writes", "cell", "--trace-limit", 12, "--trace-unit", "lut"], 0)])
def test_every_option_chooses(command, assembled, tmp_path, options, lines):
    assert command("run", assembled(COUNTDOWN), "--trace", tmp_path / "t", *options)[0] == 5
    assert len((tmp_path / "t").read_text().splitlines()) == lines + 1


def test_both_engines_write_the_same(command, assembled, tmp_path):
    elf = assembled(COUNTDOWN)
    for engine in ("fast", "reference"):
        command("run", elf, "--engine", engine, "--trace", tmp_path / f"{engine}.t", "--commit-log", tmp_path / f"{engine}.c")
    for end in "tc":
        assert (tmp_path / f"fast.{end}").read_text() == (tmp_path / f"reference.{end}").read_text() != ""


@pytest.mark.parametrize(("options", "status", "said"), [
    (["--trace-unit", "lut"], 2, "the --trace-... options need --trace F"),
    (["--trace", "t", "--trace-unit", "lot"], 1, "did you mean 'lut'?"),
    (["--trace", "t", "--trace-registers", "b0"], 1, "no register is called 'b0'"),
    (["--trace", "t", "--trace-symbol", "agian"], 1, "did you mean 'again'?"),
    (["--trace", "t", "--trace-pc", "again..again"], 1, "is empty"),
    (["--trace", "-", "--json", "-"], 2, "only one output may be stdout ('-')"),
    (["--trace", "t", "--commit-log", "t"], 2, "t is given for two outputs"),
    (["--save-snapshot", "-"], 2, "'-' means stdout; expected a file name"),
    (["--csv", "program.elf"], 2, "is a file that is read"),
    (["--trace", "none/t"], 1, "none/t: error: the directory to write it to does not exist"),
    (["--json", "none/t"], 1, "none/t: error: the directory to write it to does not exist"),
    (["--trace", "."], 1, "error: Is a directory"),
    (["--timeout", "0"], 2, "--timeout"), (["--timeout", "nan"], 2, "--timeout"), (["--timeout", "soon"], 2, "--timeout"),
    (["--trace-limit", "0", "--trace", "t"], 2, "--trace-limit")])
def test_a_mistake_is_known_before_the_run(command, assembled, tmp_path, monkeypatch, options, status, said):
    assembled(FOREVER)                                                      # that it would print and not end is the test
    monkeypatch.chdir(tmp_path)
    done = command("run", "program.elf", *options)
    assert done[:2] == (status, "") and said in done[2] and "Traceback" not in done[2]
    assert {path.name for path in tmp_path.iterdir()} == {"program.s", "program.elf"}


def test_no_link_leads_to_a_file_that_is_read_or_written_already(command, assembled, tmp_path, monkeypatch):
    program = assembled(FOREVER).read_bytes()
    monkeypatch.chdir(tmp_path)
    for name, target in (("link.json", "program.elf"), ("one", "file"), ("two", "file")):
        Path(name).symlink_to(target)
    for arguments, said in ((("run", "program.elf", "--json", "link.json"), "link.json is a file that is read"),
                            (("run", "program.elf", "--json", "one", "--csv", "two"), "two is given for two outputs"),
                            (("generate", "program.elf", "hello", "--json", "program.elf"), "program.elf is a file that is read"),
                            (("verify", "program.elf", "--json", "program.elf"), "program.elf is a file that is read")):
        status, out, errors = command(*arguments)
        assert (status, out) == (2, "") and f"{said}" in errors and "Traceback" not in errors
    assert Path("program.elf").read_bytes() == program


@pytest.mark.parametrize("option", ["--trace", "--commit-log"])
def test_a_full_disk_stops_the_run_and_leaves_no_file(assembled, tmp_path, option):
    """The process may write files of 100,000 bytes: as on a full disk, the write that needs more fails."""
    path = tmp_path / "log"
    with process(assembled(FOREVER), option, path,
                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
                 env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}) as running:
        _, err = running.end()
        assert running.status == 1
    assert re.search(rf"^{path}: error: File too large; the run stopped at pc 0x\w+ <again", err, re.MULTILINE)
    assert err.count("error") == 2 and "write error after " in err and "core.instructions" in err     # the reason, the message
    assert {other.name for other in tmp_path.iterdir()} == {"program.s", "program.elf"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("program", [COUNTDOWN, FOREVER])
def test_a_device_that_is_full(command, assembled, program):
    status, _, err = command("run", assembled(program), "--quiet", "--trace", "/dev/full")
    assert status == 1
    assert re.fullmatch(r"!?/dev/full: error: No space left on device(; the run stopped at pc .*)?\n", err)
    assert command("run", assembled(COUNTDOWN), "--json", "/dev/full")[2].endswith("/dev/full: error: No space left on device\n")


def test_a_reader_that_goes_away_ends_the_run(assembled):
    with process(assembled(FOREVER), "--trace", "-") as running:
        assert running.line().startswith("# n  pc")
        running.close("out")
        assert "Traceback" not in running.end()[1]
        assert running.status == 1


def test_a_trace_can_be_read_from_a_pipe_as_it_comes(assembled, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with Child("cat", tmp_path / "pipe") as reader, process(assembled(FOREVER), "--trace", tmp_path / "pipe") as running:
        lines = [reader.line() for _ in range(2000)]
        assert running.status is None and lines[1].split()[0] == "1"
        running.interrupt()
        reader.end()
        running.end()
        assert running.status == 130


# ------------------------------------------------------------------------------------------------ documentation


def test_every_option_is_documented():
    text = (ROOT / "docs" / "command-line.md").read_text()
    section = text.split("## `slimulator run FILE.elf`")[1].split("\n## ")[0]
    options = [name for option in GROUP.commands["run"].params if isinstance(option, click.Option)
               for name in option.opts]
    assert [name for name in options if f"`{name}" not in section] == []


def test_the_lines_that_are_shown_are_real(command, tmp_path, monkeypatch):
    text = (ROOT / "docs" / "command-line.md").read_text()
    monkeypatch.chdir(ROOT)
    elf = tmp_path / "ternary_gemv.elf"
    assert command("asm", "programs/ternary_gemv.s", "-o", elf)[0] == 0
    block = re.search(r"^\$ slimulator run ternary_gemv.elf (.*) 2> /dev/null\n((?!```)(?:.*\n)+?)```$", text, re.MULTILINE)
    assert command("run", elf, *block[1].split())[1] == block[2]
    log = command("run", elf, "--quiet", "--commit-log", "-")[1].splitlines()
    shown = re.findall(r"^(core   0: .*)$", text, re.MULTILINE)
    assert shown == [log[number - 1] for number in (1, 12, 42, 57)] and "sed -n '1p; 12p; 42p; 57p'" in text
