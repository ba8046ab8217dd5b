"""Names from outside in a program's text: of a model, of the files beside it, of a machine. None of them is ever assembled."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tiny_checkpoint import write_relu

from asm.assembler import assemble
from compiler.compile import compile_model
from compiler.compiled import Compiled
from compiler.formats.recipe import read_recipe
from compiler.frontends import load
from isa.preset import PRESETS
from isa.program import Program

NAMES = {
    "line feed":     'm\n    .error "boom"\n    .incbin "secret"',
    "other ends":    "m\r    .error 1\x0b.error 2\x0c.error 3\x85.error 4\u2028.error 5",
    "quotes":        'm", "x\\" \\',
    "backslash":     "m\\",
    "end of macro":  "m\n.endm\n.endr",
    "comments":      "m ; # x",
    "escape":        "m\x1b]52;c;aGk=\x07",
    "not UTF-8":     os.fsdecode(b"m\xff\xfe"),
    "percent":       "m%n {0} {title} \\1 \\@",
}


def named(folder: Path, name: str) -> Path:
    """The tiny model in a directory of this name."""
    path = folder / name
    write_relu(folder).rename(path)
    return path


def same(program: Program, other: Program) -> bool:
    """Whether two programs have the same sections, byte by byte, and the same symbols."""
    def what(one: Program) -> list[object]:
        return [*((section.name, section.address, section.flags, b"".join(section.blocks())) for section in one.sections),
                one.symbols]
    return what(program) == what(other)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Compiled, Program]:
    folder = tmp_path_factory.mktemp("plain")
    compiled = compile_model(load(named(folder, "model")))
    return compiled, compiled.build(folder)


@pytest.mark.parametrize("kind", NAMES)
def test_a_models_name_is_a_comment(kind: str, tmp_path: Path, plain: tuple[Compiled, Program]) -> None:
    """The same program as under any other name; the text differs in its first line alone, and holds no control character."""
    compiled = compile_model(load(named(tmp_path, NAMES[kind])))
    text, expected = compiled.text(), plain[0].text()
    assert text.split("\n")[1:] == expected.split("\n")[1:] and text.startswith("# m")
    assert not set(map(chr, range(32))) & set(text) - {"\n"}
    folder = tmp_path / "built"
    folder.mkdir()
    program = compiled.build(folder)
    assert same(program, plain[1])
    for one, file in ((compiled, "model.elf"), (plain[0], "plain.elf")):
        one.save(tmp_path / file)
    saved = Program.load(tmp_path / "model.elf")
    assert same(saved, Program.load(tmp_path / "plain.elf")) and saved.meta["model"]["source"] == NAMES[kind]


@pytest.mark.parametrize("kind", NAMES)
def test_files_beside_the_source_have_any_name(kind: str, tmp_path: Path, plain: tuple[Compiled, Program],
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    """What -S writes assembles to the program again, from files whose names are read back as they are."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(b"x")
    source = tmp_path / f"{NAMES[kind]}.s"
    plain[0].save_source(source)
    program = assemble(source)
    assert same(program, plain[1])
    assert {part.suffix for part in tmp_path.iterdir()} == {"", ".s", ".weights", ".meta"}
    assert not (set(source.read_text()) - {"\n"}) & set(map(chr, range(32)))


@pytest.mark.parametrize("kind", ["line feed", "other ends", "end of macro", "escape"])
def test_a_machines_name_is_a_comment(kind: str, tmp_path: Path, plain: tuple[Compiled, Program]) -> None:
    """Of a preset in a file."""
    preset = (PRESETS / "slim.toml").read_text(encoding="utf-8")
    assert 'name = "slim"' in preset
    changed = preset.replace('name = "slim"', f"name = {json.dumps(NAMES[kind] + ' /* ')}")
    (tmp_path / "machine.toml").write_text(changed, encoding="utf-8")
    compiled = compile_model(load(named(tmp_path, "model")), machine=str(tmp_path / "machine.toml"))
    assert not {".error", ".endm"} & {line.split()[0] for line in compiled.text().split("\n") if line.split()}
    assert same(compiled.build(tmp_path), plain[1])


def test_a_recipes_path_is_in_no_text(tmp_path: Path, plain: tuple[Compiled, Program]) -> None:
    recipe = tmp_path / 'r\n.error "boom".toml'
    recipe.write_text('weights = "f32"\n')
    compiled = compile_model(load(named(tmp_path, "model")), recipe=read_recipe(str(recipe)))
    assert compiled.text() == plain[0].text()


def test_messages_and_notes_hold_no_control_character(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names of options and of directories are a file's, or a stranger's."""
    import slimulator

    path = named(tmp_path, NAMES["escape"])
    config = json.loads((path / "config.json").read_text())
    for name, said in (("x\x1b]52;c;aGk=\x07", "note: ignored options: x"), ("attn\x1b[2J\x9b1m", "error: attn")):
        (path / "config.json").write_text(json.dumps({**config, name: 2}))
        slimulator.invoke(["verify", str(path), "--tokens", "2", "--prompt", "ab"])
        out, err = capsys.readouterr()
        assert said in err and not {chr(code) for code in (*range(10), *range(11, 32), *range(127, 160))} & set(out + err)
