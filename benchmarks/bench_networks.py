"""Speed of int8 networks, one thread: images a second of this host.

Prints one JSON object. `tiny` is the network of programs/networks, whose operations are small; `tinyformer` the one of the optional
data beside the repository, where it is there: 158.8 million products an image. `cpu` counts the time of the process alone, which
other programs on a busy host do not change. `time_on_machine` is seconds of the machine for an image.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np

from compiler.networks.program import compile_network
from compiler.networks.reading import read_network
from compiler.networks.running import Inference, read_images
from emulator.machine import Machine

ROOT = Path(__file__).parents[1]
NETWORKS = {"tiny": ROOT / "programs/networks", "tinyformer": ROOT.parent / "shared/data/tinyformer"}
IMAGES, TURNS = {"tiny": 2000, "tinyformer": 30}, 5


def measured(name: str) -> dict[str, float]:
    """The best of some turns, kernels compiled before."""
    network = read_network(NETWORKS[name])
    compiled, some = compile_network(network), read_images(NETWORKS[name] / "images.npz", network)
    images = np.resize(some, (IMAGES[name], some.shape[1]))
    Inference(compiled, images[:1], Machine).run()
    best = wall = float("inf")
    for _ in range(TURNS):
        run = Inference(compiled, images, Machine)
        start, started = time.process_time(), time.perf_counter()
        run.run()
        best, wall = min(best, time.process_time() - start), min(wall, time.perf_counter() - started)
    assert run.machine.time is not None
    return {"images_per_second": len(images) / wall, "images_per_second_cpu": len(images) / best,
            "time_on_machine": run.machine.time.seconds / len(images)}


def main() -> None:
    print(json.dumps({name: measured(name) for name, path in NETWORKS.items() if path.exists()}))


if __name__ == "__main__":
    main()
