"""Reads int8 networks from TFLite files: each operator becomes one or more steps (steps.py), which the compiler shares with
network.json. docs/tinyformer.md lists the operators; anything else is refused by name.

Every tensor has bytes of its own in an arena that only this file knows. The reference is TFLite's reference kernels, as the package
ai-edge-litert has them: there FULLY_CONNECTED rounds once, all others twice (isa/quantised.py).
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from compiler.errors import ModelError
from compiler.networks import tflite_layers, tflite_moves, tflite_scales
from compiler.networks.steps import LARGEST, Array, Network, Step, problems
from compiler.networks.tflite_file import File, Operator, Tensor, read_file
from compiler.networks.tflite_sparse import dense
from isa.hints import nearest

OPERATORS = {**tflite_layers.OPERATORS, **tflite_moves.OPERATORS}
SCALES = 1e-12, 1e12        # with them no factor leaves the range of fp32
ROUND_ONCE = ("FULLY_CONNECTED",)


def read_tflite(path: Path) -> Network:
    """The network of a file. Raises ModelError with the operator or tensor that is wrong, OSError."""
    return Reader(path, read_file(path)).network()


class Reader:
    """Makes steps of the operators of a file."""

    def __init__(self, path: Path, file: File) -> None:
        self.path, self.file = path, file
        self.steps: list[Step] = []
        self.arena = 0
        self.places: dict[int, int] = {}                # of tensors
        self.constants: dict[int, Array] = {}           # by place
        self.same: dict[int, int] = {}                  # a tensor that is a constant one in another form
        self.operator = Operator(0, "", [], [], {})

    def network(self) -> Network:
        """All operators."""
        for kind, numbers in (("inputs", self.file.inputs), ("outputs", self.file.outputs)):
            if len(numbers) != 1:
                self.wrong(f"{len(numbers)} {kind}", f"one: {'images' if kind == 'inputs' else 'logits'}", kind)
        given, result = self._ends()
        image = self.image(given)
        at = self.place(given)
        for operator in self.file.operators:
            self.operator = operator
            if operator.name not in OPERATORS:
                self.wrong("an operator that is not supported", f"one of {', '.join(OPERATORS)}",
                           hint=nearest(operator.name, list(OPERATORS)))
            if not ((operator.name == "QUANTIZE" and given.number in operator.outputs)
                    or (operator.name == "DEQUANTIZE" and result.number in operator.inputs)):
                OPERATORS[operator.name](self)
        if result.number not in self.places or result.number == given.number:
            self.wrong(f"{result.called} is made by no operator", "logits that are computed", "outputs")
        return Network(self.path, self.steps, self.arena, at, self.places[result.number], image, prod(result.shape),
                       self.constants)

    def _ends(self) -> tuple[Tensor, Tensor]:
        """The int8 image and the int8 logits: behind the first QUANTIZE of a float image, before the last DEQUANTIZE."""
        given, result = self.file.tensors[self.file.inputs[0]], self.file.tensors[self.file.outputs[0]]
        readers = [one for one in self.file.operators if given.number in one.inputs]
        if given.type == "FLOAT32" and len(readers) == 1 and readers[0].name == "QUANTIZE" and len(readers[0].outputs) == 1:
            given = self.file.tensors[readers[0].outputs[0]]
        makers = [one for one in self.file.operators if result.number in one.outputs]
        if result.type == "FLOAT32" and len(makers) == 1 and makers[0].name == "DEQUANTIZE" and len(makers[0].inputs) == 1:
            result = self.file.tensors[makers[0].inputs[0]]
        for tensor, place in ((given, "inputs"), (result, "outputs")):
            self.check(tensor, place)
        return given, result

    def image(self, tensor: Tensor) -> tuple[int, int, int]:
        """Lines, pixels, channels."""
        if not 2 <= len(tensor.shape) <= 4 or tensor.shape[0] != 1:
            self.wrong(f"{tensor.called} of shape {list(tensor.shape)}", "[1, ...] with two to four dimensions: an image at a time",
                       "inputs")
        _, *sides = (1,) * (4 - len(tensor.shape)) + tensor.shape
        height, width, channels = sides
        return height, width, channels

    # ---------------------------------------------------------------------------------------------- what operators use

    def wrong(self, got: str, expected: str, place: str = "", hint: str = "") -> NoReturn:
        """Raise ModelError at the operator, or at another place."""
        raise ModelError(self.path, place or self.operator.called, got=got, expected=expected, hint=hint) from None

    def tensor(self, i: int) -> Tensor:
        """Input i."""
        if not -len(self.operator.inputs) <= i < len(self.operator.inputs) or self.operator.inputs[i] == -1:
            self.wrong(f"no input {i}", "it")
        number = self.operator.inputs[i]
        return self.file.tensors[self.same.get(number, number)]

    def has(self, i: int) -> bool:
        """Whether input i is there."""
        return i < len(self.operator.inputs) and self.operator.inputs[i] != -1

    def result(self) -> Tensor:
        """The only output, int8."""
        if len(self.operator.outputs) != 1:
            self.wrong(f"{len(self.operator.outputs)} outputs", "one")
        return self.check(self.file.tensors[self.operator.outputs[0]])

    def check(self, tensor: Tensor, place: str = "") -> Tensor:
        """An int8 tensor with one scale."""
        if tensor.type != "INT8":
            self.wrong(f"{tensor.called} is {tensor.type}", "INT8: a network whose weights and values are all quantised", place)
        if len(tensor.scales) != 1 or len(tensor.zeros) != 1:
            self.wrong(f"{tensor.called} has {len(tensor.scales) or 'no'} scales", "one scale and one zero point: its quantisation",
                       place)
        self.check_scales(tensor, place)
        if not tensor.shape or min(tensor.shape) < 1 or prod(tensor.shape) > LARGEST:
            self.wrong(f"{tensor.called} of shape {list(tensor.shape)}", f"a shape with 1..{LARGEST} elements", place)
        return tensor

    def check_scales(self, tensor: Tensor, place: str = "") -> None:
        """Scales and zero points that int8 can have."""
        least, greatest = SCALES                # NaN is in no range
        if not np.all((least <= tensor.scales) & (tensor.scales <= greatest)) or np.any(np.abs(tensor.zeros * 2 + 1) > 255):
            self.wrong(f"{tensor.called} has a scale of {tensor.scales[0]} and a zero point of {tensor.zeros[0]}",
                       f"scales {least} to {greatest:.0e}, zero points -128..127", place)

    def activation(self, i: int) -> Tensor:
        """Input i, int8 and computed, or constant and given a place."""
        tensor = self.check(self.tensor(i))
        if tensor.number not in self.places:
            if tensor.data is None:
                self.wrong(f"{tensor.called} is read before it is made", "operators in order")
            values = self.constant(i)
            self.constants[self.place(tensor)] = np.ascontiguousarray(values).reshape(-1)
        return tensor

    def is_constant(self, i: int) -> bool:
        """Whether input i does not depend on the image."""
        return self.tensor(i).data is not None

    def constant(self, i: int, kind: str = "INT8") -> Array:
        """The elements of constant input i, of its shape."""
        tensor = self.tensor(i)
        if tensor.type != kind or tensor.data is None:
            self.wrong(f"{tensor.called}, {tensor.type}, {'computed' if tensor.data is None else 'constant'}", f"a constant {kind}")
        if prod(tensor.shape) > LARGEST or min(tensor.shape, default=1) < 1:
            self.wrong(f"{tensor.called} of shape {list(tensor.shape)}", f"a shape with 1..{LARGEST} elements")
        try:
            return dense(tensor)
        except ValueError as error:
            self.wrong(f"{tensor.called}: {error}", "a tensor of the shape that it says")

    def place(self, tensor: Tensor) -> int:
        """Where a tensor lies in the arena."""
        if tensor.number not in self.places:
            self.places[tensor.number] = self.arena
            self.arena += prod(tensor.shape)
        return self.places[tensor.number]

    def take(self, size: int) -> int:
        """Bytes of the arena for a value that is no tensor."""
        self.arena += size
        return self.arena - size

    def step(self, kind: str, **fields: Any) -> None:
        """Add a step of the operator."""
        step = Step(self.operator.number, kind, fields, self.operator.called, once=self.operator.name in ROUND_ONCE)
        for key, got, expected in problems(step):
            self.wrong(f"{key} {got}", expected)
        self.steps.append(step)

    def option(self, name: str, default: Any = 0) -> Any:
        """An option of the operator."""
        return self.operator.options.get(name, default)

    def clamp(self, y: Tensor) -> list[int]:
        """The bounds of a fused activation."""
        names = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")           # as the schema numbers them
        number = self.option("FusedActivationFunction")
        name = names[number] if 0 <= number < len(names) else str(number)
        if name not in tflite_scales.ACTIVATIONS:
            self.wrong(f"the fused activation {name}", f"one of {', '.join(tflite_scales.ACTIVATIONS)}")
        return tflite_scales.bounds(name, y.scales[0], int(y.zeros[0]))

    def scaled(self, factor: float | list[float]) -> dict[str, Any]:
        """A multiplier and a shift, or one for each output."""
        pairs = [tflite_scales.integer(one) for one in (factor if isinstance(factor, list) else [factor])]
        return {"multiplier": np.array([m for m, _ in pairs], np.int64), "shift": np.array([s for _, s in pairs], np.int64)}

    def same_scale(self, *tensors: Tensor) -> None:
        """Refuse tensors whose bytes mean different numbers."""
        for one in tensors[1:]:
            if one.scales[0] != tensors[0].scales[0] or one.zeros[0] != tensors[0].zeros[0]:
                self.wrong(f"{tensors[0].called} and {one.called} have different scales", "the same scale and zero point")
