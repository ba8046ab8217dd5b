"""Writes TFLite files with the builders of flatbuffers: what the tests give the frontend and, where it is, the oracle.

    file = Model()
    x = file.tensor((1, 4, 4, 3), scale=0.05, zero=3)
    y = file.tensor((1, 4, 4, 8), scale=0.1, zero=-5)
    w = file.tensor((8, 1, 1, 3), weights, scale=[0.01] * 8, axis=0)
    b = file.tensor((8,), bias)
    file.op("CONV_2D", [x, w, b], [y], "Conv2DOptions", StrideH=1, StrideW=1)
    file.save(path, [x], [y])
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tflite")
pytest.importorskip("flatbuffers")

import flatbuffers
import tflite

_TYPES = {"int8": "INT8", "int32": "INT32", "float32": "FLOAT32", "int16": "INT16", "uint8": "UINT8", "int64": "INT64"}


class Model:
    """Tensors and operators of one subgraph, in order."""

    def __init__(self) -> None:
        self.tensors: list[dict[str, Any]] = []
        self.ops: list[tuple[str, list[int], list[int], str, dict[str, Any]]] = []

    def tensor(self, shape, data=None, scale=None, zero=0, axis=0, dtype="int8", sparsity=None, signature=None) -> int:
        """A tensor; with data a constant one. `sparsity`: traversal order, block map, then for each dimension its dense size or
        (segments, indices); `data` are then the values that are stored."""
        data = None if data is None else np.ascontiguousarray(data)
        self.tensors.append({"shape": shape, "data": data, "scale": scale, "zero": zero, "axis": axis,
                             "type": str(data.dtype) if data is not None else dtype, "sparsity": sparsity, "signature": signature})
        return len(self.tensors) - 1

    def op(self, name: str, inputs: list[int], outputs: list[int], options: str = "", **fields: Any) -> None:
        """An operator; fields of its options by their names in the schema."""
        self.ops.append((name, inputs, outputs, options, fields))

    def save(self, path: Path, inputs: list[int], outputs: list[int]) -> Path:
        """The file."""
        path.write_bytes(self.bytes(inputs, outputs))
        return path

    def bytes(self, inputs: list[int], outputs: list[int]) -> bytes:
        """The content of the file."""
        b = self.b = flatbuffers.Builder(1024)
        buffers = [b""] + [b"" if one["data"] is None else one["data"].tobytes() for one in self.tensors]
        of_buffers = []
        for content in buffers:
            data = b.CreateByteVector(content) if content else 0
            tflite.BufferStart(b)
            if content:
                tflite.BufferAddData(b, data)
            of_buffers.append(tflite.BufferEnd(b))
        tensors = [self._tensor(number, one) for number, one in enumerate(self.tensors)]
        names = list(dict.fromkeys(name for name, *_ in self.ops))
        codes = [self._code(name) for name in names]
        ops = [self._op(names.index(name), *rest) for name, *rest in self.ops]
        parts = [self._offsets(tensors), self._ints(inputs), self._ints(outputs), self._offsets(ops)]
        tflite.SubGraphStart(b)
        for add, part in zip((tflite.SubGraphAddTensors, tflite.SubGraphAddInputs, tflite.SubGraphAddOutputs,
                              tflite.SubGraphAddOperators), parts, strict=True):
            add(b, part)
        graphs = self._offsets([tflite.SubGraphEnd(b)])
        codes, of_buffers = self._offsets(codes), self._offsets(of_buffers)
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, 3)
        tflite.ModelAddOperatorCodes(b, codes)
        tflite.ModelAddSubgraphs(b, graphs)
        tflite.ModelAddBuffers(b, of_buffers)
        b.Finish(tflite.ModelEnd(b), b"TFL3")
        return bytes(b.Output())

    def _ints(self, values: Any, dtype: str = "i4") -> int:
        return self.b.CreateNumpyVector(np.asarray(values, dtype))

    def _offsets(self, values: list[int]) -> int:
        self.b.StartVector(4, len(values), 4)
        for one in reversed(values):
            self.b.PrependUOffsetTRelative(one)
        return self.b.EndVector()

    def _tensor(self, number: int, one: dict[str, Any]) -> int:
        b, quantization = self.b, 0
        name, shape = b.CreateString(f"tensor_{number}"), self._ints(one["shape"])
        signature = self._ints(one["signature"]) if one["signature"] else 0
        if one["scale"] is not None:
            scales = np.atleast_1d(np.asarray(one["scale"], "f4"))
            scale, zero = self._ints(scales, "f4"), self._ints(np.broadcast_to(one["zero"], scales.shape), "i8")
            tflite.QuantizationParametersStart(b)
            tflite.QuantizationParametersAddScale(b, scale)
            tflite.QuantizationParametersAddZeroPoint(b, zero)
            tflite.QuantizationParametersAddQuantizedDimension(b, one["axis"])
            quantization = tflite.QuantizationParametersEnd(b)
        sparsity = self._sparsity(*one["sparsity"]) if one["sparsity"] else 0
        tflite.TensorStart(b)
        tflite.TensorAddShape(b, shape)
        tflite.TensorAddType(b, getattr(tflite.TensorType, _TYPES[one["type"]]))
        tflite.TensorAddBuffer(b, number + 1)
        tflite.TensorAddName(b, name)
        for add, part in ((tflite.TensorAddQuantization, quantization), (tflite.TensorAddSparsity, sparsity),
                          (tflite.TensorAddShapeSignature, signature)):
            if part:
                add(b, part)
        return tflite.TensorEnd(b)

    def _sparsity(self, order: list[int], block_map: list[int], dimensions: list[Any]) -> int:
        b, made = self.b, []
        for one in dimensions:
            if isinstance(one, int):
                tflite.DimensionMetadataStart(b)
                tflite.DimensionMetadataAddDenseSize(b, one)
            else:
                vectors = []
                for values in one:
                    wide = np.asarray(values)
                    kind = {1: "Uint8Vector", 2: "Uint16Vector"}.get(wide.dtype.itemsize, "Int32Vector")
                    data = self.b.CreateNumpyVector(wide)
                    getattr(tflite, f"{kind}Start")(b)
                    getattr(tflite, f"{kind}AddValues")(b, data)
                    vectors.append((getattr(tflite.SparseIndexVector, kind), getattr(tflite, f"{kind}End")(b)))
                tflite.DimensionMetadataStart(b)
                tflite.DimensionMetadataAddFormat(b, tflite.DimensionType.SPARSE_CSR)
                tflite.DimensionMetadataAddArraySegmentsType(b, vectors[0][0])
                tflite.DimensionMetadataAddArraySegments(b, vectors[0][1])
                tflite.DimensionMetadataAddArrayIndicesType(b, vectors[1][0])
                tflite.DimensionMetadataAddArrayIndices(b, vectors[1][1])
            made.append(tflite.DimensionMetadataEnd(b))
        traversal, blocks, metadata = self._ints(order), self._ints(block_map), self._offsets(made)
        tflite.SparsityParametersStart(b)
        tflite.SparsityParametersAddTraversalOrder(b, traversal)
        tflite.SparsityParametersAddBlockMap(b, blocks)
        tflite.SparsityParametersAddDimMetadata(b, metadata)
        return tflite.SparsityParametersEnd(b)

    def _code(self, name: str) -> int:
        code = getattr(tflite.BuiltinOperator, name)
        tflite.OperatorCodeStart(self.b)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(self.b, min(code, 127))
        tflite.OperatorCodeAddBuiltinCode(self.b, code)
        tflite.OperatorCodeAddVersion(self.b, 1)
        return tflite.OperatorCodeEnd(self.b)

    def _op(self, code: int, inputs: list[int], outputs: list[int], options: str, fields: dict[str, Any]) -> int:
        b, made = self.b, 0
        vectors = {name: self._ints(value) for name, value in fields.items() if isinstance(value, list)}
        if options:
            getattr(tflite, f"{options}Start")(b)
            for name, value in fields.items():
                getattr(tflite, f"{options}Add{name}")(b, vectors.get(name, value))
            made = getattr(tflite, f"{options}End")(b)
        reads, writes = self._ints(inputs), self._ints(outputs)
        tflite.OperatorStart(b)
        tflite.OperatorAddOpcodeIndex(b, code)
        tflite.OperatorAddInputs(b, reads)
        tflite.OperatorAddOutputs(b, writes)
        if options:
            tflite.OperatorAddBuiltinOptionsType(b, getattr(tflite.BuiltinOptions, options))
            tflite.OperatorAddBuiltinOptions(b, made)
        return tflite.OperatorEnd(b)
