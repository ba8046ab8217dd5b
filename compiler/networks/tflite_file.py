"""A TFLite file as plain tensors and operators. What operators mean stands in tflite.py; here the file is only read.

The format is TFLite's schema (schema.fbs), which the package tflite has as classes of flatbuffers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from compiler.errors import ModelError
from compiler.networks.steps import Array
from isa.files import opened

IDENTIFIER = b"TFL3"

# The fields of the options that are read.
_WINDOWS = "Padding StrideW StrideH FusedActivationFunction"
_OPTIONS = {
    "Conv2DOptions": f"{_WINDOWS} DilationWFactor DilationHFactor",
    "DepthwiseConv2DOptions": f"{_WINDOWS} DilationWFactor DilationHFactor",
    "Pool2DOptions": f"{_WINDOWS} FilterWidth FilterHeight",
    "FullyConnectedOptions": "FusedActivationFunction WeightsFormat",
    "AddOptions": "FusedActivationFunction", "SubOptions": "FusedActivationFunction", "MulOptions": "FusedActivationFunction",
    "ConcatenationOptions": "Axis FusedActivationFunction",
    "SoftmaxOptions": "Beta",
    "BatchMatMulOptions": "AdjX AdjY",
    "StridedSliceOptions": "BeginMask EndMask EllipsisMask NewAxisMask ShrinkAxisMask Offset",
    "SplitOptions": "NumSplits",
}


@dataclass(frozen=True)
class Level:
    """A dimension of a sparse tensor: dense, of so many, or which indices each position of the level above has."""

    size: int
    segments: npt.NDArray[np.int64] | None = None
    indices: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Sparsity:
    """SparsityParameters: the dimensions in the order in which they are stored, blocks behind the others."""

    order: list[int]            # dimension of each level; the first block dimension has the number behind the last of the tensor
    blocks: list[int]           # which dimension of the tensor each block dimension divides
    levels: list[Level]


@dataclass(frozen=True)
class Tensor:
    """A tensor. `data` are the elements of a constant one as they are stored, flat; None: it is computed."""

    number: int
    name: str
    shape: tuple[int, ...]
    type: str                   # "INT8"
    scales: npt.NDArray[np.float32]         # none, one, or one for each index of dimension `axis`
    zeros: npt.NDArray[np.int64]
    axis: int
    data: Array | None
    sparsity: Sparsity | None

    @property
    def called(self) -> str:
        """As messages have it."""
        return f"tensor {self.number} ({self.name})"


@dataclass(frozen=True)
class Operator:
    """An operator: tensors by number, -1 for one that is left out; options by their names in the schema."""

    number: int
    name: str                   # "CONV_2D"
    inputs: list[int]
    outputs: list[int]
    options: dict[str, Any]

    @property
    def called(self) -> str:
        """As messages have it."""
        return f"operator {self.number} ({self.name})"


@dataclass(frozen=True)
class File:
    """The one subgraph of a file."""

    tensors: list[Tensor]
    operators: list[Operator]
    inputs: list[int]
    outputs: list[int]


def read_file(path: Path) -> File:
    """Raises ModelError for what is no TFLite file, a damaged one, one with several subgraphs; OSError."""
    with opened(path) as file:
        content = file.read()
    if content[4:8] != IDENTIFIER:
        raise ModelError(path, "", got="no TFLite file", expected="the letters TFL3 behind its first 4 bytes")
    try:
        import tflite
    except ImportError:
        raise ModelError(path, "", got="a TFLite file, which the package tflite reads: it is missing",
                         hint="pip install 'slimulator[tflite]'") from None
    try:
        model = tflite.Model.GetRootAs(content, 0)
        if model.SubgraphsLength() == 1:
            return _subgraph(tflite, model, model.Subgraphs(0))
    except (struct.error, IndexError, KeyError, ValueError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        # What flatbuffers and NumPy raise where an offset or a length is wrong.
        raise ModelError(path, "", got=f"a damaged TFLite file: {error}", expected="one as the converter writes it") from None
    raise ModelError(path, "", got=f"{model.SubgraphsLength()} subgraphs", expected="one: no loops, branches or functions")


def _subgraph(tflite: Any, model: Any, graph: Any) -> File:
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    names = _names(tflite.BuiltinOperator)
    called = [names.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "UNKNOWN") for code in codes]
    called = [f"CUSTOM {code.CustomCode().decode()}" if name == "CUSTOM" else name
              for name, code in zip(called, codes, strict=True)]
    tensors = [_tensor(tflite, model, i, graph.Tensors(i)) for i in range(graph.TensorsLength())]
    operators = [_operator(tflite, called, i, graph.Operators(i)) for i in range(graph.OperatorsLength())]
    file = File(tensors, operators, _ints(graph.InputsAsNumpy()), _ints(graph.OutputsAsNumpy()))
    for number in (*file.inputs, *file.outputs, *(i for one in operators for i in (*one.inputs, *one.outputs) if i != -1)):
        if not 0 <= number < len(tensors):
            raise ValueError(f"no tensor {number}")
    return file


def _names(enum: Any) -> dict[int, str]:
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}


def _ints(values: Any) -> list[int]:
    """A vector, which is the number 0 where it is missing."""
    return [] if isinstance(values, int) else [int(value) for value in values]


_DTYPES = {"INT8": "<i1", "UINT8": "<u1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8", "FLOAT32": "<f4"}


def _tensor(tflite: Any, model: Any, number: int, tensor: Any) -> Tensor:
    kind, quantization, sparsity = _names(tflite.TensorType)[tensor.Type()], tensor.Quantization(), tensor.Sparsity()
    scales, zeros = np.zeros(0, np.float32), np.zeros(0, np.int64)
    if quantization is not None and quantization.ScaleLength():
        scales = quantization.ScaleAsNumpy().astype(np.float32)
        zeros = np.array(_ints(quantization.ZeroPointAsNumpy()) or [0] * len(scales), np.int64)
    buffer, data = model.Buffers(tensor.Buffer()), None
    if buffer.DataLength():
        data = np.frombuffer(buffer.DataAsNumpy().tobytes(), _DTYPES.get(kind, "<u1"))
    return Tensor(number, tensor.Name().decode() if tensor.Name() else "", tuple(_ints(tensor.ShapeAsNumpy())), kind, scales, zeros,
                  quantization.QuantizedDimension() if quantization is not None else 0, data,
                  None if sparsity is None else _sparsity(tflite, sparsity))


def _sparsity(tflite: Any, given: Any) -> Sparsity:
    levels = []
    for i in range(given.DimMetadataLength()):
        one = given.DimMetadata(i)
        if one.Format() == tflite.DimensionType.DENSE:
            levels.append(Level(one.DenseSize()))
        else:
            segments, indices = (_vector(tflite, getattr(one, f"Array{part}Type")(), getattr(one, f"Array{part}")())
                                 for part in ("Segments", "Indices"))
            levels.append(Level(0, segments, indices))
    return Sparsity(_ints(given.TraversalOrderAsNumpy()), _ints(given.BlockMapAsNumpy()), levels)


def _vector(tflite: Any, kind: int, table: Any) -> npt.NDArray[np.int64]:
    vector = getattr(tflite, _names(tflite.SparseIndexVector)[kind])()
    vector.Init(table.Bytes, table.Pos)
    return np.array(_ints(vector.ValuesAsNumpy()), np.int64)


def _operator(tflite: Any, called: list[str], number: int, operator: Any) -> Operator:
    kind, table, options = _names(tflite.BuiltinOptions)[operator.BuiltinOptionsType()], operator.BuiltinOptions(), {}
    if kind in _OPTIONS and table is not None:
        fields = getattr(tflite, kind)()
        fields.Init(table.Bytes, table.Pos)
        options = {name: getattr(fields, name)() for name in _OPTIONS[kind].split() if hasattr(fields, name)}
    reads, writes = _ints(operator.InputsAsNumpy()), _ints(operator.OutputsAsNumpy())
    return Operator(number, called[operator.OpcodeIndex()], reads, writes, options)
