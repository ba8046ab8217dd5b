"""Reads a network: `network.json`, and beside it `model.npz` with the tensors that it names. docs/tinyformer.md has the format."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from compiler.errors import ModelError
from isa import sparse
from isa.hints import nearest
from isa.sparse.layout import Malformed, Packed

Array = npt.NDArray[Any]
NETWORK, TENSORS = "network.json", "model.npz"
LARGEST = 1 << 24           # elements of a value; arenas are smaller

# What a step has. n: a number; n2, n3, n4: a list of so many; t: a tensor's name; ?: or null, or left out; words: one of them.
_RESULT = {"input_offset": "n", "output_offset": "n", "multiplier": "s", "shift": "s"}
_PLACES = {"from": "n", "to": "n"}
_WEIGHTS = {"weight": "t", "bias": "t?", "clamp": "n2?", "block": "n?"}
KINDS: dict[str, dict[str, str]] = {
    "conv":           _PLACES | _RESULT | _WEIGHTS | {"layout": "hwc chw", "in": "n3", "out": "n3", "kernel": "n2", "stride": "n2",
                                                      "padding": "n2"},
    "depthwise_conv": _PLACES | _RESULT | _WEIGHTS | {"layout": "hwc chw", "in": "n3", "out": "n3", "kernel": "n2", "stride": "n2",
                                                      "padding": "n2"},
    "linear":         _PLACES | _RESULT | _WEIGHTS | {"layout": "row-major channel-major", "rows": "n", "in": "n", "out": "n"},
    "matmul":         {"from": "n2", "to": "n", "batch": "n", "rows": "n", "inner": "n", "columns": "n", "transposed_right": "b",
                       "offset": "n2", "output_offset": "n", "multiplier": "n", "shift": "n"},
    "max_pool":       _PLACES | _RESULT | {"in": "n3", "out": "n2", "kernel": "n2", "stride": "n", "padding": "n"},
    "mean_pool":      _PLACES | _RESULT | {"in": "n3", "out": "n2", "kernel": "n2", "stride": "n", "padding": "n"},
    "add":            {"from": "n2", "to": "n", "elements": "n", "offset": "n2", "multiplier": "n2", "shift": "n2",
                       "output_offset": "n", "output_multiplier": "n", "output_shift": "n", "left_shift": "n?", "clamp": "n2?"},
    "layer_norm":     _PLACES | _RESULT | {"rows": "n", "channels": "n", "weight": "t", "bias": "t?"},
    "softmax":        _PLACES | {"rows": "n", "columns": "n", "multiplier": "n", "shift": "n", "least_difference": "n"},
    "transpose":      _PLACES | {"shape": "n4", "axes": "n4"},
    "copy":           _PLACES | {"bytes": "n"},
}
_EXTRA = {"op", "weight_order"}         # what else may stand there; the order of weights follows from the operation


@dataclass(frozen=True)
class Step:
    """An operation of the file, with its tensors. `fields` has every key of its kind; None for what was left out."""

    number: int
    kind: str
    fields: Mapping[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.fields[key]

    @property
    def name(self) -> str:
        """As messages and symbols have it: "ops[12]"."""
        return f"ops[{self.number}]"

    @property
    def reads(self) -> list[tuple[int, int]]:
        """(place in the arena, bytes) of each operand."""
        f = self.fields
        match self.kind:
            case "conv" | "depthwise_conv" | "max_pool" | "mean_pool": sizes = [prod(f["in"])]
            case "linear": sizes = [f["rows"] * f["in"]]
            case "matmul": sizes = [f["batch"] * f["rows"] * f["inner"], f["batch"] * f["inner"] * f["columns"]]
            case "add": sizes = [f["elements"]] * 2
            case "layer_norm": sizes = [f["rows"] * f["channels"]]
            case "softmax": sizes = [f["rows"] * f["columns"]]
            case "transpose": sizes = [prod(f["shape"])]
            case _: sizes = [f["bytes"]]
        places = f["from"] if isinstance(f["from"], list) else [f["from"]]
        return list(zip(places, sizes, strict=True))

    @property
    def written(self) -> int:
        """Bytes of the result."""
        f = self.fields
        match self.kind:
            case "conv" | "depthwise_conv": return int(prod(f["out"]))
            case "max_pool" | "mean_pool": return int(prod(f["out"]) * f["in"][2])
            case "linear": return int(f["rows"] * f["out"])
            case "matmul": return int(f["batch"] * f["rows"] * f["columns"])
            case _: return self.reads[0][1]


@dataclass(frozen=True)
class Network:
    """A network as its files have it."""

    path: Path              # of network.json
    steps: list[Step]
    arena: int              # bytes
    input_at: int
    output_at: int

    @property
    def image(self) -> tuple[int, int, int]:
        """Lines, pixels and channels of an image."""
        first = self.steps[0]
        height, width, channels = first["in"] if first.kind != "linear" else (1, first["rows"], first["in"])
        return height, width, channels


class _Wrong(Exception):
    """What is wrong with a field: got, expected."""


def is_network(path: Path) -> bool:
    """Whether a path names a network: its network.json, or the directory of one."""
    return path.name == NETWORK or (path.is_dir() and (path / NETWORK).is_file())


def read_network(path: Path) -> Network:
    """A network.json, or that of a directory. Raises ModelError with the place of what is wrong, OSError."""
    path = path / NETWORK if path.is_dir() else path
    try:
        data = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(path, "", got=f"no JSON: {error}") from None
    tensors = _tensors(path.parent / TENSORS)
    if not isinstance(data, dict):
        raise ModelError(path, "", got="a list or a value", expected="an object with arena_bytes, input_at, output_at and ops")
    for key in ("arena_bytes", "input_at", "output_at"):
        if not _whole(data.get(key)) or data[key] < 0:
            raise ModelError(path, key, got=_shown(data.get(key)), expected="a number, 0 or more")
    if not isinstance(data.get("ops"), list) or not data["ops"]:
        raise ModelError(path, "ops", got=_shown(data.get("ops")), expected="a list of operations")
    steps = [_step(path, number, one, tensors) for number, one in enumerate(data["ops"])]
    if steps[0].kind not in ("conv", "depthwise_conv", "linear", "max_pool", "mean_pool"):
        raise ModelError(path, "ops[0].op", got=steps[0].kind,
                         expected="an operation whose operand is the image: conv, linear, a pool")
    return Network(path, steps, data["arena_bytes"], data["input_at"], data["output_at"])


def _tensors(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, KeyError, EOFError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ModelError(path, "", got=f"no arrays of NumPy: {error}", expected="an .npz file of np.savez") from None
    except Exception as error:      # zipfile.BadZipFile, zlib.error: what np.load lets through
        raise ModelError(path, "", got=f"no arrays of NumPy: {error}", expected="an .npz file of np.savez") from None


def _step(path: Path, number: int, data: Any, tensors: Mapping[str, Array]) -> Step:
    place = f"ops[{number}]"
    kind = data.get("op") if isinstance(data, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise ModelError(path, f"{place}.op", got=_shown(kind), expected=f"one of {', '.join(KINDS)}",
                         hint=nearest(str(kind), list(KINDS)))
    keys = KINDS[kind]
    for key in data:
        if key not in keys and key not in _EXTRA:
            raise ModelError(path, f"{place}.{key}", got="a key that is none", expected=f"keys of {kind}: {', '.join(keys)}",
                             hint=nearest(key, list(keys)))
    fields = {}
    for key, spec in keys.items():
        try:
            fields[key] = _field(data, key, spec, tensors)
        except _Wrong as wrong:
            raise ModelError(path, f"{place}.{key}", got=wrong.args[0], expected=wrong.args[1]) from None
    step = Step(number, kind, fields)
    for key, got, expected in _problems(step):
        raise ModelError(path, f"{place}.{key}", got=got, expected=expected)
    return step


def _field(data: Mapping[str, Any], key: str, spec: str, tensors: Mapping[str, Array]) -> Any:
    value, optional = data.get(key), spec.endswith("?")
    if value is None:
        if optional:
            return None
        raise _Wrong("missing", "it, for an int8 network has all its scales" if key in ("multiplier", "shift") else "a value")
    match spec.rstrip("?"):
        case "n":
            if not _whole(value):
                raise _Wrong(_shown(value), "a number")
        case "n2" | "n3" | "n4":
            if not isinstance(value, list) or len(value) != int(spec[1]) or not all(map(_whole, value)):
                raise _Wrong(_shown(value), f"{spec[1]} numbers")
        case "b":
            if not isinstance(value, bool):
                raise _Wrong(_shown(value), "true or false")
        case "t":
            return _tensor(value, tensors)
        case "s":
            return np.array([value], np.int64) if _whole(value) else _tensor(value, tensors).astype(np.int64)
        case words:
            if value not in words.split():
                raise _Wrong(_shown(value), " or ".join(words.split()))
    return value


def _tensor(name: Any, tensors: Mapping[str, Array]) -> Array:
    if not isinstance(name, str) or name not in tensors:
        raise _Wrong(_shown(name), f"a tensor of {TENSORS}" + (f": {', '.join(list(tensors)[:4])} ..." if tensors else ""))
    if tensors[name].dtype.kind not in "iu":
        raise _Wrong(f"{name}, of {tensors[name].dtype}", "integers")
    return tensors[name].reshape(-1)


def _problems(step: Step) -> Iterator[tuple[str, str, str]]:
    """(key, got, expected) of what does not fit together."""
    f, kind = step.fields, step.kind
    for key in ("in", "out", "kernel", "stride", "rows", "channels", "columns", "batch", "inner", "elements", "bytes", "shape"):
        for value in ([] if f.get(key) is None else f[key] if isinstance(f[key], list) else [f[key]]):
            if not 0 < value < LARGEST:
                yield key, str(value), f"1..{LARGEST - 1}"
    if "padding" in f and min(np.atleast_1d(f["padding"])) < 0:
        yield "padding", _shown(f["padding"]), "0 or more"
    offsets = [(key, value) for key in ("input_offset", "output_offset", "offset") if key in f
               for value in np.atleast_1d(f[key]).tolist()]
    for key, value in offsets:
        if not -128 <= value <= 128:
            yield key, str(value), "-128..128"
    if kind in ("conv", "depthwise_conv", "max_pool", "mean_pool"):
        yield from _window_problems(step)
    if kind == "transpose" and (f["axes"] != [0, 2, 1, 3] or f["shape"][0] != 1):
        yield "axes", f"{f['axes']} of {f['shape']}", "[0, 2, 1, 3] of [1, ...]: two axes change places"
    if kind == "softmax" and not -255 <= f["least_difference"] <= 0:
        yield "least_difference", str(f["least_difference"]), "-255..0"
    yield from _scale_problems(step)
    if kind in ("conv", "depthwise_conv", "linear"):
        yield from _weight_problems(step)
    if kind == "layer_norm":
        for key in ("weight", "bias"):
            if f[key] is not None and len(f[key]) != f["channels"]:
                yield key, f"{len(f[key])} numbers", f"{f['channels']}, one for each channel"


def _window_problems(step: Step) -> Iterator[tuple[str, str, str]]:
    f = step.fields
    stride, padding = np.broadcast_to(f["stride"], 2).tolist(), np.broadcast_to(f["padding"], 2).tolist()
    for axis in range(2):
        expected = (f["in"][axis] + 2 * padding[axis] - f["kernel"][axis]) // stride[axis] + 1
        if f["out"][axis] != expected:
            yield "out", str(f["out"]), f"{expected} for {'lines' if axis == 0 else 'pixels'}, with this kernel, stride and padding"
    if step.kind == "depthwise_conv" and f["out"][2] != f["in"][2]:
        yield "out", str(f["out"]), f"as many channels as `in` has, {f['in'][2]}"
    if step.kind == "mean_pool" and max(padding):
        yield "padding", _shown(f["padding"]), "0: means over a border are not supported"
    if step.kind in ("conv", "depthwise_conv") and max(padding) and not -127 <= f["input_offset"] <= 128:
        yield "input_offset", str(f["input_offset"]), "-127..128 with padding, whose value is its negative"


def _scale_problems(step: Step) -> Iterator[tuple[str, str, str]]:
    f = step.fields
    outputs = f["out"][2] if step.kind in ("conv", "depthwise_conv") else 1
    for key, least, greatest in (("multiplier", 0, (1 << 31) - 1), ("shift", -31, 30), ("output_multiplier", 0, (1 << 31) - 1),
                                 ("output_shift", -31, 30), ("left_shift", 0, 30)):
        values = np.atleast_1d(f[key]) if f.get(key) is not None else np.zeros(0, np.int64)
        if len(values) and not (least <= values.min() and values.max() <= greatest):
            yield key, f"{values.min()}..{values.max()}", f"{least}..{greatest}"
        if key in ("multiplier", "shift") and isinstance(f.get(key), np.ndarray) and len(values) not in (1, outputs):
            yield key, f"{len(values)} numbers", f"1 or {outputs}, one for each output"
    if isinstance(f.get("multiplier"), np.ndarray) and len(f["multiplier"]) != len(f["shift"]):
        yield "shift", f"{len(f['shift'])} numbers", f"as many as multipliers, {len(f['multiplier'])}"


def _weight_problems(step: Step) -> Iterator[tuple[str, str, str]]:
    f = step.fields
    outputs = f["out"] if step.kind == "linear" else f["out"][2]
    if f["bias"] is not None and len(f["bias"]) != outputs:
        yield "bias", f"{len(f['bias'])} numbers", f"{outputs}, one for each output"
    if f["weight"].dtype != np.int8:
        yield "weight", str(f["weight"].dtype), "int8"
    elif f["block"] is None:
        if len(f["weight"]) != elements(step):
            yield "weight", f"{len(f['weight'])} numbers", f"{elements(step)}; with `block` a stream"
    elif not 1 <= f["block"] <= 255:
        yield "block", str(f["block"]), "1..255"
    else:
        try:
            dense_weights(step)
        except Malformed as error:
            yield "weight", f"a malformed stream: {error}", f"one of {elements(step)} elements with blocks of {f['block']}"


def elements(step: Step) -> int:
    """Weights of a step, zeros among them."""
    f = step.fields
    if step.kind == "linear":
        return int(f["in"] * f["out"])
    return int(prod(f["kernel"]) * f["out"][2] * (f["in"][2] if step.kind == "conv" else 1))


def dense_weights(step: Step) -> npt.NDArray[np.int8]:
    """The weights of a step as the file orders them, int8 (elements,). Raises Malformed."""
    weight = np.ascontiguousarray(step["weight"])
    if step["block"] is None:
        return weight
    layout, ends = sparse.RunLength(step["block"]), np.array([0, len(weight)], np.uint32)
    packed = Packed("i8", 1, elements(step), weight.view(np.uint8), np.zeros(0, np.uint8), ends)
    dense: npt.NDArray[np.int8] = layout.unpack(packed).reshape(-1).astype(np.int8)
    return dense


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 40


def _shown(value: Any) -> str:
    return "missing" if value is None else repr(value)[:60]
