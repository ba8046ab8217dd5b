"""Bytes by tensor: those of all tensors are those of the counters, and weights are read as often as they are needed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from tiny_checkpoint import write_checkpoint

from compiler.running.generate import Generation, Sampling, open_program
from compiler.settings import Settings
from emulator.machine import Machine
from emulator.observe.tensors import OTHERS, Tensors


@pytest.mark.parametrize("machine", ["slim", "slim-llama"])
def test_all_bytes_belong_to_something(machine: str, tmp_path: Path) -> None:
    settings = Settings(machine=machine, weights="i8")
    model = settings.load(write_checkpoint(tmp_path))
    settings.compile(model).save(tmp_path / "m.elf")
    program, words = open_program(tmp_path / "m.elf", None, model.path)
    generation = Generation(program, words, "abc", Sampling(4), partial(Machine, time=True), program.machine)
    tensors = Tensors(generation.machine)
    counters = generation.run(lambda _text: None).counters
    tensors.finish()
    assert tensors.whole
    for region in program.machine.regions:
        moved = counters.get(f"{region.name}.bytes_read", 0) + counters.get(f"{region.name}.bytes_written", 0)
        core = 8 * (counters["core.loads"] + counters["core.stores"] + 100)             # at most; services write the prompt
        found = sum(parts.get(region.name, 0) for parts in tensors.traffic.values())
        assert moved - core <= found <= moved
    config = model.config
    from_memory = {name: parts.get("dram", 0) + parts.get("flash", 0) for name, parts in tensors.traffic.items()}
    if machine == "slim":           # a matrix is read once for the prompt and once for each further token; rows have a scale
        times = counters["tokens.emitted"]
        assert from_memory["layer.gate"] >= times * config.layers * config.hidden * config.dim
        assert from_memory["layer.gate"] == from_memory["layer.up"] and from_memory["layer.gate"] < 1.2 * (
            times * config.layers * config.hidden * config.dim)
        assert from_memory["keys"] == from_memory["values"] > 0
    assert {"layer.q", "layer.down", "q", "x", OTHERS} <= set(tensors.traffic)
