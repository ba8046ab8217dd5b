"""safetensors files: one, or many with an index, as one set of tensors by name. Headers are read, weights are not.

The library checks each header (types, shapes, offsets without gaps, the length of the file); where a tensor lies is then taken
from the header itself, because the library copies what it reads and NumPy has no bfloat16.
Source: safetensors, "Format": uint64 length of the header, JSON, then the bytes of all tensors.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors

from compiler.errors import ModelError, one_of
from compiler.model.tensors import FileRange
from isa.hints import nearest

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class Stored:
    """A tensor in a file: its type by the file's name for it (F32, BF16, U8 ...)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    where: FileRange


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file, in UTF-8, -16 or -32, with a byte order mark or none. Raises ModelError for anything else."""
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelError(path, "", got=f"not JSON: {error}", expected="a JSON object") from None
    if not isinstance(value, dict):
        raise ModelError(path, "", got=f"JSON of type {type(value).__name__}", expected="a JSON object")
    return value


def open_shards(directory: Path) -> dict[str, Stored]:
    """All tensors of a directory by name. Raises ModelError for missing or damaged files, or tensors that the index misplaces."""
    index = directory / INDEX
    if not index.is_file():
        if (directory / SINGLE).is_file():
            return open_file(directory / SINGLE)
        others = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.gguf") for path in directory.glob(pattern))
        raise ModelError(directory, "", got="no model.safetensors" + (f", but {others[0]}" if others else ""),
                         expected=f"{SINGLE}, or {INDEX} and its shards",
                         hint="save the model with save_pretrained(..., safe_serialization=True)" if others else "")
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
        raise ModelError(index, "weight_map", got="missing, or damaged", expected="a map of tensor names to files")
    shards: dict[str, dict[str, Stored]] = {}
    for file in sorted(set(places.values())):
        if Path(file).name != file:
            raise ModelError(index, "weight_map", got=repr(file), expected="the name of a file in the same directory")
        if not (directory / file).is_file():
            raise ModelError(index, "weight_map", got=f"{file} is missing", expected=f"all {len(set(places.values()))} shards",
                             hint="download this file as well")
        shards[file] = open_file(directory / file)
    for name, file in places.items():
        if name not in shards[file]:
            raise ModelError(directory / file, f"tensor {name}", got="missing", expected="in this file, as the index says",
                             hint=nearest(name, shards[file]) or "index and shards are of different models")
    return {name: shards[file][name] for name, file in places.items()}


def open_file(path: Path) -> dict[str, Stored]:
    """All tensors of one file by name. Raises ModelError for a file that is no safetensors file, or not a whole one."""
    try:
        with safetensors.safe_open(str(path), framework="numpy"):
            pass
    except Exception as error:      # the library's own class, and OSError
        size = path.stat().st_size
        raise ModelError(path, "", got=f"{size} bytes that are not a safetensors file: {error}",
                         expected="a whole safetensors file", hint="a truncated download? Download it again") from None
    with path.open("rb") as stream:
        length, = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    return {name: Stored(name, entry["dtype"], tuple(entry["shape"]), FileRange(path, 8 + length + start, end - start))
            for name, entry in header.items() for start, end in (entry["data_offsets"],)}


def refuse_dtype(stored: Stored, expected: tuple[str, ...], hint: str = "") -> ModelError:
    return ModelError(stored.where.file, f"tensor {stored.name}", got=f"type {stored.dtype}", expected=one_of(expected), hint=hint)
