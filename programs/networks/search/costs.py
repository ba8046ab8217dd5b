"""What the compiler and the machine say of a candidate: bytes of flash and of RAM, ms an image, classes in int8."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from compiler.errors import RoomError
from compiler.networks.program import CompiledNetwork, compile_network
from compiler.networks.reading import read_network
from compiler.networks.running import Inference
from emulator.machine import Machine
from emulator.observe.cost import Cost
from isa.preset import load_preset
from isa.preset_file import PresetError
from programs.networks.search.export import export, scales_of
from programs.networks.search.images import Part
from programs.networks.search.recipe import Recipe, RecipeError
from programs.networks.search.supernet import Weights


@dataclass(frozen=True)
class Figures:
    """Of a network on the machine."""

    flash: int              # bytes
    ram: int
    ms: float               # an image
    millijoules: float

    def fits(self, recipe: Recipe) -> bool:
        return self.flash <= recipe.flash_bytes and self.ram <= recipe.ram_bytes and self.ms <= recipe.ms


def compiled(folder: Path, machine: str) -> CompiledNetwork:
    """Raises ModelError, RoomError, OSError."""
    return compile_network(read_network(folder), machine)


def measure(network: CompiledNetwork, images: np.ndarray) -> tuple[Figures, list[int]]:
    """Figures, and the classes of images (n, bytes) int8, all from the machine."""
    run = Inference(network, images, lambda *given: Machine(*given, time=True))
    result = run.run()
    if result.reason != "exit":
        raise RuntimeError(f"the program ended early: {result.reason} {result.trap}")
    cost, memory = Cost.of(run.machine), network.as_json()
    assert cost.time is not None and cost.energy is not None
    figures = Figures(int(memory["flash_bytes"]), int(memory["ram_bytes"]), cost.time.seconds / len(images) * 1e3,
                      cost.energy.joules / len(images) * 1e3)
    return figures, run.classes


def wrong_int8(network: CompiledNetwork, part: Part) -> tuple[Figures, list[int]]:
    """Figures, and the numbers of the images whose class is wrong."""
    figures, classes = measure(network, part.int8())
    return figures, np.flatnonzero(np.array(classes) != part.classes.numpy()).tolist()


def accuracy_int8(network: CompiledNetwork, part: Part) -> float:
    """The share of images whose class is right."""
    return 1 - len(wrong_int8(network, part)[1]) / len(part.classes)


def figures_of(weights: Weights, masks: Mapping[str, Tensor], recipe: Recipe) -> Figures | None:
    """Of a network that is not trained to the end: its scales are all the same, with others it may have some bytes more. None: the
    chip is too small, or flash or RAM are above the recipe's limits, so that nothing was run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export(weights, masks, scales_of(weights.layers), folder)
        try:
            network = compiled(folder, recipe.machine)
        except RoomError:
            return None
        if network.flash_bytes > recipe.flash_bytes or network.ram_bytes > recipe.ram_bytes:
            return None
        return measure(network, np.zeros((1, weights.layers[0].side ** 2), np.int8))[0]


def check_machine(recipe: Recipe) -> None:
    """Raises RecipeError for a machine that is none."""
    try:
        load_preset(recipe.machine)
    except PresetError as error:
        raise RecipeError("machine", recipe.machine, f"a preset: {error}") from None
