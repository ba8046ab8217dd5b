"""Selection by the fast engine where its ways meet: few and many of them, data that rises and falls, equal and odd values."""

import numpy as np
import pytest
from both_engines import SRAM, Pair

from emulator.units.thr import HEAP

ODD = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 1.0, -1.0, 3e38, -3e38], "<f4")


@pytest.fixture(scope="module")
def pair():
    return Pair()


def data(kind: str, n: int, random: np.random.Generator) -> np.ndarray:
    match kind:
        case "random":  return random.standard_normal(n).astype("<f4")
        case "rising":  return np.arange(n, dtype="<f4") - n // 2
        case "falling": return np.arange(n, 0, -1, dtype="<f4") - n // 2
        case "equal":   return np.full(n, -0.0, "<f4")
        case "ties":    return random.integers(-2, 3, n).astype("<f4")
        case "odd":     return random.choice(ODD, n)
        case "nan":     return np.where(random.random(n) < 0.9, np.float32(np.nan), random.choice(ODD, n)).astype("<f4")
        case _:         return random.integers(0, 1 << 32, n, np.uint32).view("<f4")


@pytest.mark.parametrize("mnemonic", ["thr.topk.f32", "thr.bottomk.f32"])
@pytest.mark.parametrize("kind", ["random", "rising", "falling", "equal", "ties", "odd", "nan", "bits"])
def test_the_best_of_many(pair, mnemonic, kind):
    random = np.random.default_rng(3)
    for n in (0, 1, 2, 15, 16, 17, 100, HEAP, 1000, 5003):
        pair.fresh()
        x = pair.put(data(kind, n, random))
        for k in {0, 1, 2, 3, 16, 100, HEAP - 1, HEAP, HEAP + 1, n // 2, n - 1, n}:
            if 0 <= k <= n:
                pair.run(mnemonic, index=SRAM + 0x8000, x=x, k=k, n=n)


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 127, 128, 130, 1001])
def test_masks_and_lists(pair, n):
    random = np.random.default_rng(n)
    pair.fresh()
    x, mask, index = pair.put(data("odd", n, random)), SRAM + 0x4000, SRAM + 0x5000
    for theta in (0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan):
        for mnemonic in ("thr.gt.f32", "thr.absgt.f32"):
            pair.run(mnemonic, mask=mask, x=x, theta=int(np.float32(theta).view(np.uint32)), n=n)
    for density in (0, 0.1, 0.5, 1):
        pair.place(mask, np.packbits(random.random(1016) < density))       # 1 bits behind the last, too
        done = pair.run("thr.index", mask=mask, index=index, n=n)
        assert done.result == done.counts.get("thr.selected", 0)


@pytest.mark.parametrize("seed", range(4))
def test_ranges_of_clusters(pair, seed):
    random = np.random.default_rng(seed)
    pair.fresh()
    ranks, bounds, index = SRAM + 0x1000, SRAM + 0x2000, SRAM + 0x4000
    for n in (1, 2, 7, 64, 300):
        pair.place(bounds, np.cumsum(random.integers(-2 if seed == 1 else 0, 12, n + 1)).clip(0).astype("<u4").view(np.uint8))
        pair.place(ranks, random.permutation(n).astype("<u4").view(np.uint8))
        for budget in (0, 1, 5, 100, 1 << 20):
            pair.set(thr__budget=budget)
            done = pair.run("thr.ranges", index=index, ranks=ranks, bounds=bounds, n=n)
            assert done.trap is None and done.counts.get("thr.selected", 0) <= budget
    for place in (ranks, ranks - 4, bounds + 8):                            # on what it reads
        pair.run("thr.ranges", inline=False, index=place, ranks=ranks, bounds=bounds, n=300)
