"""An interpreter of network.json as its file says it: one arena of bytes, operation by operation, in Python's and NumPy's integers.

It knows nothing of the compiler, and has the arithmetic once more: arm_nn_requantize, CMSIS-NN's softmax, Scaled-LayerNorm.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

MASK = (1 << 31) - 1


def rq(value, multiplier, shift):
    value, shift = np.asarray(value, np.int64), np.broadcast_to(np.asarray(shift, np.int64), np.shape(value))
    high = ((value << np.maximum(shift, 0)) * np.asarray(multiplier, np.int64) + (1 << 30)) >> 31
    half = np.where(shift < 0, np.int64(1) << np.maximum(-shift - 1, 0), 0)
    return np.where(shift < 0, np.sign(high) * ((np.abs(high) + half) >> np.maximum(-shift, 0)), high)


def high_product(a, b):
    """gemmlowp's SaturatingRoundingDoublingHighMul of two Python integers."""
    nudged = a * b + ((1 << 30) if a * b >= 0 else 1 - (1 << 30))
    return MASK if a == b == -(1 << 31) else (abs(nudged) >> 31) * (1 if nudged >= 0 else -1)


def half_away(value, places):
    return (abs(value) + (1 << places >> 1) >> places) * (1 if value >= 0 else -1)


def power(value):
    """gemmlowp's exp_on_negative_values: 5 places before the point, 26 behind."""
    if value == 0:
        return MASK
    rest = value % (1 << 24) - (1 << 24)
    x = (rest << 5) + (1 << 28)
    x2 = high_product(x, x)
    tail = half_away(high_product(half_away(high_product(x2, x2), 2) + high_product(x2, x), 715827883) + x2, 1)
    made = 1895147668 + high_product(1895147668, x + tail)
    for bit, factor in enumerate((1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242), start=24):
        made = high_product(made, factor) if (rest - value) >> bit & 1 else made
    return made


def reciprocal(value):
    half = (value + MASK + 1) // 2 if value + MASK >= 0 else -((1 - value - MASK) // 2)
    x = 1515870810 + high_product(half, -1010580540)
    for _ in range(3):
        x += min(max(high_product(x, (1 << 29) - high_product(half, x)) << 2, -(1 << 31)), MASK)
    return min(max(x << 1, -(1 << 31)), MASK)


def softmax(row, multiplier, shift, least):
    largest, powers = max(row), {}
    for value in set(row):
        powers[value] = power(high_product(value - largest << shift, multiplier)) if value - largest >= least else None
    total = sum(half_away(powers[value], 12) for value in row if powers[value] is not None)
    headroom = 32 - total.bit_length()
    scale = reciprocal((total << headroom) - (1 << 31))
    made = {value: -128 if one is None else max(-128, min(127, half_away(high_product(scale, one), 35 - headroom) - 128))
            for value, one in powers.items()}
    return [made[value] for value in row]


def layer_norm(row, offset, gain, bias):
    n = len(row)
    total = sum(row) + n * offset + n // 2
    mean = abs(total) // n * (1 if total >= 0 else -1)
    d = [value + offset - mean for value in row]
    factor = 128 // max(math.isqrt(sum(value * value for value in d) // n), 1)
    return [max(-32768, min(32767, value * factor)) * int(g) + int(b) for value, g, b in zip(d, gain, bias, strict=True)]


def weights(o, tensors, count):
    data = tensors[o["weight"]].astype(np.int64)
    if o.get("block") is None:
        return data
    stream, out, at, position = data.tolist(), np.zeros(count + o["block"], np.int64), 0, 0
    while at < len(stream):
        position += stream[at] + 128
        if stream[at + 1] == 0:
            at += 2
            continue
        out[position:position + o["block"]] = stream[at + 1:at + 1 + o["block"]]
        at, position = at + 1 + o["block"], position + o["block"] - 1
    return out[:count]


def infer(folder: Path, image: np.ndarray, outputs: int) -> list[int]:
    """The logits of an image, int8 of any shape."""
    network, tensors = json.loads((folder / "network.json").read_text()), np.load(folder / "model.npz")
    arena = np.zeros(network["arena_bytes"], np.int64)
    arena[network["input_at"]:network["input_at"] + image.size] = image.reshape(-1)

    def scale(o, key):
        return tensors[o[key]].astype(np.int64) if isinstance(o[key], str) else o[key]

    def result(o, sums):
        bias = 0 if o.get("bias") is None else tensors[o["bias"]].astype(np.int64)
        made = rq(sums + bias, scale(o, "multiplier"), scale(o, "shift")) + o["output_offset"]
        return np.clip(made, *(o.get("clamp") or (-128, 127)))

    def taps(o, x, border):
        """(taps, lines, pixels, channels): each tap of all windows."""
        down, across = np.broadcast_to(o["padding"], 2)
        step, x = np.broadcast_to(o["stride"], 2), np.pad(x, ((down, down), (across, across), (0, 0)), constant_values=border)
        return np.stack([x[i:i + step[0] * (o["out"][0] - 1) + 1:step[0], j:j + step[1] * (o["out"][1] - 1) + 1:step[1]]
                         for i in range(o["kernel"][0]) for j in range(o["kernel"][1])])

    for o in network["ops"]:
        def read(size, which=0, o=o):
            at = o["from"][which] if isinstance(o["from"], list) else o["from"]
            return arena[at:at + size].copy()
        swapped = o.get("layout") in ("chw", "channel-major")
        match o["op"]:
            case "conv" | "depthwise_conv":
                height, width, channels = o["in"]
                x = read(height * width * channels)
                x = x.reshape(channels, height, width).transpose(1, 2, 0) if swapped else x.reshape(height, width, channels)
                x = taps(o, x + o["input_offset"], 0)
                if o["op"] == "conv":
                    w = weights(o, tensors, o["out"][2] * len(x) * channels).reshape(o["out"][2], len(x), channels)
                    made = result(o, np.einsum("thwc,otc->hwo", x, w, optimize=True))
                else:
                    w = weights(o, tensors, len(x) * channels)
                    w = w.reshape(channels, -1).T if swapped else w.reshape(-1, channels)
                    made = result(o, (x * w[:, None, None]).sum(axis=0))
                made = made.transpose(2, 0, 1) if swapped else made
            case "linear":
                x = read(o["rows"] * o["in"])
                x = x.reshape(o["in"], -1).T if swapped else x.reshape(-1, o["in"])
                made = result(o, (x + o["input_offset"]) @ weights(o, tensors, o["in"] * o["out"]).reshape(o["out"], -1).T)
                made = made.T if swapped else made
            case "matmul":
                left = read(o["batch"] * o["rows"] * o["inner"]).reshape(o["batch"], o["rows"], -1) + o["offset"][0]
                right = read(o["batch"] * o["inner"] * o["columns"], 1) + o["offset"][1]
                right = (right.reshape(o["batch"], o["columns"], -1).transpose(0, 2, 1) if o["transposed_right"]
                         else right.reshape(o["batch"], o["inner"], -1))
                made = result(o, left @ right)
            case "max_pool" | "mean_pool":
                x = taps(o, read(math.prod(o["in"])).reshape(o["in"]), -128)
                total = x.sum(axis=0)
                mean = np.sign(total) * ((2 * np.abs(total) + len(x)) // (2 * len(x)))
                made = result(o, (x.max(axis=0) if o["op"] == "max_pool" else mean) + o["input_offset"])
            case "add":
                total = sum(rq(read(o["elements"], i) + o["offset"][i] << o.get("left_shift", 0), o["multiplier"][i], o["shift"][i])
                            for i in range(2))
                made = np.clip(rq(total, o["output_multiplier"], o["output_shift"]) + o["output_offset"], -128, 127)
            case "layer_norm":
                rows = read(o["rows"] * o["channels"]).reshape(o["rows"], -1).tolist()
                sums = [layer_norm(row, o["input_offset"], tensors[o["weight"]], tensors[o["bias"]]) for row in rows]
                made = np.clip(rq(sums, o["multiplier"], o["shift"]) + o["output_offset"], -128, 127)
            case "softmax":
                rows = read(o["rows"] * o["columns"]).reshape(o["rows"], -1).tolist()
                made = np.array([softmax(row, o["multiplier"], o["shift"], o["least_difference"]) for row in rows])
            case "transpose":
                made = read(math.prod(o["shape"])).reshape(o["shape"]).transpose(o["axes"])
            case "copy":
                made = read(o["bytes"])
        arena[o["to"]:o["to"] + made.size] = made.reshape(-1)
    return arena[network["output_at"]:network["output_at"] + outputs].tolist()
