"""The network that was found (programs/networks/digits): its figures on the machine.

tests/oracle/test_network_search.py tests search and training, and this network on the images that were held out.
"""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
from arena_interpreter import infer
from children import ROOT

from compiler.networks.program import compile_network
from compiler.networks.reading import read_network
from compiler.networks.running import Inference, read_images
from emulator.machine import Machine
from programs.networks.digits.draw import images as drawn
from programs.networks.search.recipe import read_recipe

DIGITS = ROOT / "programs" / "networks" / "digits"
FIGURES = DIGITS / "figures.json"


def test_the_network_reads_most_images_of_its_folder() -> None:
    network = read_network(DIGITS)
    images, classes = read_images(DIGITS / "images.npz", network), np.load(DIGITS / "images.npz")["classes"].tolist()
    run = Inference(compile_network(network), images, Machine)
    assert run.run().reason == "exit" and sum(one == other for one, other in zip(run.classes, classes, strict=True)) == 20
    assert run.logits[:2] == [infer(DIGITS, image, 10) for image in images[:2]]


def test_its_images_are_what_their_script_draws() -> None:
    kept, (images, classes) = np.load(DIGITS / "images.npz"), drawn()
    assert np.array_equal(kept["classes"], classes) and kept["images"].shape == images.shape
    assert np.abs(kept["images"].astype(int) - images).max() <= 1           # sines differ in their last place


def test_it_is_small_and_within_its_recipe() -> None:
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    recipe = read_recipe(DIGITS / "recipe.json")
    assert figures["recipe"] == asdict(recipe)
    found = figures["network"]
    memory = compile_network(read_network(DIGITS), recipe.machine).as_json()
    assert (found["flash"], found["ram"]) == (memory["flash_bytes"], memory["ram_bytes"])
    assert found["flash"] <= recipe.flash_bytes and found["ram"] <= recipe.ram_bytes and found["ms"] <= recipe.ms
    assert found["accuracy_held_out"] >= 0.97
    assert sum(path.stat().st_size for path in DIGITS.iterdir() if path.is_file()) < 200_000
