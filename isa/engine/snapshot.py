"""Snapshots: the whole state of a machine between two instructions, as one file. A run that continues from it ends as if it had
never stopped.

The file is a NumPy archive (.npz: a zip of .npy arrays, readable with `numpy.load`). Of memory it holds the pages that differ
from what the program put there. The program itself stays in its file: the snapshot names it, and a fingerprint tells it from
others. The machine's preset is inside. Not inside: breakpoints, hooks, the profile.

| array | is |
|---|---|
| x, csrs, counters | (32,), (4096,), (slots,) u64 |
| state.NAME | an array inside a unit, if it is not as at power-up |
| clock | (words,) i64, state of the clock (isa/timing/clock_rules.py), if there is one; without it the run that goes on has none |
| output, errors | (bytes,) u8, what the program has written, as far as the host has kept it |
| addresses.N, pages.N | (k,) u64 and (k, 4096) u8, for N = 1 .. parts |
| header | JSON in UTF-8: schema, isa_version, pc, exit_code, prompt (tokens not read yet), tokens (emitted), sequence, |
|        | written (bytes of output and errors, kept or not), parts, state (names of its arrays), clock (whether it is there), |
|        | program (path, fingerprint), preset (as in its file) |
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, NonNegativeInt, ValidationError

from isa.csrs import CSRS
from isa.engine import memory, pages
from isa.files import opened, replacing
from isa.preset import Preset, PresetError, Problem, preset_of, problem_of
from isa.program import ISA_VERSION, Program, ProgramError, Section
from isa.program_file import brief, is_version
from isa.services import Host
from isa.timing.memories import Dram
from isa.units import UNITS

if TYPE_CHECKING:
    from isa.reference import ReferenceMachine

M = TypeVar("M", bound="ReferenceMachine")

SCHEMA = 5                      # of the header and the arrays; of 1 and 2 the header says "format"
PAGE = 4096
_PART = 1024                    # pages in one array
_WHEN = (1980, 1, 1, 0, 0, 0)   # the same state gives the same bytes

Array = npt.NDArray[Any]


class SnapshotError(ProgramError):
    """A snapshot that cannot be used, or a machine of which none can be made: what is wrong and what to do about it."""


# ------------------------------------------------------------------------------------------------ writing


def write_snapshot(machine: ReferenceMachine, path: Path) -> None:
    """Write the state of `machine`, which stands between two instructions. The file appears whole or not at all.

    Raises OSError, and SnapshotError if no program is loaded or the prompt is a generator, whose rest nobody knows.
    """
    if machine.program is None:
        raise SnapshotError("no program is loaded: there is nothing to save")
    with replacing(path) as stream:
        _write(machine, machine.program, stream)


def _write(machine: ReferenceMachine, program: Program, stream: IO[bytes]) -> None:
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in _arrays(machine, program):
            with archive.open(zipfile.ZipInfo(f"{name}.npy", _WHEN), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def packed(machine: ReferenceMachine) -> bytes:
    """A snapshot as bytes, for `unpacked`; also of a machine without a program. Raises SnapshotError, as `write_snapshot`."""
    stream = io.BytesIO()
    _write(machine, machine.program or Program(), stream)
    return stream.getvalue()


def unpacked(kind: type[M], data: bytes, program: Program | None, preset: Preset, host: Host, options: dict[str, Any]) -> M:
    """The machine that `packed` saved, as an object of class `kind`. Copies and pickles are made with it."""
    machine = kind(preset, host, **options)
    if program is not None:
        machine.load(program)
    Snapshot(Path("(a copy in memory)"), data).apply(machine)
    return machine


def _arrays(machine: ReferenceMachine, program: Program) -> Iterator[tuple[str, Array]]:
    host = machine.host
    try:
        prompt = [int(token) for token in copy.copy(host.prompt)]       # a generator cannot be copied; none of its tokens is taken
    except TypeError:
        raise SnapshotError(f"the prompt is a {type(host.prompt).__name__}, the rest of which cannot be saved",
                            hint="give Host a list of tokens") from None
    host.prompt = iter(prompt)
    yield "x", np.array(machine.x, np.uint64)
    yield "csrs", machine.csr_values
    yield "counters", machine.counts
    state = {array.name: machine.state[array.name] for unit in UNITS.values() for array in unit.state
             if array.name in machine.state and not _as_reset(machine.state[array.name], array.reset)}
    yield from ((f"state.{name}", array) for name, array in state.items())
    if machine.clocks:
        yield "clock", machine.clocks[0].words
    yield "output", np.frombuffer(bytes(host.output), np.uint8)
    yield "errors", np.frombuffer(bytes(host.errors), np.uint8)
    parts = 0
    for parts, (addresses, contents) in enumerate(_changed(machine, program), 1):
        yield f"addresses.{parts}", addresses
        yield f"pages.{parts}", contents
    header = {"schema": SCHEMA, "isa_version": ISA_VERSION, "pc": machine.pc, "exit_code": machine.exit_code,
              "prompt": prompt, "tokens": host.tokens, "sequence": host.sequence, "written": host.written,
              "parts": parts, "state": list(state), "clock": bool(machine.clocks),
              "program": {"path": program.path and os.path.abspath(program.path), "fingerprint": fingerprint(program)},
              "preset": machine.preset.contents}
    yield "header", np.frombuffer(json.dumps(header).encode(), np.uint8)


def _as_reset(array: Array, reset: int) -> bool:
    """True if every bit is as at power-up: -0.0 is not 0.0."""
    return bool((array.view(np.uint8) == np.full_like(array, reset).view(np.uint8)).all())


def _changed(machine: ReferenceMachine, program: Program) -> Iterator[tuple[npt.NDArray[np.uint64], pages.Bytes]]:
    """(addresses, contents) of the pages that are not as the program has placed them, about _PART at a time."""
    addresses: list[npt.NDArray[np.uint64]] = []
    contents: list[pages.Bytes] = []
    for region, base, view in machine.memory.spans():
        for first, last in pages.touched(view) if region.writable else ():
            for start in range(first, last, _PART * PAGE):
                end = min(start + _PART * PAGE, last)
                now, placed = np.zeros((2, -(-(end - start) // PAGE), PAGE), np.uint8)
                now.reshape(-1)[:end - start] = view[start:end]
                for section in program.sections:
                    _overlay(section, base + start, placed.reshape(-1)[:end - start])
                differs = np.flatnonzero((now != placed).any(axis=1))
                addresses.append(np.uint64(base + start) + (differs * PAGE).astype(np.uint64))
                contents.append(now[differs])
                if sum(map(len, addresses)) >= _PART:
                    yield np.concatenate(addresses), np.concatenate(contents)
                    addresses, contents = [], []
    if sum(map(len, addresses)):
        yield np.concatenate(addresses), np.concatenate(contents)


def _overlay(section: Section, address: int, target: pages.Bytes) -> None:
    """Put what a section holds of the memory from `address` on into `target`."""
    if "a" not in section.flags or section.end <= address or section.address >= address + len(target):
        return
    at = section.address
    for chunk in section.chunks:
        low, high = max(at, address), min(at + len(chunk), address + len(target))
        if low < high:
            target[low - address:high - address] = memory.contents(chunk)[low - at:high - at]
        at += len(chunk)


def fingerprint(program: Program) -> dict[str, str]:
    """Everything that decides how a program runs, by name. Symbols and lines do not."""
    found = {"entry": f"{program.entry:#x}"}
    for name in ("tohost", "fromhost"):
        symbol = program.symbol(name)
        found[f"symbol {name}"] = f"{symbol.value:#x}" if symbol else "absent"
    for section in program.sections:
        if "a" in section.flags:
            digest = hashlib.sha256(f"{section.address:#x} {section.size:#x} {''.join(sorted(section.flags))} ".encode())
            for block in section.blocks():
                digest.update(block)
            found[f"section {section.name}"] = digest.hexdigest()
    return found


# ------------------------------------------------------------------------------------------------ reading


class _ProgramName(BaseModel):
    path: str | None
    fingerprint: dict[str, str]


class _Header(BaseModel):
    """Everything except the arrays. The docstring of this file explains the keys."""

    schema_: int = Field(alias="schema")       # pydantic has a method `schema`
    isa_version: Any
    pc: int = Field(ge=0, lt=1 << 64)
    exit_code: int | None = Field(ge=0, le=255)
    prompt: list[int]
    tokens: list[int]
    sequence: NonNegativeInt = 0               # those of programs for one sequence did not say it
    written: tuple[NonNegativeInt, NonNegativeInt] | None = None
    parts: NonNegativeInt
    state: list[str]
    clock: bool
    program: _ProgramName
    preset: dict[str, Any]


class Snapshot:
    """A snapshot file whose header has been read. All methods raise SnapshotError, which says what is wrong with it."""

    def __init__(self, path: Path, data: bytes | None = None) -> None:
        """Raises OSError, and SnapshotError for a file that is no snapshot, damaged, or of another version. `data`: its bytes."""
        self.path, self._data = str(path), data
        with self._opened() as stream:
            if stream.read(4) != b"PK\x03\x04":
                raise SnapshotError("not a snapshot: it does not start as a zip archive does", path=self.path, offset=0,
                                    hint="snapshots are written by `slimulator run FILE --save-snapshot F`")
        with self._archive() as archive:
            if "header.npy" not in archive.namelist():
                raise SnapshotError("not a snapshot: the archive has no header.npy", path=self.path)
            header = self._array(archive, "header", "u1").tobytes()
        with self._damage():
            values = json.loads(header)
            for key, old, known in (("schema", "format", SCHEMA), ("isa_version", "isa_version", ISA_VERSION)):
                found = values.get(key, values.get(old, known)) if isinstance(values, dict) else known
                if not is_version(found, known):
                    raise SnapshotError(f"the snapshot has {key} {brief(found)}, this Slimulator reads {known}", path=self.path,
                                        hint="use the version of Slimulator that wrote it, or run the program again")
        try:
            self.header = _Header.model_validate(values)
        except ValidationError as error:
            raise self._wrong(problem_of(dict(error.errors()[0]))) from None

    def _wrong(self, problem: Problem) -> SnapshotError:
        """What is wrong in the header, with its place there."""
        place = f"header.{problem.key}" if problem.key else "header"
        return SnapshotError(f"the snapshot is damaged: {replace(problem, key=place, hint='')}", path=self.path, hint=problem.hint)

    @contextmanager
    def _damage(self) -> Iterator[None]:
        """Turn everything that zipfile, json and numpy raise for a damaged archive into one error."""
        try:
            yield
        except SnapshotError:
            raise
        except Exception as error:
            raise SnapshotError(f"the snapshot is damaged: {str(error) or type(error).__name__}", path=self.path) from None

    def _opened(self) -> IO[bytes]:
        return opened(self.path) if self._data is None else io.BytesIO(self._data)

    @contextmanager
    def _archive(self) -> Iterator[zipfile.ZipFile]:
        with self._opened() as stream:
            with self._damage():
                archive = zipfile.ZipFile(stream)
                size = stream.seek(0, os.SEEK_END)
                if sum(member.file_size for member in archive.infolist()) > size:
                    raise ValueError(f"its arrays are larger than the {size:,} bytes of the file; expected them as they are, "
                                     "not compressed")
            with archive:
                yield archive

    def _array(self, archive: zipfile.ZipFile, name: str, dtype: str, shape: tuple[int, ...] = (-1,)) -> Array:
        """An array of the archive, read to its end so that its checksum is compared, with the expected type and shape; -1: any."""
        with self._damage():
            stream = io.BytesIO(archive.read(f"{name}.npy"))
            version = np.lib.format.read_magic(stream)
            if version != (1, 0):
                raise ValueError(f"{name} is in version {version} of NumPy's format, expected (1, 0)")
            got, _, kind = np.lib.format.read_array_header_1_0(stream)
            if kind != np.dtype(dtype) or len(got) != len(shape) or any(w not in (-1, n) for w, n in zip(shape, got, strict=True)):
                raise ValueError(f"{name} is {kind}{got}, expected {dtype}{shape}")
            return np.frombuffer(stream.read(), dtype).reshape(got)

    def preset(self) -> Preset:
        """The machine that it was made on."""
        try:
            return preset_of(self.header.preset)
        except PresetError as error:
            first = error.problems[0]
            raise self._wrong(replace(first, key=f"preset.{first.key}" if first.key else "preset")) from None

    def program(self) -> Program:
        """The program that it was made from, from the file that it names. Raises ProgramError, too."""
        path = self.header.program.path
        if path is None:
            raise SnapshotError("its program was not in a file", path=self.path, hint="give that program")
        try:
            return Program.load(path)
        except (OSError, ValueError) as error:                              # ValueError: no path at all
            raise SnapshotError(f"the program that it was made from, {path}, cannot be read: "
                                f"{getattr(error, 'strerror', error)}", path=self.path,
                                hint="if it has moved, name it: slimulator run FILE --restore SNAPSHOT") from None

    def check(self, preset: Preset, program: Program) -> None:
        """Raise SnapshotError, naming what differs, unless `program` on a machine of `preset` is what was saved."""
        mine = self.preset()
        _compare("machine", mine.name, _figures(mine), preset.name, _figures(preset), self.path)
        _compare("program", self.header.program.path or "in no file", self.header.program.fingerprint,
                 program.path or "in no file", fingerprint(program), self.path)

    def apply(self, machine: ReferenceMachine) -> None:
        """Give `machine`, which has just loaded the program, the state that was saved. After an error the machine cannot be
        used.
        """
        with self._archive() as archive:
            for part in range(1, self.header.parts + 1):
                addresses = self._array(archive, f"addresses.{part}", "u8")
                contents = self._array(archive, f"pages.{part}", "u1", (len(addresses), PAGE))
                if not len(addresses):
                    continue
                gaps = np.flatnonzero(np.diff(addresses) != PAGE) + 1
                for run, data in zip(np.split(addresses, gaps), np.split(contents, gaps), strict=True):
                    with self._damage():
                        view = _view(machine, int(run[0]), data.size)
                    view[:] = data.reshape(-1)[:len(view)]
                    machine.code_changed(int(run[0]), len(view))
            with self._damage():
                if unknown := [name for name in self.header.state if name not in machine.state]:
                    raise ValueError(f"header.state: {brief(unknown[0])}; expected arrays of the machine's units")
                state = [(machine.state[name], f"state.{name}") for name in self.header.state]
            for array, name in ((machine.csr_values, "csrs"), (machine.counts, "counters"), *state):
                array[:] = self._array(archive, name, array.dtype.str, array.shape)
            x = self._array(archive, "x", "u8", (32,)).tolist()
            with self._damage():
                for csr in CSRS.values():
                    value = int(machine.csr_values[csr.address])
                    if value & ~csr.writable != csr.reset & ~csr.writable:
                        raise ValueError(f"CSR {csr.name} is {value:#x}; expected bits of {csr.writable:#x} alone to be other ones "
                                         f"than those of {csr.reset:#x}")
                for unit in UNITS.values():
                    if machine.preset.has_unit(unit.name) and not unit.sound(machine.state, machine.parameter):
                        raise ValueError(f"the state of unit {unit.name} is invalid")
                if x[0]:
                    raise ValueError(f"x[0] is {x[0]:#x}, expected 0")
                if not self.header.clock:
                    machine.clocks.clear()                  # how long the part before has taken, nobody knows
                elif machine.clocks:
                    machine.clocks[0].restore(self._array(archive, "clock", "i8", machine.clocks[0].words.shape), machine.counts)
            machine.x[:] = x
            machine.pc, machine.exit_code = self.header.pc, self.header.exit_code
            output, errors = (self._array(archive, name, "u1").tobytes() for name in ("output", "errors"))
            machine.host.replay(output, errors, self.header.written or (len(output), len(errors)), self.header.tokens,
                                self.header.prompt, self.header.sequence)


def _view(machine: ReferenceMachine, address: int, size: int) -> pages.Bytes:
    """Memory for whole pages from `address` on; the last page of a region may be larger than what is left of it."""
    region = machine.memory.region(address, 1)
    if region is None or not region.writable or address + size - region.end >= PAGE:
        raise ValueError(f"pages at {address:#x}..{address + size:#x}, where there is no memory")
    return machine.memory.view(region, address, min(size, region.end - address))


def _figures(preset: Preset) -> dict[str, str]:
    """What a program, or the clock, can notice of a machine, by name: its clock, regions, units, their sizes and rates."""
    memories = {region.name: preset.memory(region.name) for region in preset.regions}
    return {"clock_hz": str(preset.clock_hz)} | {
        f"{region.name} {key}": str(value) for region in preset.regions for key, value in (
            ("base", f"{region.base:#x}"), ("size", f"{region.size:#x}"), ("ports", ", ".join(sorted(region.ports))),
            ("page", region.page_bytes))} | {
        f"{region} memory": f"{memory.name}, channels: {memory.channels}" for region, memory in memories.items() if memory} | {
        f"{region} mapping": memory.mapping for region, memory in memories.items() if isinstance(memory, Dram)} | {
        f"{region} speed": str(table.speed.value) for region, table in preset.file.region.items() if table.speed} | {
        f"unit {name}": "present" for name in preset.units} | {
        name: str(value) for name, value in (*preset.settings.items(), *(preset.rates or {}).items())}


def _compare(what: str, name: str, saved: dict[str, str], other: str, given: dict[str, str], path: str) -> None:
    for key in sorted({*saved, *given}):
        if saved.get(key) != given.get(key):
            then, now = (side.get(key, "absent") for side in (saved, given))
            values = ": differs" if len(then) == len(now) == 64 else f": {then} in the snapshot, {now} here"
            raise SnapshotError(f"the snapshot is of another {what} ({name}, here {other}): {key}{values}", path=path,
                                hint=f"a snapshot can only continue with the {what} that it was made with")
