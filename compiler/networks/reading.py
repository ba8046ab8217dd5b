"""Reads a network: `network.json`, and beside it `model.npz` with the tensors that it names. docs/tinyformer.md has the format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compiler.errors import ModelError
from compiler.networks.steps import Array, Network, Step, problems, shown
from isa.hints import nearest

NETWORK, TENSORS, TFLITE = "network.json", "model.npz", ".tflite"

# What a step has. n: a number; n2, n3, n4: a list of so many; n12, n124: a number, or a list of 2, of 2 or 4; t: a tensor's name;
# s: a number or a tensor's name; b: true or false; ?: or null, or left out; words: one of them.
_RESULT = {"input_offset": "n", "output_offset": "n", "multiplier": "s", "shift": "s"}
_PLACES = {"from": "n", "to": "n"}
_WEIGHTS = {"weight": "t", "bias": "t?", "clamp": "n2?", "block": "n?"}
KINDS: dict[str, dict[str, str]] = {
    "conv":           _PLACES | _RESULT | _WEIGHTS | {"layout": "hwc chw", "in": "n3", "out": "n3", "kernel": "n2", "stride": "n12",
                                                      "padding": "n124"},
    "depthwise_conv": _PLACES | _RESULT | _WEIGHTS | {"layout": "hwc chw", "in": "n3", "out": "n3", "kernel": "n2", "stride": "n12",
                                                      "padding": "n124"},
    "linear":         _PLACES | _RESULT | _WEIGHTS | {"layout": "row-major channel-major", "rows": "n", "in": "n", "out": "n"},
    "matmul":         {"from": "n2", "to": "n", "batch": "n", "rows": "n", "inner": "n", "columns": "n", "transposed_right": "b",
                       "offset": "n2", "output_offset": "n", "multiplier": "n", "shift": "n"},
    "max_pool":       _PLACES | _RESULT | {"in": "n3", "out": "n2", "kernel": "n2", "stride": "n12", "padding": "n124"},
    "mean_pool":      _PLACES | _RESULT | {"in": "n3", "out": "n2", "kernel": "n2", "stride": "n12", "padding": "n124"},
    "add":            {"from": "n2", "to": "n", "elements": "n", "offset": "n2", "multiplier": "n2", "shift": "n2",
                       "output_offset": "n", "output_multiplier": "n", "output_shift": "n", "left_shift": "n?", "clamp": "n2?"},
    "layer_norm":     _PLACES | _RESULT | {"rows": "n", "channels": "n", "weight": "t", "bias": "t?"},
    "softmax":        _PLACES | {"rows": "n", "columns": "n", "multiplier": "n", "shift": "n", "least_difference": "n"},
    "transpose":      _PLACES | {"shape": "n4", "axes": "n4"},
    "copy":           _PLACES | {"bytes": "n"},
}
KEYS = ("arena_bytes", "input_at", "output_at", "ops")
_EXTRA = {"op", "weight_order"}         # what else may stand there; the order of weights follows from the operation


class _Wrong(Exception):
    """What is wrong with a field: got, expected."""


def is_network(path: Path) -> bool:
    """Whether a path names a network: its network.json, the directory of one, a TFLite file."""
    return path.name == NETWORK or path.suffix == TFLITE or (path.is_dir() and (path / NETWORK).is_file())


def read_network(path: Path) -> Network:
    """A network.json, that of a directory, or a TFLite file. Raises ModelError with the place of what is wrong, OSError."""
    if path.suffix == TFLITE and not path.is_dir():
        from compiler.networks.tflite import read_tflite
        return read_tflite(path)
    if path.is_dir() and not is_network(path):
        raise ModelError(path, "", got=f"a directory without {NETWORK}", expected="a network",
                         hint="slimulator generate runs language models" if (path / "config.json").is_file() else "")
    path = path / NETWORK if path.is_dir() else path
    try:
        data = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(path, "", got=f"no JSON: {error}", expected=f"a {NETWORK}, its directory, or a {TFLITE} file") from None
    tensors = _tensors(path.parent / TENSORS)
    if not isinstance(data, dict):
        raise ModelError(path, "", got="a list or a value", expected="an object with arena_bytes, input_at, output_at and ops")
    for key in data:
        if key not in KEYS:
            raise ModelError(path, key, got="a key that is none", expected=f"one of {', '.join(KEYS)}", hint=nearest(key, KEYS))
    for key in ("arena_bytes", "input_at", "output_at"):
        if not _whole(data.get(key)) or data[key] < 0:
            raise ModelError(path, key, got=shown(data.get(key)), expected="a number, 0 or more")
    if not isinstance(data.get("ops"), list) or not data["ops"]:
        raise ModelError(path, "ops", got=shown(data.get("ops")), expected="a list of operations")
    steps = [_step(path, number, one, tensors) for number, one in enumerate(data["ops"])]
    if steps[0].kind not in ("conv", "depthwise_conv", "linear", "max_pool", "mean_pool"):
        raise ModelError(path, "ops[0].op", got=steps[0].kind,
                         expected="an operation whose operand is the image: conv, linear, a pool")
    first = steps[0]
    height, width, channels = first["in"] if first.kind != "linear" else (1, first["rows"], first["in"])
    return Network(path, steps, data["arena_bytes"], data["input_at"], data["output_at"], (height, width, channels),
                   steps[-1].written)


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
        raise ModelError(path, f"{place}.op", got=shown(kind), expected=f"one of {', '.join(KINDS)}",
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
    for key, got, expected in problems(step):
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
                raise _Wrong(shown(value), "a number")
        case "n12" | "n124":
            sizes = [int(digit) for digit in spec[2:]]
            if not _whole(value) and not (isinstance(value, list) and len(value) in sizes and all(map(_whole, value))):
                raise _Wrong(shown(value), f"a number, or {' or '.join(map(str, sizes))}")
        case "n2" | "n3" | "n4":
            if not isinstance(value, list) or len(value) != int(spec[1]) or not all(map(_whole, value)):
                raise _Wrong(shown(value), f"{spec[1]} numbers")
        case "b":
            if not isinstance(value, bool):
                raise _Wrong(shown(value), "true or false")
        case "t":
            return _tensor(value, tensors)
        case "s":
            return np.array([value], np.int64) if _whole(value) else _tensor(value, tensors).astype(np.int64)
        case words:
            if value not in words.split():
                raise _Wrong(shown(value), " or ".join(words.split()))
    return value


def _tensor(name: Any, tensors: Mapping[str, Array]) -> Array:
    if not isinstance(name, str) or name not in tensors:
        raise _Wrong(shown(name), f"a tensor of {TENSORS}" + (f": {', '.join(list(tensors)[:4])} ..." if tensors else ""))
    if tensors[name].dtype.kind not in "iu":
        raise _Wrong(f"{name}, of {tensors[name].dtype}", "integers")
    return tensors[name].reshape(-1)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 40
