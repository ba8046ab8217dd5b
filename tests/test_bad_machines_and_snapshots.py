"""Machine files and snapshots with anything in them: used, or refused in our words; in bounded time and memory, never a traceback.

Program files: test_bad_input.py.
"""

from __future__ import annotations

import io
import json
import re
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asm
import slimulator
from emulator.machine import Machine
from isa.engine.snapshot import SnapshotError
from isa.preset import PRESETS, PresetError, load_preset, preset_names
from isa.program import ProgramError
from isa.reference import ReferenceMachine
from isa.services import Host

TEXTS = {name: (PRESETS / f"{name}.toml").read_text(encoding="utf-8") for name in preset_names()}
VALUES = ("0", "-1", "1", "4096", "1_099_511_627_776", str((1 << 62) - 1), str(1 << 62), str((1 << 63) - 4096), str(1 << 63),
          str(1 << 64), "0x" + "f" * 6000, "9" * 5000, "inf", "nan", "1e308", "true", '"x"', '""', '"\\u001b]52;c;eA\\u0007"',
          "[]", "{}", "[[[]]]", "1979-05-27", "07:32:00", "{ value = 1 }", '{ value = 1, source = "" }',
          '{ value = 4611686018427383296, source = "assumed: to see" }', "[" * 2000)
CODE = """
_start: la   s0, cell
        li   a0, 4
        li   a1, 2
        li   a2, 8
        attn.setm a0, a1, a2
        attn.wrgb.f32 s0
        attn.wrgb.i8 s0
        li   s1, 16
        la   s2, scale
        lut.build.i8 s0, s2, s1
        lut.mac.t2 s0, s0, s1
        lut.gemv.i8 s0, s0, s2, s1
        attn.wrgb.i8 s0
        attn.mac.i8 s0, s0, s1
        li   a3, 1
        pim.pre a3
        pim.act a3, a3
        pim.rd s0, a3, a3
        pim.mac_sbk.i8 a3, a3, a3
        sync.signal.vec a3
        sd   sp, 64(s0)
        li   a7, 64
        li   a0, 1
        mv   a1, s0
        li   a2, 2
        ecall
        li   a7, 93
        ecall
        .sram
        .balign 8
cell:   .zero 8192
scale:  .float 1.0
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bad") / "a.elf"
    asm.assemble(CODE).save(path)
    return path


# ---------------------------------------------------------------------------------------------------- machine files

CHANGE = st.one_of(
    st.tuples(st.just("value"), st.integers(0, 200), st.sampled_from(VALUES)),
    st.tuples(st.just("right side"), st.integers(0, 200), st.sampled_from(VALUES)),
    st.tuples(st.just("line"), st.integers(0, 400), st.sampled_from(["", "[", "[[x]]", "a.b.c.d = 1", "[region.dram.x]",
                                                                               "\0", "\x1b[2J = 1"])),
    st.tuples(st.just("twice"), st.integers(0, 400), st.just("")),
    st.tuples(st.just("byte"), st.integers(0, 9000), st.sampled_from(["\0", "é", "#", "[", '"', "\\", "\ud800", "=", "."])))


def changed(text: str, changes: list[tuple[str, int, str]]) -> bytes:
    for kind, number, new in changes:
        if kind in ("value", "right side"):
            places = list(re.finditer(r"value\s*=\s*([^,]+)," if kind == "value" else r"=\s*(.+)$", text, re.MULTILINE))
            if places:
                place = places[number % len(places)]
                text = text[:place.start(1)] + new + text[place.end(1):]
        elif kind == "byte":
            at = number % len(text)
            text = text[:at] + new + text[at + 1:]
        else:
            lines = text.split("\n")
            at = number % len(lines)
            lines[at:at + 1] = [new] if kind == "line" else [lines[at]] * 2
            text = "\n".join(lines)
    return text.encode("utf-8", "surrogatepass")


def test_a_machine_file_with_anything_in_it_is_used_or_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("machines") / "m.toml"
    seen: set[bool] = set()

    @settings(max_examples=800, deadline=None, derandomize=True, database=None)
    @given(st.sampled_from(sorted(TEXTS)), st.lists(CHANGE, max_size=3))
    def use(name: str, changes: list[tuple[str, int, str]]) -> None:
        path.write_bytes(changed(TEXTS[name], changes))
        start = time.process_time()
        try:
            machine = ReferenceMachine(load_preset(path))
        except PresetError as error:
            text = str(error)
            assert len(text) < 100_000 and "\x1b" not in text
            seen.add(False)
        else:
            assert sum(array.nbytes for array in machine.state.values()) <= 1 << 28
            seen.add(True)
        assert time.process_time() - start < 5

    use()
    assert seen == {True, False}


@pytest.mark.parametrize(("name", "old", "new", "message"), [
    ("slim", "17_179_869_184", str(1 << 63), "dram.size.value: got 9223372036854775808; expected less than 4611686018427387904"),
    ("slim-llama", "2_147_483_648", str(1 << 61), "dram.size: 2,305,843,009,213,693,952 bytes of address space cannot be reserved"),
    ("slim", "17_179_869_184", "9" * 5000, "expected a TOML file in UTF-8"),
    ("slim", "17_179_869_184", "0x" + "f" * 5000, "dram.size.value: got a number of thousands of digits; expected less"),
    ("slim", "17_179_869_184", "[" * 5000, "expected a TOML file in UTF-8"),
    ("slim-llama", "value = 8192,", f"value = {1 << 40},", "bytes inside the units; expected at most 268,435,456")])
def test_figures_beyond_any_machine(command, program: Path, tmp_path: Path, name: str, old: str, new: str, message: str) -> None:
    assert TEXTS[name].count(old) == 1
    (tmp_path / "m.toml").write_text(TEXTS[name].replace(old, new))
    for engine in ("reference", "fast"):
        status, out, err = command("run", program, "--machine", tmp_path / "m.toml", "--engine", engine)
        assert (status, out) == (1, "") and message in err and "Traceback" not in err, err


# ---------------------------------------------------------------------------------------------------- snapshots


@pytest.fixture(scope="module")
def saved(program: Path) -> bytes:
    machine = ReferenceMachine("slim", Host([1, 2]))
    machine.load(program)
    assert machine.run().reason == "exit"
    path = program.with_name("a.slim")
    machine.pc, machine.exit_code = machine.program.entry, None
    machine.save(path)
    return path.read_bytes()


def arrays_of(data: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(data)) as archive:
        return dict(archive)


def written(path: Path, arrays: dict[str, np.ndarray], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array)


NUMBERS = st.sampled_from([0, -1, 1, 3, 255, 256, 4095, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, (1 << 63) - 1, 1 << 63,
                           (1 << 64) - 1])
JSON = st.recursive(st.none() | st.booleans() | NUMBERS | st.floats() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
                    max_leaves=4)
DTYPES = ("u1", "i1", "u8", ">u8", "f4", "f8", "U1", "S3", "M8[s]", "c16", "?", [("a", "u1")])


@pytest.mark.parametrize("engine", [ReferenceMachine, Machine])
def test_a_snapshot_with_anything_in_it_is_gone_on_from_or_refused(saved, program, engine) -> None:
    path, good = program.with_name(f"{engine.__name__}.slim"), arrays_of(saved)
    header = json.loads(good["header"].tobytes())
    names = sorted(good)
    seen: set[bool] = set()

    @settings(max_examples=400, deadline=None, derandomize=True, database=None)
    @given(st.data())
    def use(data: st.DataObject) -> None:
        arrays = dict(good)
        for _ in range(data.draw(st.integers(1, 2))):
            name = data.draw(st.sampled_from(names))
            array = arrays.get(name, good[name])
            match data.draw(st.sampled_from(["header", "elements", "elements", "type", "shape", "none", "bytes"])):
                case "header":
                    key = data.draw(st.sampled_from(sorted(header)))
                    arrays["header"] = np.frombuffer(json.dumps(header | {key: data.draw(JSON)}).encode(), np.uint8)
                case "elements" if array.size and array.dtype.kind in "iuf":
                    array = arrays[name] = array.copy()
                    pattern = np.array([data.draw(NUMBERS) & (1 << 64) - 1], np.uint64)
                    value = pattern.view(np.uint8)[:array.itemsize].view(array.dtype)
                    at = data.draw(st.integers(0, array.size - 1))
                    array.reshape(-1)[at if data.draw(st.booleans()) else slice(None)] = value[0]
                case "type":
                    arrays[name] = np.zeros(array.shape, data.draw(st.sampled_from(DTYPES)))
                case "shape":
                    arrays[name] = np.zeros(data.draw(st.lists(st.integers(0, 9), max_size=3)), array.dtype)
                case "none":
                    arrays.pop(name, None)
                case "bytes":
                    arrays[name] = np.frombuffer(data.draw(st.binary(max_size=40)), np.uint8)
        written(path, arrays)
        try:
            machine = engine.restore(path)
        except (SnapshotError, ProgramError, PresetError):
            seen.add(False)
        else:
            machine.run(max_instructions=200)
            seen.add(True)

    use()
    assert seen == {True, False}


def test_a_snapshot_whose_bytes_have_changed(saved, program, command) -> None:
    path, random = program.with_name("bytes.slim"), np.random.default_rng(7)
    for _ in range(300):
        data = bytearray(saved)
        for at in random.integers(0, len(data), random.integers(1, 4)):
            data[at] = int(random.integers(256))
        path.write_bytes(data[:int(random.integers(len(data)))] if random.random() < 0.2 else data)
        _, _, err = command("run", "--restore", path, "--engine", "reference", "--max-instructions", 50)
        assert "Traceback" not in err


def test_a_snapshot_is_no_larger_than_its_file(saved, program, command) -> None:
    """Neither packed, nor the same bytes under many names: 2 MB would become gigabytes."""
    arrays = arrays_of(saved)
    count = 2000
    header = json.loads(arrays["header"].tobytes()) | {"parts": count}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    for part in range(1, count + 1):
        arrays[f"addresses.{part}"] = np.arange(256, dtype=np.uint64) * 4096 + 0x9000_0000 + (part << 20)
        arrays[f"pages.{part}"] = np.ones((256, 4096), np.uint8)
    path = program.with_name("bomb.slim")
    written(path, arrays, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10 << 20
    start = time.process_time()
    status, out, err = command("run", "--restore", path, "--engine", "reference")
    assert (status, out) == (1, "") and "larger than the" in err and "not compressed" in err
    assert time.process_time() - start < 10
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:                       # one member's bytes, named a hundred times
        archive.writestr("header.npy", bytes(1 << 16))
        archive.infolist().extend(archive.infolist() * 99)
    path.write_bytes(stored.getvalue())
    assert "larger than the" in command("run", "--restore", path, "--engine", "reference")[2]


@pytest.mark.parametrize(("name", "value", "message"), [
    ("x", np.ones(32, np.uint64), "x[0] is 0x1, expected 0"), ("x", np.ones(32, np.int64), "x is int64(32,), expected u8(32,)"),
    ("state.attn.model", np.array([4, 0, 8, 0, 4], np.uint32), "the state of unit attn is invalid"),
    ("addresses.1", np.zeros(3, np.float64), "addresses.1 is float64(3,), expected u8(-1,)"),
    ("output", np.zeros((2, 2), np.uint8), "output is uint8(2, 2), expected u1(-1,)")])
def test_what_is_wrong_is_named(saved, program, name, value, message) -> None:
    path = program.with_name("wrong.slim")
    written(path, arrays_of(saved) | {name: value})
    with pytest.raises(SnapshotError, match=re.escape(f"the snapshot is damaged: {message}")):
        ReferenceMachine.restore(path)
    assert slimulator.invoke(["run", "--restore", str(path), "--engine", "reference"]) == 1
