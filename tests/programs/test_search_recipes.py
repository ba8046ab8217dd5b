"""Recipes of a search (programs/networks/search): what is refused of them. tests/oracle/test_network_search.py has the rest."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from children import ROOT
from children import run as child

from programs.networks.search.recipe import Recipe, RecipeError, read_recipe


@pytest.mark.parametrize(("text", "message"), [
    ("{", "no JSON: "), ("[]", "no object; expected an object with keys of a recipe"),
    ('{"seeds": 3}', "seeds: a key that is none; expected one of images, seed, "),
    ('{"images": "cifar"}', "images: 'cifar'; expected mnist or digits"),
    ('{"steps": 2.5}', "steps: 2.5; expected a whole number, above 0"), ('{"steps": true}', "steps: True; expected a"),
    ('{"steps": 0}', "steps: 0; expected a whole number, above 0"), ('{"ms": -1}', "ms: -1; expected a number, above 0"),
    ('{"ms": NaN}', "ms: nan; expected a number, above 0"), ('{"growing": 1.5}', "growing: 1.5; expected a number 0..1"),
    ('{"machine": 3}', "machine: 3; expected a name"),
    ('{"repeats": 2, "finished": 3}', "finished: 3; expected at most 2, the searches of `repeats`"),
    ('{"compared": 5}', "compared: 5; expected at most 4, the searches of `repeats`")])
def test_recipes_that_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(text)
    with pytest.raises(RecipeError) as error:
        read_recipe(path)
    assert str(error.value).startswith(str(path)) and message in str(error.value)


def test_a_recipe_with_a_part_of_the_keys(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text('{"ms": 4, "seed": 0}')
    assert read_recipe(tmp_path / "recipe.json") == Recipe(ms=4, seed=0)


def test_the_command_ends_with_one_message(tmp_path: Path) -> None:
    def ended(text: str) -> Any:
        (tmp_path / "recipe.json").write_text(text)
        return child(sys.executable, "-m", "programs.networks.search", tmp_path / "recipe.json", "--out", tmp_path / "out")

    done = ended('{"seed": -1}')
    assert done.returncode == 1 and done.stderr.splitlines() == [
        f"error: {tmp_path}/recipe.json: seed: -1; expected a whole number, 0 or more"]
    assert not (tmp_path / "out").exists()
    path = tmp_path / "recipe.json"
    path.unlink()
    done = child(sys.executable, "-m", "programs.networks.search", path)
    assert done.returncode == 1 and done.stderr == f"error: {path}: No such file or directory\n"


def test_the_recipe_of_the_digits_has_every_key() -> None:
    path = ROOT / "programs/networks/digits/recipe.json"
    assert json.loads(path.read_text(encoding="utf-8")) == asdict(read_recipe(path))
