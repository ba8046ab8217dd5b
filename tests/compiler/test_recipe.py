"""Which format each matrix gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.errors import ModelError
from compiler.formats.recipe import Choice, Recipe, parse_format, read_recipe
from compiler.formats.weight_format import WEIGHT_FORMATS


@pytest.mark.parametrize(("text", "expected"), [
    ("f32", ("f32", "")), ("bf16", ("bf16", "")), ("t2", ("t2", "")), ("t2:row", ("t2", "row")), ("i8", ("i8", "")),
    ("t2:absmean", ("t2", "absmean")), ("i4:clip", ("i4", "clip")), ("i4:32", ("i4", 32))])
def test_a_format(text: str, expected: tuple[str, str | int]) -> None:
    choice = Choice(WEIGHT_FORMATS[expected[0]], expected[1])
    assert parse_format(text) == choice == parse_format(str(choice))


@pytest.mark.parametrize(("text", "said"), [
    ("f3", "did you mean 'f32'"), ("int8", "expected f32, f16, bf16"), ("", "expected f32"), ("f16:32", "floats have no scale"),
    ("i8:0", "a number of columns"), ("i8:column", "tensor, row or a number"), ("i8:-4", "a number of columns"),
    ("i4:absmean", "expected t2:absmean or t5:absmean"), ("t2:clip", "expected i3:clip, i4:clip or i8:clip"),
    ("c4:clip", "expected i3:clip"), ("i2:clip", "expected i3:clip")])
def test_not_a_format(text: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        parse_format(text)


@pytest.mark.parametrize(("text", "columns"), [
    ("t2", 0), ("i8", 48), ("i8:row", 48), ("i4:16", 16), ("b1:tensor", 0), ("t5:absmean", 0), ("i4:clip", 0)])
def test_how_many_columns_share_a_scale(text: str, columns: int) -> None:
    assert parse_format(text).columns(48) == columns


def test_a_format_alone_is_for_the_layers_and_leaves_the_vocabulary_eight_bits() -> None:
    recipe = read_recipe("t2")
    assert str(recipe.format_of("layers.3.q")) == "t2"
    assert str(recipe.format_of("head")) == str(recipe.format_of("embedding")) == "i8"
    assert str(read_recipe("i8:row").format_of("head")) == str(read_recipe("t2:row").format_of("head")) == "i8:row"
    assert str(read_recipe("i8:32").format_of("head")) == "i8"
    assert str(read_recipe("f16").format_of("head")) == "f16"


def test_a_file_names_roles_by_pattern_and_the_last_one_counts(tmp_path: Path) -> None:
    path = tmp_path / "mixed.toml"
    path.write_text('weights = "t2"\n[roles]\n"layers.*.down" = "i4:16"\n"layers.0.*" = "f16"\n', encoding="utf-8")
    recipe = read_recipe(str(path))
    found = {role: str(recipe.format_of(role)) for role in ("layers.1.q", "layers.1.down", "layers.0.down", "head")}
    assert found == {"layers.1.q": "t2", "layers.1.down": "i4:16", "layers.0.down": "f16", "head": "None"}
    assert Recipe().format_of("layers.0.q") is None


@pytest.mark.parametrize(("text", "said"), [
    ("weight = 't2'", "did you mean 'weights'"), ("weights = 2", "a format as text"), ("weights = 't9'", "no weight format 't9'"),
    ("roles = 't2'", "a table of patterns"), ("[roles]\nq = 'i8:x'", r"roles\.q"), ("weights =", "a TOML file")])
def test_a_wrong_file(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=said) as error:
        read_recipe(str(path))
    assert error.value.file == str(path)


def test_a_byte_order_mark(tmp_path: Path) -> None:
    """As some editors write one before a text."""
    (tmp_path / "recipe.toml").write_text('weights = "i4:32"\n', encoding="utf-8-sig")
    assert read_recipe(str(tmp_path / "recipe.toml")).weights == Choice(WEIGHT_FORMATS["i4"], 32)
