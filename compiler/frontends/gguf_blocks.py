"""GGUF's block formats: how a row is cut into blocks of values with common scales, and which of them are codes times a scale.

The library gguf dequantises every format, but gives no codes: these are unpacked here. Q4_K has no codes, for its blocks have an
offset besides the scale. I2_S is a type of Microsoft's that the library does not know: ternary codes with one scale behind them.
Source: ggml, ggml-common.h (block_q4_0 ... block_tq2_0) and ggml-quants.c; BitNet, src/ggml-bitnet-mad.cpp (quantize_i2_s, x86).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

from compiler.errors import ModelError
from compiler.formats.weight_format import WEIGHT_FORMATS, narrowest
from compiler.model.tensors import F32, TERNARY, Bytes, Codes, FileRange, FileTensor, Tensor

I8 = npt.NDArray[np.int8]


def _f16(data: Bytes) -> F32:
    """Two bytes of each block as fp32: (blocks, 2) -> (blocks, 1)."""
    return np.ascontiguousarray(data).view("<f2").astype(np.float32)


def _fields(data: Bytes, shifts: tuple[int, ...], width: int) -> Bytes:
    """Bit fields of bytes, one shift after the other: (..., n) -> (..., shifts * n)."""
    parts = [data >> np.uint8(shift) & np.uint8((1 << width) - 1) for shift in shifts]
    return np.concatenate(parts, axis=-1)


def _q8_0(blocks: Bytes) -> tuple[I8, F32]:
    """d: f16, 32 int8."""
    return np.ascontiguousarray(blocks[:, 2:]).view(np.int8), _f16(blocks[:, :2])


def _q4_0(blocks: Bytes) -> tuple[I8, F32]:
    """d: f16, 16 bytes whose low halves are values 0..15, whose high halves 16..31; each minus 8."""
    return _fields(blocks[:, 2:], (0, 4), 4).astype(np.int8) - np.int8(8), _f16(blocks[:, :2])


def _q6_k(blocks: Bytes) -> tuple[I8, F32]:
    """128 bytes of low 4 bits, 64 of high 2 bits, 16 int8 scales, d: f16. In two halves of 128 values; each minus 32."""
    low = _fields(blocks[:, :128].reshape(-1, 2, 64), (0, 4), 4)               # (blocks, 2, 128)
    high = _fields(blocks[:, 128:192].reshape(-1, 2, 32), (0, 2, 4, 6), 2)
    values = (low | high << np.uint8(4)).astype(np.int8) - np.int8(32)
    scales = _f16(blocks[:, 208:]) * np.ascontiguousarray(blocks[:, 192:208]).view(np.int8).astype(np.float32)
    return values.reshape(-1, 256), scales


def _tq2_0(blocks: Bytes) -> tuple[I8, F32]:
    """64 bytes, d: f16. Of each 32 bytes the lowest two bits are values 0..31, the next 32..63 ...; each minus 1."""
    values = _fields(blocks[:, :64].reshape(-1, 2, 32), (0, 2, 4, 6), 2).astype(np.int8) - np.int8(1)
    return values.reshape(-1, 256), _f16(blocks[:, 64:])


def _tq1_0(blocks: Bytes) -> tuple[I8, F32]:
    """48 bytes of five base-3 digits, 4 bytes of four, d: f16. A byte is its digits as a fraction of 256, rounded up.

    Digit i of a byte is the upper byte of 3 * (byte * 3**i mod 256). Of the first 32 bytes come all first digits, then all second
    ones ..., then the same of the next 16, then of the last 4.
    """
    def digits(data: Bytes, count: int) -> Bytes:
        fractions = np.concatenate([data * np.uint8(3**i) for i in range(count)], axis=1).astype(np.uint16)
        return (fractions * np.uint16(3) >> np.uint16(8)).astype(np.uint8)

    values = np.concatenate([digits(blocks[:, :32], 5), digits(blocks[:, 32:48], 5), digits(blocks[:, 48:52], 4)], axis=1)
    return values.astype(np.int8) - np.int8(1), _f16(blocks[:, 52:])


@dataclass(frozen=True)
class Block:
    """A format: values that share a scale, the values of its codes, and (blocks, bytes) -> codes, scales; None: no codes."""

    group: int = 0
    levels: tuple[int, ...] = ()
    unpack: Callable[[Bytes], tuple[I8, F32]] | None = None


_Type = GGMLQuantizationType

FORMATS: dict[GGMLQuantizationType, Block] = {
    _Type.F32:   Block(),
    _Type.F16:   Block(),
    _Type.BF16:  Block(),
    _Type.Q8_0:  Block(32, tuple(range(-128, 128)), _q8_0),
    _Type.Q4_0:  Block(32, tuple(range(-8, 8)), _q4_0),
    _Type.Q4_K:  Block(),
    _Type.Q6_K:  Block(16, tuple(range(-32, 32)), _q6_k),
    _Type.TQ1_0: Block(256, TERNARY, _tq1_0),
    _Type.TQ2_0: Block(256, TERNARY, _tq2_0),
}


FOREIGN = {4: "Q4_2", 5: "Q4_3", 31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8", 36: "I2_S", 37: "I8_S", 38: "TL1"}
"""Types that the library has no name for: of older files, and Microsoft's."""
I2_S, I2_S_COLUMNS, I2_S_TAIL = 36, 128, 32     # its number, columns of a block, bytes behind the codes that begin with the scale


def type_name(number: int) -> str:
    """The name of a type, such as Q4_K; its number if the name is not known."""
    try:
        return GGMLQuantizationType(number).name
    except ValueError:
        return FOREIGN.get(number, str(number))


def row_bytes(kind: GGMLQuantizationType, cols: int) -> int | None:
    """Bytes of a row of `cols` values; None if that is not a whole number of blocks."""
    values, size = GGML_QUANT_SIZES[kind]
    return cols // values * size if cols % values == 0 else None


def i2_s_bytes(shape: tuple[int, ...]) -> int | None:
    """Bytes of a tensor in I2_S; None if its rows are not whole blocks."""
    return math.prod(shape) // 4 + I2_S_TAIL if shape[-1] % I2_S_COLUMNS == 0 else None


def block_tensor(name: str, shape: tuple[int, ...], kind: GGMLQuantizationType, where: FileRange) -> BlockTensor:
    """A tensor of a format in FORMATS. A program stores codes as such, floats as they are, and what has an offset as f32."""
    block = FORMATS[kind]
    form = narrowest(block.levels) if block.levels else WEIGHT_FORMATS.get(kind.name.lower(), WEIGHT_FORMATS["f32"])
    return BlockTensor(name, shape, form, block.group, kind=kind, where=where)


@dataclass(frozen=True, kw_only=True)
class BlockTensor(FileTensor):
    """Row-major blocks of a format in FORMATS."""

    kind: GGMLQuantizationType

    @property
    def levels(self) -> tuple[int, ...]:
        return FORMATS[self.kind].levels

    def _read(self, first: int, last: int) -> Bytes:
        size = self.where.size // self.matrix[0]
        return self.where.read(first * size, (last - first) * size).reshape(last - first, size)

    def _rows(self, first: int, last: int) -> F32:
        values: F32 = dequantize(np.asarray(self._read(first, last)), self.kind)
        return values.astype(np.float32, copy=False).reshape(last - first, -1)

    def _codes(self, first: int, last: int) -> Codes:
        block = FORMATS[self.kind]
        assert block.unpack is not None
        data = self._read(first, last)
        values, scales = block.unpack(np.asarray(data).reshape(-1, GGML_QUANT_SIZES[self.kind][1]))
        rows, cols = last - first, self.matrix[1]
        values, scales = values.reshape(rows, cols), scales.reshape(rows, cols // block.group)
        if self.levels == TERNARY:
            _refuse_threes(self, values, first)
        return Codes(values, scales, block.group)


@dataclass(frozen=True, kw_only=True)
class I2STensor(FileTensor):
    """Microsoft's I2_S: blocks of 128 columns in 32 bytes, then one fp32 scale for the whole tensor, padded to 32 bytes.

    The upper two bits of byte i are column i, the next lower ones column 32 + i, then 64 + i, 96 + i; each minus 1.
    """

    @cached_property
    def _scale(self) -> F32:
        scale: F32 = self.where.read(self.where.size - I2_S_TAIL, 4).view("<f4").astype(np.float32).reshape(1, 1)
        return scale

    def _codes(self, first: int, last: int) -> Codes:
        cols = self.matrix[1]
        blocks = self.where.read(first * cols // 4, (last - first) * cols // 4).reshape(-1, I2_S_COLUMNS // 4)
        values = _fields(blocks, (6, 4, 2, 0), 2).astype(np.int8).reshape(-1, cols) - np.int8(1)
        _refuse_threes(self, values, first)
        return Codes(values, self._scale, cols)


def _refuse_threes(tensor: Tensor, values: I8, first: int) -> None:
    """Raise ModelError for a code that no ternary tensor has. `values` are its rows from `first` on."""
    if (values > 1).any():
        row, col = np.argwhere(values > 1)[0]
        raise ModelError(tensor.file, f"tensor {tensor.name}", got=f"code 3 at [{first + row}, {col}]", expected="0, 1 or 2",
                         hint="the weights are damaged")
