"""Bad input to `slimulator run`: a message and a defined exit status for every file and every program, never a traceback, and
memory of the host in bounds.

Status 1 with `error:` for a file that is refused, a trap without a handler and a limit; the program's own status otherwise.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from children import LIMIT, ROOT, SLIMULATOR
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_checkpoint import write_checkpoint

import asm
import slimulator
from isa.elf import dwarf
from isa.elf.reader import LARGEST_TABLE
from isa.preset import PRESETS
from isa.program import Program, Section

GOOD = """
        .globl  _start
_start: li      s0, 3
1:      la      a1, text
        li      a2, 3
        li      a0, 1
        li      a7, 64
        ecall
        call    leaf
        addi    s0, s0, -1
        bnez    s0, 1b
        li      a0, 7
        li      a7, 93
        ecall
leaf:   sd      ra, -8(sp)
        ld      ra, -8(sp)
        ret
        .data
text:   .ascii  "hi\\n"
        .bss
        .zero   100
        .flash
        .word   1, 2, 3, 4
        .sram
        .word   1
"""
EXTREME = (0, 1, 0xFF, 0xFFFF, 1 << 30, 1 << 31, 1 << 32, 1 << 33, 1 << 40, 1 << 63, (1 << 64) - 1, (1 << 64) - 4096, 0x8000_0000,
           0x8000_0000 + (16 << 30) - 8)
EXIT = bytes.fromhex("9308d005" "73000000")        # li a7, 93; ecall


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]):
    """Runs `slimulator run` in this process: returns exit status, stdout, stderr."""
    def command(*arguments: object) -> tuple[int, str, str]:
        status = slimulator.invoke(["run", *(str(argument) for argument in arguments)])
        return status, *capfd.readouterr()
    return command


@pytest.fixture
def _bounded():
    """The test may use 500 MB of the host more than there were."""
    def field(name: str) -> int:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) >> 10 for line in lines if line.startswith(name))

    if sys.platform != "linux":
        yield
        return
    Path("/proc/self/clear_refs").write_text("5")           # the peak starts anew: proc(5)
    before = field("VmRSS")
    yield
    assert field("VmHWM") - before < 500, "MB"


def refused(done: tuple[int, str, str], message: str) -> None:
    status, out, err = done
    assert (status, out) == (1, "")
    assert re.search(message, err), err
    assert err.count("error:") == 1 and "Traceback" not in err


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "good.elf"
    asm.assemble(GOOD).save(path)
    return path.read_bytes()


# ---------------------------------------------------------------------------------------------------- files


@pytest.mark.usefixtures("_bounded")
def test_a_damaged_file_runs_or_is_refused(good, run, tmp_path_factory):
    path = tmp_path_factory.mktemp("bad") / "bad.elf"
    places = [i for i, byte in enumerate(good) if byte or i < 600]         # the rest is padding
    change = st.tuples(st.sampled_from(places), st.sampled_from((1, 4, 8)), st.sampled_from(EXTREME) | st.integers(0, 255))
    seen: set[int] = set()

    @settings(max_examples=1000, deadline=None, derandomize=True, database=None)
    @given(st.lists(change, max_size=5), st.integers(0, len(good)) | st.just(len(good)), st.sampled_from(["fast", "reference"]))
    def damage(changes: list[tuple[int, int, int]], length: int, engine: str) -> None:
        data = bytearray(good)
        for place, width, value in changes:
            place -= place % width
            data[place:place + width] = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
        path.write_bytes(data[:length])
        status, _, err = run(path, "--engine", engine, "--max-instructions", 500)
        assert "Traceback" not in err
        assert ("error: " in err) == (status == 1 or "\ntrap after" in f"\n{err}" or "\nlimit after" in f"\n{err}"), err
        seen.add(status)

    damage()
    assert {1, 7} <= seen


@pytest.mark.parametrize(("header", "message"), [
    (b"", "the file is empty"),
    (b"\x7fELF\x01\x01\x01", "not a 64-bit ELF file.*offset 0x4"),
    (b"\x7fELF\x02\x02\x01", "not a little-endian ELF file.*offset 0x5"),
    (b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 2, 62, 1), r"for X86_64 \(62\), not for RISC-V.*offset 0x12"),
    (b"MZ", "not an ELF file"),
])
def test_a_foreign_file(run, tmp_path, header, message):
    (tmp_path / "other.elf").write_bytes(header and header.ljust(4096, b"\0"))
    refused(run(tmp_path / "other.elf"), message)


def test_a_program_of_this_host(run):
    refused(run(Path(sys.executable).resolve()), "not for RISC-V|not an executable|not an ELF file")


def test_random_bytes(run, tmp_path):
    for seed in range(20):
        (tmp_path / "noise.elf").write_bytes(os.urandom(1000 * seed + 1))
        refused(run(tmp_path / "noise.elf"), "not an ELF file|the file ends inside")


USES = {
    "program": ["run", "{it}"], "program of another command": ["disasm", "{it}"], "program to debug": ["debug", "{it}"],
    "program to generate with": ["generate", "{it}", "hello"],
    "snapshot": ["run", "--restore", "{it}"], "machine": ["run", "{good}", "--machine", "{it}.toml"],
    "source": ["asm", "{it}", "-o", "{folder}/x.elf"], "included": ["asm", "{folder}/includes.s", "-o", "{folder}/x.elf"],
    "script": ["debug", "{good}", "--engine", "reference", "--script", "{it}"],
    "model": ["compile", "{it}", "-o", "{folder}/x.elf"], "model to generate with": ["generate", "{it}", "hello"],
    "gguf": ["compile", "{it}.gguf", "-o", "{folder}/x.elf"], "tokenizer": ["generate", "{model}", "a", "--tokenizer", "{it}"],
    "tokenizer in JSON": ["generate", "{model}", "a", "--tokenizer", "{it}.json"],
    "tokenizer of sentencepiece": ["generate", "{model}", "a", "--tokenizer", "{it}.model"],
    "recipe": ["compile", "{model}", "-o", "{folder}/x.elf", "--weights", "{it}.toml"],
    "text": ["eval", "{model}", "{it}"],
    "calibration": ["compile", "{model}", "-o", "{folder}/x.elf", "--ffn-sparsity", "0.5", "--calibrate", "{it}"],
    "machine of a model": ["compile", "{model}", "-o", "{folder}/x.elf", "--machine", "{it}.toml"],
}
"""Every way to hand in a file."""


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "empty", "unreadable", "socket"])
@pytest.mark.parametrize("use", USES)
def test_what_is_no_file_is_refused_at_once(good, capfd, tmp_path, monkeypatch, use, kind):
    if kind == "unreadable" and os.geteuid() == 0:
        pytest.skip("nothing is unreadable for root")
    if kind == "empty" and use in ("source", "included", "script", "recipe"):
        pytest.skip("an empty text is one")
    (tmp_path / "good.elf").write_bytes(good)
    (tmp_path / "includes.s").write_text('.incbin "it"\n', encoding="utf-8")
    places = {"folder": tmp_path, "it": tmp_path / "it", "good": tmp_path / "good.elf", "model": write_checkpoint(tmp_path)}
    suffix = next((part.removeprefix("{it}") for part in USES[use] if part.startswith("{it}")), "")
    it = tmp_path / f"it{suffix}"
    match kind:
        case "pipe": os.mkfifo(it)
        case "device": it.symlink_to("/dev/zero")
        case "folder": it.mkdir()
        case "empty": it.touch()
        case "socket":
            monkeypatch.chdir(tmp_path)                 # a socket's name has to be short
            socket.socket(socket.AF_UNIX).bind(it.name)
        case "unreadable": it.touch(0)
    signal.alarm(60)                                    # it may not wait
    try:
        status = slimulator.invoke([part.format(**places) for part in USES[use]])
    finally:
        signal.alarm(0)
    out, err = capfd.readouterr()
    assert (status, out) == (1, "") and err.count("error:") == 1 and "Traceback" not in err, err
    assert not (tmp_path / "x.elf").exists()


def test_a_source_may_come_through_a_pipe(tmp_path):
    done = subprocess.run(["bash", "-c", 'exec "$@" <(sleep 0.2; echo nop)', "bash", *SLIMULATOR, "asm", "-o",
                           tmp_path / "x.elf"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert Program.load(tmp_path / "x.elf").section(".text").size == 4


@pytest.mark.usefixtures("_bounded")
@pytest.mark.parametrize("flags", ["aw", "ax"])
@pytest.mark.parametrize(("address", "size", "message"), [
    (0x8000_1000, 8 << 30, ""), (0x10_0000_0000, 60 << 30, ""), (0x8000_1000, 1 << 40, "lies in no region of machine slim"),
    (0x8000_1000, (1 << 64) - 0x8000_1000, "lies in no region of machine slim"), (0x1000_0000, 1 << 30, "lies in no region")])
def test_sections_of_gigabytes(run, tmp_path, flags, address, size, message):
    Program([Section(".text", "ax", 0x8000_0000, 4, [EXIT]), Section(".huge", flags, address, 4, [], size)],
            entry=0x8000_0000).save(tmp_path / "huge.elf")
    done = run(tmp_path / "huge.elf")
    if message:
        refused(done, message)
    else:
        assert done[0] == 0


def test_code_in_a_section_too_large_to_be_decoded_at_once_runs(run, tmp_path):
    jump = asm.assemble("_start: addi a0, a0, 3\n la t0, far\n jr t0\n .zero 0x500000\nfar: addi a0, a0, 4\n li a7, 93\n ecall\n")
    jump.save(tmp_path / "large.elf")
    assert run(tmp_path / "large.elf")[0] == 7


@pytest.mark.usefixtures("_bounded")
@pytest.mark.parametrize(("name", "unpacked", "message"), [
    (".debug_line", LARGEST_TABLE + 1, ".debug_line has no contents or is too large"),
    (".slim.meta", LARGEST_TABLE + 1, ".slim.meta has no contents or is too large"),
    (".debug_line", None, f"more than {dwarf.MOST_ROWS} rows")])
def test_a_table_that_unpacks_to_gigabytes(run, good, tmp_path, name, unpacked, message):
    header = bytes((1, 1, 1, 0xFB, 14, 13, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0))        # of a line program, version 4
    unit = struct.pack("<HI", 4, len(header)) + header + b"\x01" * (dwarf.MOST_ROWS + 1)      # DW_LNS_copy: a row each
    contents = bytes(unpacked) if unpacked else struct.pack("<I", len(unit)) + unit
    packed = struct.pack("<IIQQ", 1, 0, len(contents), 1) + zlib.compress(contents)          # Elf64_Chdr
    data = bytearray(good)
    table, count, names = struct.unpack_from("<Q", data, 40)[0], *struct.unpack_from("<HH", data, 60)
    strings = struct.unpack_from("<Q", data, table + 64 * names + 24)[0]
    for at in range(table, table + 64 * count, 64):
        start = strings + struct.unpack_from("<I", data, at)[0]
        if data[start:data.index(0, start)].decode() == name:
            flags = struct.unpack_from("<Q", data, at + 8)[0]
            struct.pack_into("<Q", data, at + 8, flags | 0x800)                              # SHF_COMPRESSED
            struct.pack_into("<QQ", data, at + 24, len(data), len(packed))
            break
    else:
        pytest.fail(f"no {name}")
    (tmp_path / "bomb.elf").write_bytes(data + packed)
    refused(run(tmp_path / "bomb.elf"), message)


# ---------------------------------------------------------------------------------------------------- programs


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The slim machine with 128 KiB of DRAM."""
    text = (PRESETS / "slim.toml").read_text(encoding="utf-8")
    assert text.count("17_179_869_184") == 1
    (tmp_path / "small.toml").write_text(text.replace("17_179_869_184", "131_072"), encoding="utf-8")
    return tmp_path / "small.toml"


@pytest.mark.parametrize("engine", ["fast", "reference"])
@pytest.mark.parametrize(("text", "message"), [
    ("_start: li sp, 0x30000000\nmain: sd ra, -8(sp)\n",
     r"trap 7 \(store access\) at pc 0x80000004 <main> \(\S*program.s:3\)\n.*sd.*sp=0x30000000.*\n"
     r"  reason: 8 bytes at 0x2ffffff8 do not lie in one region of slim"),
    ("_start: la t0, data\n jr t0\n .data\ndata: .word 0\n", r"trap 2 \(illegal instruction\) at pc 0x80001000 <data>"),
    ("_start: li t0, 0x30000000\n jr t0\n", r"trap 1 \(fetch access\) at pc 0x30000000\n.*\n.*no executable memory at 0x30000000"),
    ("_start: jr zero\n", r"trap 1 \(fetch access\) at pc 0x0\n.*\n.*a program ends with a7 = 93 and ecall"),
    ("_start: li t0, 0x80000002\n jr t0\n",
     r"trap 0 \(fetch misaligned\) at pc 0x8000000c <_start\+0xc>.*\n.*jalr rd=zero.*rs1=t0=0x80000002"),
    ("_start: la t0, h\n csrw mtvec, t0\n lw a0, 0(zero)\n .balign 4\nh: lw a0, 0(zero)\n",
     r"stopped by --max-instructions 10000 at pc 0x\w+ <h>"),
    ("_start: j _start\n", r"stopped by --max-instructions 10000 at pc 0x80000000 <_start> \(\S*program.s:2\)"),
    ("_start: nop\n", r"trap 2 \(illegal instruction\) at pc 0x80000004.*"),
])
def test_a_program_that_goes_wrong(run, tmp_path, engine, text, message):
    (tmp_path / "program.s").write_text(f"        .globl _start\n{text}", encoding="utf-8")
    asm.assemble(tmp_path / "program.s").save(tmp_path / "program.elf")
    status, out, err = run(tmp_path / "program.elf", "--engine", engine, "--max-instructions", 10_000)
    assert (status, out) == (1, "")
    assert re.search(message, err), err
    assert err.count("error:") == 1


@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_recursion_without_an_end_runs_into_the_program_and_traps(run, tmp_path, small, engine):
    text = "_start: addi sp, sp, -64\n sd ra, 8(sp)\n call _start\n"
    asm.assemble(text, machine=str(small)).save(tmp_path / "deep.elf")
    status, _, err = run(tmp_path / "deep.elf", "--engine", engine, "--max-instructions", 100_000)
    assert status == 1
    assert re.search(r"trap \d+ \((illegal instruction|store access)\) at pc 0x8000\w+ <_start", err), err


def test_a_level_of_simd_that_does_not_exist(tmp_path: Path) -> None:
    asm.assemble(GOOD).save(tmp_path / "good.elf")
    done = subprocess.run([*SLIMULATOR, "run", tmp_path / "good.elf"], capture_output=True, text=True,
                          env=os.environ | {"SLIMULATOR_SIMD": "sse9"}, cwd=ROOT, timeout=LIMIT)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"error: SLIMULATOR_SIMD=sse9: expected one of portable.* on this processor\n", done.stderr)


@pytest.mark.parametrize("name", [".", "/", ".."])
@pytest.mark.parametrize("use", [["asm", "{it}"], ["run", "{it}"], ["asm", "{folder}/a.s", "-o", "{it}"],
                                 ["compile", "{model}", "-o", "{it}"], ["compile", "{model}", "-S", "-o", "{it}"]])
def test_a_folder_without_a_name_is_one_message(capfd, tmp_path, use, name):
    (tmp_path / "a.s").write_text("nop\n")
    places = {"folder": tmp_path, "model": write_checkpoint(tmp_path), "it": name}
    assert slimulator.invoke([part.format(**places) for part in use]) == 1
    assert "error: Is a directory" in capfd.readouterr().err
