"""Tensors in memory, named as people write them: "f32[4,16]" is four rows of sixteen fp32 values (isa/shapes.py)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from isa.hints import nearest
from isa.numbers import FORMATS
from isa.shapes import PLAIN, Shape, parse_shape
from isa.shapes import TensorError as TensorError
from isa.traps import Trap

if TYPE_CHECKING:
    from isa.engine.state import State

NAMES = (*PLAIN, *(name for name in FORMATS if name not in PLAIN))


def parse_tensor(text: str) -> tuple[str, tuple[int, ...]]:
    """(format name, shape) of "f32[4,16]"; the shape of "u64", without brackets, is (). Raises TensorError."""
    parsed = parse_shape(text)
    name, shape = parsed.form, list[int]()
    if name not in NAMES:
        raise TensorError(f"{text!r}: unknown format {name!r}; {nearest(name, NAMES) or 'formats are ' + ', '.join(NAMES)}")
    for part in parsed.dims:
        try:
            shape.append(int(part, 0))
        except ValueError:
            raise TensorError(f"{text!r}: {part!r} is not a number of elements; "
                              f"expected e.g. {name}[16] or {name}[4,16]") from None
        if shape[-1] < 1:
            raise TensorError(f"{text!r}: {shape[-1]} elements; expected 1 or more")
    return name, tuple(shape)


def tensor_bytes(name: str, shape: tuple[int, ...]) -> int:
    """Bytes of memory that a tensor covers."""
    return Shape(name, tuple(map(str, shape))).size({})


def read_tensor(machine: State, address: int, text: str) -> npt.NDArray[Any]:
    """The tensor at `address`, in the shape that `text` gives. Counts nothing.

    Plain types are a view of the machine's memory, read-only in flash; formats that must be decoded (bf16, i4, t2 ...) are
    a copy, in the type that their `unpack` returns. Raises TensorError, also for a tensor that lies in no region.
    """
    name, shape = parse_tensor(text)
    size = tensor_bytes(name, shape)
    try:
        data = machine.peek(address, size)
    except Trap as trap:
        raise TensorError(f"{text.strip()} at {address:#x}: {trap.detail}") from None
    if name in PLAIN:
        return data.view(f"<{name[0]}{PLAIN[name]}").reshape(shape)
    *rows, cols = shape or (1,)
    return FORMATS[name].unpack(data.reshape(math.prod(rows), -1), cols).reshape(shape)
