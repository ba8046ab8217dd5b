"""Sources that are not trusted: no file outside the folders that --include-only names is opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from asm import AssemblyError, assemble
from isa.preset import PRESETS
from slimulator import invoke


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "inner").mkdir()
    for place in ("in", "inner", "."):
        (tmp_path / place / "x.inc").write_text("{}\n" if place == "." else "# nothing\n")
        (tmp_path / place / "x.json").write_text("{}")
        (tmp_path / place / "x.toml").write_text((PRESETS / "slim.toml").read_text())
    os.symlink(tmp_path / "x.json", tmp_path / "in" / "link.json")
    return tmp_path


@pytest.mark.parametrize("directive", [".include", ".incbin", ".meta"])
@pytest.mark.parametrize("name", ["../x.json", "/etc/passwd", "link.json", "../inner/x.json", "{folder}/x.json"])
def test_files_outside_are_refused(directive: str, name: str, folder: Path) -> None:
    path = folder / "in" / "a.s"
    path.write_text(f'nop\n{directive} "{name.format(folder=folder)}"\n')
    with pytest.raises(AssemblyError, match="outside the folders"):
        assemble(path, include_only=[folder / "in"])


def test_files_inside_are_opened(folder: Path) -> None:
    path = folder / "in" / "a.s"
    path.write_text('nop\n.include "x.inc"\n.incbin "x.json"\n.balign 4\n.meta "x.json"\n'
                    f'.machine {folder}/in/x.toml\n.include "../in/x.inc"\n')
    assert len(assemble(path, include_only=[folder / "inner", folder / "in"]).sections[0].bytes()) == 8
    assert assemble("nop\n.machine slim", include_only=[folder]).machine.name == "slim"


def test_a_machine_outside_is_refused(folder: Path) -> None:
    with pytest.raises(AssemblyError, match="outside the folders"):
        assemble(f"nop\n.machine {folder}/x.toml\n", include_only=[folder / "in"])


def test_the_option(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "in" / "a.s"
    path.write_text('nop\n.incbin "../x.json"\n')
    assert invoke(["asm", str(path)]) == 0
    assert invoke(["asm", str(path), "--include-only", str(folder / "in")]) == 1
    assert "outside the folders that a source may open files in" in capsys.readouterr().err
    assert invoke(["asm", str(path), "--include-only", str(folder / "in"), "--include-only", str(folder)]) == 0
