"""Writing a compiled model: the same bytes as by way of files of its own, and no file of the model's size beside it."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path

import pytest
from compiled_models import built
from random_models import SHAPES, random_model

from asm.assembler import assemble
from compiler.compile import compile_model
from compiler.formats.recipe import read_recipe
from compiler.measuring.shapes import random_model as random_shape


@pytest.mark.parametrize(("shape", "weights", "machine"), [
    ("gqa", "", "slim"), ("tied", "t2", "slim"), ("opt_350m", "i4:1", "slim-llama"), ("hidden_33", "c4", "slim"),
    ("gqa", "i8", "hpim"), ("gqa", "t2", "hpim")])
def test_a_program_is_the_one_that_its_source_makes(tmp_path: Path, shape: str, weights: str, machine: str) -> None:
    """And the one that is assembled from files of the weights, as the checks of the compiler do."""
    compiled = compile_model(random_model(SHAPES[shape]), machine=machine, recipe=read_recipe(weights) if weights else None)
    compiled.save(tmp_path / "m.elf")
    compiled.save_source(tmp_path / "m.s")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    program = assemble(tmp_path / "m.s")
    for line in program.lines:
        assert Path(line.file) == tmp_path / "m.s"
    program.save(tmp_path / "again.elf")
    assert (tmp_path / "m.elf").read_bytes() == (tmp_path / "again.elf").read_bytes()


def test_no_file_has_the_models_size_beside_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, other = tmp_path / "here", tmp_path / "temporary"
    folder.mkdir()
    other.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(other))
    model = random_shape("m", 2, 256, 512, 4, 3000, 64, ternary=False)
    compiled = compile_model(model)
    taken: list[int] = []
    done: list[tuple[int, int]] = []

    def progress(so_far: int, whole: int) -> None:
        done.append((so_far, whole))
        taken.append(sum(512 * path.stat().st_blocks for path in tmp_path.rglob("*") if path.is_file()))

    compiled.save(folder / "m.elf", progress)
    size = (folder / "m.elf").stat().st_size
    assert size > 5e6 and max(taken) < 1.05 * size
    assert done == sorted(done) and done[-1][0] <= done[-1][1] == compiled.layout.size and done[-1][0] > 0.9 * compiled.layout.size
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["m.elf"]


def test_a_pipe_takes_a_program(tmp_path: Path) -> None:
    """What cannot be gone back in is written from front to back."""
    compiled = built("gqa", "t2")[0]
    compiled.save(tmp_path / "m.elf")
    os.mkfifo(tmp_path / "pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()), daemon=True)
    reader.start()
    compiled.save(tmp_path / "pipe", source=Path(tmp_path / "m.s"))
    reader.join(60)
    assert got == [(tmp_path / "m.elf").read_bytes()]
