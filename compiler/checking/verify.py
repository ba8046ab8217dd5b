"""Verification: the program on the emulator against the graph executor, operation by operation, bit by bit.

    first_difference(compiled, program, tokens) -> Difference or None

The executor computes with the machine's arithmetic (compiler/graph) and uses neither lowering nor emulator. The program stops
behind each operation (at its mark), and what the operation has written to memory is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compiler.compile import Compiled
from compiler.graph import EXACT, Executor, Op
from compiler.lowering.emit import BASE
from compiler.lowering.program import mark
from emulator.machine import Machine
from isa.program import Program
from isa.reference import ReferenceMachine
from isa.registers import ABI_NAMES
from isa.services import Host

DTYPE = {"f32": "<f4", "f16": "<u2", "i32": "<i4", "i8": "i1", "index": "<u4"}


@dataclass(frozen=True)
class Difference:
    """The first element that differs: its token, layer, operation and value, both numbers, and how many elements differ.

    row  of a product with a matrix: (number of the wrong row, number of rows), among the rows that the product works on
    """

    token: int
    layer: int | None
    op: Op
    value: str
    index: tuple[int, ...]
    expected: float
    got: float
    count: int
    row: tuple[int, int] | None = None

    def __str__(self) -> str:
        where = "" if self.layer is None else f"layer {self.layer}, "
        return (f"token {self.token}, {where}{self.value} = {self.op.kind} {', '.join((*self.op.inputs, *self.op.weights))}: "
                f"element {list(self.index)} is {self.got!r}, expected {self.expected!r}; {self.count} elements differ")


class ProgramStopped(Exception):
    """The program did not reach an operation: the text says how the run ended."""


Observer = Callable[[int, "int | None", Op, str, Any, Any], None]
"""Called with (token, layer, operation, value, what the graph has, what the program has) for each value that is compared."""


def compare(compiled: Compiled, program: Program, tokens: Sequence[int], engine: Callable[..., ReferenceMachine] = Machine,
            progress: Callable[[int, int], None] | None = None, observe: Observer | None = None) -> tuple[int, Difference | None]:
    """Run the program and the graph on `tokens` (a prompt): (operations compared, the first difference).

    Raises ProgramStopped when the program ends or traps on its way.
    """
    checker = _Checker(compiled, program, tokens, engine, observe)
    executor = Executor(compiled.graph, compiled.model, EXACT, observe=checker.check)
    for number, token in enumerate(tokens):
        checker.token = number
        executor.step(token)
        if progress:
            progress(number + 1, len(tokens))
        if checker.difference:
            break
    return checker.compared, checker.difference


class _Checker:
    """After each operation of the executor: runs the program to the same place and compares."""

    def __init__(self, compiled: Compiled, program: Program, tokens: Sequence[int], engine: Callable[..., ReferenceMachine],
                 observe: Observer | None) -> None:
        self.compiled, self.observe = compiled, observe
        self.machine = engine(compiled.machine, Host(tokens))
        self.machine.load(program)
        self.symbols = {symbol.name: symbol.value for symbol in program.symbols}
        self.token = self.compared = 0
        self.last = len(tokens) - 1
        self.active: Any = None             # the rows that operations by active neurons work on
        self.difference: Difference | None = None

    def check(self, layer: int | None, op: Op, results: tuple[Any, ...]) -> None:
        section, number = self.compiled.graph.place_of(op, layer)
        if self.difference or (section == "finish" and self.token < self.last):         # only the last token needs these
            return
        place = self.symbols[mark(section, number)]
        self.machine.breakpoints = {place}
        result = self.machine.run().unless_interrupted()
        if result.reason != "breakpoint":
            raise ProgramStopped(f"{op.kind} -> {', '.join(op.outputs)}: the program ended with {result.reason}"
                                 + (f"\n{result.trap}" if result.trap else "")
                                 + (f", exit code {result.exit_code}" if result.exit_code is not None else ""))
        self.compared += 1
        if op.kind.startswith("active"):
            self.active, = results
        for name, expected in zip(op.outputs, results, strict=True):
            got = self._value(name, layer, expected)
            if self.observe:
                self.observe(self.token, layer, op, name, expected, got)
            wrong = got.view(f"u{got.itemsize}") != np.ascontiguousarray(expected).view(f"u{got.itemsize}")
            if wrong.any() and self.difference is None:
                index = tuple(int(i) for i in np.argwhere(wrong)[0])
                self.difference = Difference(self.token, layer, op, name, index, expected[index].item(), got[index].item(),
                                             int(wrong.sum()), self._row(op, index, expected))

    def _row(self, op: Op, index: tuple[int, ...], result: Any) -> tuple[int, int] | None:
        if not op.kind.startswith("gemv") or len(index) != 1:
            return None
        return (int(np.searchsorted(self.active, index[0])), len(self.active)) if "active" in op.inputs else (index[0], len(result))

    def _value(self, name: str, layer: int | None, like: Any) -> Any:
        """A value from the machine's memory, in the shape of what is expected."""
        memory = self.compiled.memory
        value = self.compiled.graph.values[name]
        dtype = DTYPE[value.format]
        room = [memory.context if length == "positions" else int(length) for length in value.shape]
        if name in memory.caches:
            cache = memory.caches[name]
            address = self.machine.x[ABI_NAMES.index(BASE[cache.base])] + cache.offset
            span = sum((length - 1) * stride for length, stride in zip(room, cache.strides, strict=True)) + np.dtype(dtype).itemsize
            whole = np.ndarray(room, dtype, self.machine.peek(address, span), strides=cache.strides)
        else:
            whole = self.machine.peek(self.symbols[name], memory.size(value)).view(dtype).reshape(room)
        return np.ascontiguousarray(whole[tuple(slice(length) for length in like.shape)])
