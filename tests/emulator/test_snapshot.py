"""Snapshots: going on from one equals never having stopped, on either engine; what cannot be gone on from is refused."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from both_engines import machine_differences, memory_differences
from children import LIMIT, SLIMULATOR, Child
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import asm
import slimulator
from emulator.machine import Machine
from isa.csrs import CSRS
from isa.engine import pages
from isa.engine.snapshot import SnapshotError
from isa.preset import load_preset
from isa.program import Program
from isa.reference import ReferenceMachine
from isa.services import Host
from isa.text import shortened

ROOT = Path(__file__).parents[2]
ENGINES = (ReferenceMachine, Machine)

# Reads a prompt, emits and prints it, changes data of the program, its own code, sram, a stack page, unit state, CSRs.
WORK = """
    .section .data
    .balign 4096
table:  .zero 4096, 7
ones:   .rept 64
        .byte 1
        .endr
    .balign 4
scale:  .float 2.0
    .section .bss
    .balign 8
sums:   .zero 64
    .section .text
    .globl _start
_start: la      s0, table
        la      s1, ones
        la      s2, scale
        la      s3, sums
        li      s4, 64
        lut.build.i8 s1, s2, s4
        li      s5, 3
        csrw    fetch.tag, s5
next:   li      a7, 0x5110
        ecall
        bltz    a0, done
        mv      s6, a0
        li      a7, 0x5111
        ecall
        sb      zero, 0(s0)                 # back to zero: differs from the program
        addi    s0, s0, 1
        sd      s6, -8(sp)
        addi    sp, sp, -512
        li      t0, 4
        lut.mac.t2 s3, s1, t0
        fetch.copy sp, s3, s4
        sync.wait s5
        la      t1, patch
        lw      t2, new
        sw      t2, 0(t1)
        fence.i
patch:  addi    s7, s7, 1
        la      a1, message
        li      a0, 1
        li      a2, 2
        li      a7, 64
        ecall
        j       next
done:   mv      a0, s7
        li      a7, 93
        ecall
new:    addi    s7, s7, 16
message: .ascii "ok"
"""
PROMPT = [3, 1 << 40, 5, 7]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("work") / "work.elf"
    asm.assemble(WORK).save(path)
    return path


def start(engine: type[ReferenceMachine], path: Path, prompt: list[int] | None = None) -> ReferenceMachine:
    program = Program.load(path)
    machine = engine(program.machine, Host(PROMPT if prompt is None else prompt))
    machine.load(program)
    return machine


def differences(expected: ReferenceMachine, got: ReferenceMachine) -> list[str]:
    return machine_differences(expected, got) + memory_differences(expected, got)


# ------------------------------------------------------------------------------------------------ as if never stopped


@pytest.mark.parametrize("saver", ENGINES)
@pytest.mark.parametrize("reader", ENGINES)
def test_after_any_instruction(saver, reader, work: Path, tmp_path: Path) -> None:
    whole = start(reader, work)
    result = whole.run()
    assert result.reason == "exit" and result.exit_code == 16 * len(PROMPT)
    for stop in (0, 1, 17, 40, 41, result.instructions // 2, result.instructions - 1, result.instructions):
        first = start(saver, work)
        first.run(stop)
        first.save(tmp_path / "a.slim")
        second = reader.restore(tmp_path / "a.slim")
        assert differences(first, second) == []
        assert second.run() == result
        assert differences(whole, second) == []


def test_saving_changes_nothing_and_is_repeatable(work: Path, tmp_path: Path) -> None:
    machine = start(Machine, work)
    machine.run(60)
    machine.save(tmp_path / "a.slim")
    machine.save(tmp_path / "b.slim")
    assert (tmp_path / "a.slim").read_bytes() == (tmp_path / "b.slim").read_bytes()
    Machine.restore(tmp_path / "a.slim").save(tmp_path / "c.slim")
    assert (tmp_path / "a.slim").read_bytes() == (tmp_path / "c.slim").read_bytes()
    whole = start(Machine, work)
    assert whole.run() == machine.run()
    assert differences(whole, machine) == []


@pytest.mark.parametrize("name", ["bitnet_layer", "double_buffer", "pim_crf_gemv", "sparse_ffn", "topk"])
def test_the_programs(name: str, tmp_path: Path) -> None:
    asm.assemble(ROOT / "programs" / f"{name}.s").save(tmp_path / "a.elf")
    whole = start(Machine, tmp_path / "a.elf")
    result = whole.run()
    machine: ReferenceMachine = start(Machine, tmp_path / "a.elf")
    for number in range(7):
        machine.run(result.instructions // 8)
        machine.save(tmp_path / "a.slim")
        machine = ENGINES[number % 2].restore(tmp_path / "a.slim")
    assert machine.run() == result
    assert differences(whole, machine) == []


REGISTERS = ("t0", "t1", "t2", "a0", "a1", "a2", "s0", "s1")
# Addresses at page ends, in sram and dram; s2 holds one of them, s3 = 8 is a length.
LINE = st.one_of(
    st.builds("addi {}, {}, {}".format, st.sampled_from(REGISTERS), st.sampled_from(REGISTERS), st.integers(-2048, 2047)),
    st.builds("mul {}, {}, {}".format, *(st.sampled_from(REGISTERS),) * 3),
    st.builds("li s2, {}".format, st.sampled_from([0x1000_0000, 0x1000_0FFC, 0x8010_0FE0, 0x8FFF_FF00, 0x2000_0000])),
    st.builds("{} {}, {}(s2)".format, st.sampled_from(["sd", "sw", "sb", "ld", "lbu"]), st.sampled_from(REGISTERS),
              st.integers(-64, 64)),
    st.builds("csrw {}, {}".format, st.sampled_from(["vec.eps", "fetch.row_bytes", "mscratch", "minstret"]),
              st.sampled_from(REGISTERS)),
    st.sampled_from(["vec.relu.f32 s2, s2, s3", "vec.fill.32 s2, t0, s3", "fetch.copy s2, s2, s3", "lut.build.b1 s2, s3",
                     "thr.index t1, s2, s2, s3", "sync.signal.vec s4", "sync.wait s4",
                     "ecall\nli a7, 0x5111\necall\nli a7, 0x5110"]))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINE, min_size=3, max_size=40), st.data())
def test_a_random_program_stopped_anywhere(tmp_path: Path, lines: list[str], data: st.DataObject) -> None:
    """Traps are part of it: a handler skips the instruction."""
    source = "\n".join(("_start: la t0, handler", "csrw mtvec, t0", "li s2, 0x10000000", "li s3, 8", "li s4, 1", "li a7, 0x5110",
                        "li s11, 3", "again:", *lines, "addi s11, s11, -1", "bnez s11, again",
                        "csrw mtvec, zero", "li a7, 93", "ecall",
                        "handler: csrr t3, mepc", "addi t3, t3, 4", "csrw mepc, t3", "mret"))
    asm.assemble(source).save(tmp_path / "a.elf")
    whole = start(ReferenceMachine, tmp_path / "a.elf")
    result = whole.run(max_instructions=2000)
    machine = start(data.draw(st.sampled_from(ENGINES)), tmp_path / "a.elf")
    for _ in range(data.draw(st.integers(1, 3))):
        machine.run(max_instructions=data.draw(st.integers(0, max(0, whole.spent - machine.spent))))
        machine.save(tmp_path / "a.slim")
        machine = data.draw(st.sampled_from(ENGINES)).restore(tmp_path / "a.slim")
    rest = machine.run(max_instructions=2000 - machine.spent)
    assert (rest.reason, rest.instructions) == (result.reason, result.instructions)
    assert differences(whole, machine) == []


# ------------------------------------------------------------------------------------------------ what is in it


def test_a_snapshot_holds_what_differs_and_no_more(work: Path, tmp_path: Path) -> None:
    machine = start(Machine, work)
    dram = machine.preset.region("dram")
    machine.peek(dram.base + (9 << 30), 1)[:] = 1                   # far out in a region of 16 GiB
    machine.peek(dram.base + (5 << 30), 4096)[:] = 0                # touched, but as it was
    at = machine.program.symbol("ones").value
    machine.peek(at, 1)[:] = 1                                      # touched, and as the program has it
    machine.peek(machine.program.symbol("table").value, 7)[:] = [7, 7, 7, 7, 7, 7, 0]
    begin = time.monotonic()
    machine.save(tmp_path / "a.slim")
    assert time.monotonic() - begin < 5                             # 0.1 s on a quiet host; gigabytes would take longer
    assert os.path.getsize(tmp_path / "a.slim") < 1 << 20
    with np.load(tmp_path / "a.slim") as archive:
        assert sorted(archive["addresses.1"].tolist()) == [machine.program.symbol("table").value, dram.base + (9 << 30)]
        header = json.loads(archive["header"].tobytes())
    assert header["program"]["path"] == str(work) and header["prompt"] == PROMPT and header["preset"]["name"] == "slim"


def test_without_a_page_map_all_memory_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = (ROOT / "isa" / "machines" / "slim.toml").read_text().replace("17_179_869_184", "1_048_576")
    (tmp_path / "tiny.toml").write_text(tiny)
    machine = Machine(load_preset(tmp_path / "tiny.toml"), Host(PROMPT))
    machine.load(asm.assemble(WORK, machine=machine.preset))
    machine.run(60)
    machine.save(tmp_path / "a.slim")
    everything = {region.size for region in machine.preset.regions}
    monkeypatch.setattr(pages, "touched", lambda contents: [(0, len(contents))] if len(contents) < 1 << 24 else [])
    assert max(everything) > 1 << 24                                # hbm is left out: it is not touched here
    machine.save(tmp_path / "b.slim")
    assert (tmp_path / "a.slim").read_bytes() == (tmp_path / "b.slim").read_bytes()


def test_pages_of_a_file_in_writable_memory_are_not_of_the_snapshot_until_they_change(tmp_path: Path) -> None:
    data = np.random.default_rng(1).integers(0, 256, 3 << 20, np.uint8)
    (tmp_path / "weights").write_bytes(data.tobytes())
    (tmp_path / "a.s").write_text("_start: li a7, 93\necall\n.data\n.byte 1, 2, 3\nweights: .incbin \"weights\"\n.byte 9\n")
    asm.assemble(tmp_path / "a.s").save(tmp_path / "a.elf")
    machine = start(Machine, tmp_path / "a.elf")
    at = machine.program.symbol("weights").value
    assert (machine.peek(at, len(data)) == data).all() and machine.peek(at + len(data), 1)[0] == 9
    machine.peek(at + 50_000, 1)[:] = data[50_000] + np.uint8(1)
    machine.save(tmp_path / "a.slim")
    with np.load(tmp_path / "a.slim") as archive:
        assert archive["addresses.1"].tolist() == [(at + 50_000) & ~4095]
    assert differences(machine, Machine.restore(tmp_path / "a.slim")) == []
    section = Program.load(tmp_path / "a.elf").section(".data")
    assert section is not None and section.bytes()[3:-1] == data.tobytes()          # the file is as it was


def test_a_prompt_that_is_a_generator_cannot_be_saved(work: Path, tmp_path: Path) -> None:
    machine = start(Machine, work)
    machine.host.prompt = (token for token in (5, 6))
    with pytest.raises(SnapshotError, match="the prompt is a generator"):
        machine.save(tmp_path / "a.slim")
    assert machine.host.read_token() == 5 and list(tmp_path.iterdir()) == []
    machine.host.prompt = map(int, ["8", "9"])                   # its copies share what they read from
    machine.save(tmp_path / "a.slim")
    assert list(machine.host.prompt) == [8, 9] == list(Machine.restore(tmp_path / "a.slim").host.prompt)


def test_a_machine_without_a_program_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="no program is loaded"):
        ReferenceMachine("slim").save(tmp_path / "a.slim")
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------ refused


@pytest.fixture
def saved(work: Path, tmp_path: Path) -> Path:
    machine = start(Machine, work)
    machine.run(60)
    machine.save(tmp_path / "a.slim")
    return tmp_path / "a.slim"


def refused(path: Path, **options) -> str:
    with pytest.raises(SnapshotError) as caught:
        ReferenceMachine.restore(path, **options)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def test_another_program_or_machine_is_named(saved: Path, work: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.elf"
    asm.assemble(WORK.replace('.ascii "ok"', '.ascii "OK"')).save(other)
    assert f"of another program ({work}, here {other}): section .text: differs" in refused(saved, program=Program.load(other))
    asm.assemble(WORK.replace("_start:", "nop\n_start:")).save(other)
    assert "entry: 0x80000000 in the snapshot, 0x80000004 here" in refused(saved, program=Program.load(other))
    assert "of another machine (slim, here slim-llama): " in refused(saved, machine=load_preset("slim-llama"))
    small = (ROOT / "isa" / "machines" / "slim.toml").read_text().replace("17_179_869_184", "1_048_576")
    (tmp_path / "small.toml").write_text(small)
    assert "dram size: 0x400000000 in the snapshot, 0x100000 here" in refused(saved, machine=load_preset(tmp_path / "small.toml"))
    same = asm.assemble(WORK + "\n# a comment")
    assert ReferenceMachine.restore(saved, same).run().exit_code == 16 * len(PROMPT)


def test_a_program_that_has_moved_is_asked_for(work: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.elf"
    moved.write_bytes(work.read_bytes())
    start(Machine, moved).save(tmp_path / "a.slim")
    moved.rename(tmp_path / "here.elf")
    assert f"the program that it was made from, {moved}, cannot be read: No such file" in refused(tmp_path / "a.slim")
    assert ReferenceMachine.restore(tmp_path / "a.slim", Program.load(tmp_path / "here.elf")).run().reason == "exit"
    machine = ReferenceMachine("slim")
    machine.load(asm.assemble(WORK))
    machine.save(tmp_path / "b.slim")
    assert "its program was not in a file" in refused(tmp_path / "b.slim")


def rewritten(path: Path, header: Any = None, others: dict[str, np.ndarray] | None = None, **changes) -> Path:
    """A copy of a snapshot with other values in its header: a dict of them, None for what is to be missing; or another header.
    `others`: other arrays."""
    with np.load(path) as archive:
        arrays = dict(archive) | (others or {})
    if header is None or isinstance(header, dict):
        changes |= header or {}
        header = {key: value for key, value in (json.loads(arrays["header"].tobytes()) | changes).items()
                  if key not in changes or value is not None}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(path.with_name("rewritten.npz"), **arrays)
    return path.with_name("rewritten.npz")


def test_other_versions_and_foreign_files(saved: Path, work: Path, tmp_path: Path) -> None:
    assert ReferenceMachine.restore(rewritten(saved)).run().reason == "exit"
    assert "the snapshot has schema 2, this Slimulator reads 5" in refused(rewritten(saved, {"schema": None, "format": 2}))
    for other in (2, 4, 6):
        assert f"the snapshot has schema {other}, this Slimulator reads 5" in refused(rewritten(saved, schema=other))
    for other in (0, 1, 3, 9):
        assert f"the snapshot has isa_version {other}, this Slimulator reads 2" in refused(rewritten(saved, isa_version=other))
    for key, known in (("schema", 5), ("isa_version", 2)):
        for other in (str(known), float(known), True, "x" * 3000, [known], "\x1b[2J\n"):
            first = refused(rewritten(saved, **{key: other})).splitlines()[0]
            assert f"has {key} {shortened(repr(other), 60)}, this Slimulator reads {known}" in first
    assert "the snapshot is damaged: " in refused(rewritten(saved, parts=7))
    assert "header.state: 'lut.nothing'; expected arrays of the machine's units" in refused(rewritten(saved, state=["lut.nothing"]))
    assert "the snapshot is damaged: " in refused(rewritten(saved, state=["pim.grf_a"]))      # is not among the arrays
    assert "not a snapshot: it does not start as a zip archive" in refused(work)
    (tmp_path / "empty").write_bytes(b"")
    assert "not a snapshot" in refused(tmp_path / "empty")
    with zipfile.ZipFile(tmp_path / "foreign.zip", "w") as archive:
        archive.writestr("readme", "hello")
    assert "not a snapshot: the archive has no header.npy" in refused(tmp_path / "foreign.zip")
    with pytest.raises(FileNotFoundError):
        ReferenceMachine.restore(tmp_path / "none")


@pytest.mark.parametrize("name", ["mstatus", "misa", "mie", "mtvec", "mepc", "cycle", "mhartid"])
def test_bits_that_no_csr_can_hold_are_refused(saved: Path, name: str) -> None:
    """A program cannot write them, so that nothing is prepared for them."""
    csr = CSRS[name]
    with np.load(saved) as archive:
        values = archive["csrs"].copy()
    values[csr.address] = (csr.reset & ~csr.writable) ^ (~csr.writable & -~csr.writable) & (1 << 64) - 1
    says = refused(rewritten(saved, others={"csrs": values}))
    assert f"the snapshot is damaged: CSR {name} is {int(values[csr.address]):#x}; expected" in says


@pytest.mark.parametrize(("changes", "says"), [
    ({"pc": -1},                    "header.pc: got -1; expected greater than or equal to 0"),
    ({"pc": "start"},               "header.pc: got 'start'; expected a valid integer"),
    ({"exit_code": 300},            "header.exit_code: got 300; expected less than or equal to 255"),
    ({"tokens": [1, "x"]},          "header.tokens.1: got 'x'; expected a valid integer"),
    ({"written": [1]},              "header.written.1: missing; expected 1 = ..."),
    ({"written": [1, 2, 3]},        "header.written: got [1, 2, 3]; expected at most 2 items"),
    ({"program": 7},                "header.program: got 7; expected a table"),
    ({"program": {"path": None}},   "header.program.fingerprint: missing; expected fingerprint = ..."),
    ({"schema": None},              "header.schema: missing; expected schema = ..."),
    ({"isa_version": None},         "header.isa_version: missing; expected isa_version = ..."),
    ({"preset": {}},                "header.preset.name: missing; expected name = ..."),
    ({"preset": {"nam": 1}},        "header.preset.name: missing; expected name = ..."),
    ([1, 2],                        "header: got [1, 2]; expected a table")])
def test_a_wrong_header_is_one_line_with_place_found_and_expected(saved: Path, changes: Any, says: str) -> None:
    path = rewritten(saved, changes)
    assert refused(path).splitlines()[0] == f"{path}: the snapshot is damaged: {says}"


def test_truncated_and_corrupted_files(saved: Path, work: Path, tmp_path: Path) -> None:
    """Every cut is refused. A changed byte is, unless nothing depends on it: then the machine is the right one."""
    good, right = saved.read_bytes(), ReferenceMachine.restore(saved)
    damaged = tmp_path / "damaged.slim"
    random = np.random.default_rng(5)
    for length in [0, 1, 3, 4, 30, len(good) - 1, *random.integers(0, len(good), 40).tolist()]:
        damaged.write_bytes(good[:length])
        refused(damaged)
    directory = good.rindex(b"PK\x01\x02")
    harmless = 0
    for at in [*random.integers(0, len(good), 100).tolist(), *random.integers(directory - 800, len(good), 150).tolist()]:
        changed = bytearray(good)
        changed[at] ^= int(random.integers(1, 256))
        damaged.write_bytes(changed)
        try:
            machine = ReferenceMachine.restore(damaged)
        except SnapshotError:
            continue
        harmless += 1
        assert differences(right, machine) == []
    assert harmless < 125


# ------------------------------------------------------------------------------------------------ a full disk


def test_a_full_disk_leaves_what_was_there(saved: Path, work: Path, tmp_path: Path) -> None:
    before, names = saved.read_bytes(), sorted(tmp_path.iterdir())
    child = subprocess.run([sys.executable, "-m", "slimulator", "run", "--engine", "reference", str(work), "--prompt", "1",
                            "--save-snapshot", str(saved)], cwd=ROOT, capture_output=True, text=True,
                           preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)), timeout=LIMIT)
    assert child.returncode == 1 and child.stderr.endswith(f"{saved}: error: File too large\n"), child.stderr
    assert saved.read_bytes() == before and sorted(tmp_path.iterdir()) == names


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_device(work: Path) -> None:
    child = subprocess.run([sys.executable, "-m", "slimulator", "run", "--engine", "reference", str(work), "--prompt", "1",
                            "--save-snapshot", "/dev/full"], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)
    assert child.returncode == 1 and "/dev/full: error: No space left on device" in child.stderr
    assert "Traceback" not in child.stderr


# ------------------------------------------------------------------------------------------------ the command


def test_the_command_saves_and_goes_on(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    snapshot = str(tmp_path / "a.slim")
    assert slimulator.invoke(["run", str(work), "--prompt", "3 4 5", "--json", str(tmp_path / "whole")]) == 48
    assert slimulator.invoke(["run", str(work), "--prompt", "3 4 5", "--max-instructions", "50", "--save-snapshot", snapshot]) == 1
    capsys.readouterr()
    assert slimulator.invoke(["run", "--restore", snapshot, "--json", str(tmp_path / "rest")]) == 48
    out, _ = capsys.readouterr()
    whole, rest = (json.loads((tmp_path / name).read_text()) for name in ("whole", "rest"))
    assert whole == rest and whole["tokens"] == [3, 4, 5] and whole["output"] == "ok" * 3
    assert out and whole["output"].endswith(out) and len(out) < 6                    # what was printed before is not printed again
    assert slimulator.invoke(["run", str(work), "--restore", snapshot, "--engine", "reference"]) == 48
    assert slimulator.invoke(["run", "--restore", snapshot, "--machine", "slim-llama"]) == 1
    assert "of another machine (slim, here slim-llama)" in capsys.readouterr().err
    assert slimulator.invoke(["run", "--restore", snapshot, "--prompt", "1"]) == 2
    assert slimulator.invoke(["run"]) == 2
    assert "Missing argument 'FILE'" in capsys.readouterr().err


@pytest.mark.parametrize(("old", "new", "says"), [
    ("clock_hz = { value = 1_000_000_000", "clock_hz = { value = 1_000_000_001",
     "clock_hz: 1000000000 in the snapshot, 1000000001 here"),
    ('value = "HBM2-PIM"', 'value = "HBM3-PIM"', "hbm memory: HBM2-PIM, channels: 64 in the snapshot, HBM3-PIM, channels: 32 here"),
    ('value = "HBM2-PIM", source = "assumed: the timings of HBM-PIM" }',
     'value = "HBM2-PIM", source = "assumed: x" }\nspeed = { value = 2, source = "assumed: x" }',
     "hbm speed: absent in the snapshot, 2 here"),
    ("steps_per_cycle  = { value = 512", "steps_per_cycle  = { value = 511", "lut.steps_per_cycle: 512 in the snapshot, 511 here"),
])
def test_another_time_is_another_machine(work: Path, tmp_path: Path, old: str, new: str, says: str) -> None:
    start(Machine, work).save(tmp_path / "a.slim")
    text = (ROOT / "isa" / "machines" / "slim.toml").read_text()
    assert old in text
    (tmp_path / "other.toml").write_text(text.replace(old, new))
    with pytest.raises(SnapshotError, match=says):
        Machine.restore(tmp_path / "a.slim", machine=load_preset(tmp_path / "other.toml"))


def test_control_c_saves(tmp_path: Path) -> None:
    asm.assemble("""
    _start: la t1, count
            li a7, 64
            li a0, 1
            la a1, ready
            li a2, 6
            ecall
    again:  addi t0, t0, 1
            sd t0, 0(t1)
            j again
            .data
    count:  .dword 0
    ready:  .ascii "ready\\n"
    """).save(tmp_path / "a.elf")
    with Child(*SLIMULATOR, "run", tmp_path / "a.elf", "--save-snapshot", tmp_path / "a.slim") as child:
        assert child.line() == "ready\n"
        time.sleep(0.2)
        child.interrupt()
        _, err = child.end()
    assert "Traceback" not in err
    machine = Machine.restore(tmp_path / "a.slim")
    count = machine.program.symbol("count").value
    before = int(machine.peek(count, 8).view("<u8")[0])
    assert before > 0 and machine.x[5] - before in (0, 1)
    machine.run(max_instructions=300)
    assert int(machine.peek(count, 8).view("<u8")[0]) == before + 100
