"""Verification: the program on the emulator against the graph executor, operation by operation, bit by bit.

    first_difference(compiled, program, tokens) -> Difference or None

The executor computes with the machine's arithmetic (compiler/graph) and uses neither lowering nor emulator. The program stops
behind each operation (at its mark), and what the operation has written to memory is compared. Then the program runs once more and
shows the logits of every token: the end of the model is compared for the tokens of each chunk. A program for several sequences is
given several texts (`texts_of`), each of which the graph computes alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from compiler.compiled import Compiled
from compiler.graph import EXACT, Executor, Graph, Op
from compiler.graph.groups import Group, groups, head_product
from compiler.graph.prompts import Part
from compiler.lowering.emit import BASE
from compiler.lowering.layers import mark
from compiler.placing.memory_plan import CHUNK_LOGITS, MemoryPlan
from compiler.running.parameters import set_parameters, set_sequences, side_by_side
from emulator.machine import Machine
from isa.program import Program
from isa.reference import ReferenceMachine
from isa.registers import ABI_NAMES
from isa.services import Host

DTYPE = {"f32": "<f4", "f16": "<u2", "i32": "<i4", "i8": "i1", "index": "<u4"}

BEHIND = 4              # tokens that come behind the prompt, where prompts are cut: they are computed one by one, or by steps
MOST_TEXTS = 4          # side by side that are compared: the graph computes each alone


@dataclass(frozen=True)
class Difference:
    """The first element that differs: its token, layer, operation and value, both numbers, and how many elements differ.

    token  its place in its text; text: the number of that, of several side by side
    row    of a product with a matrix: (number of the wrong row, number of rows), among the rows that the product works on
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
    text: int = 0

    def __str__(self) -> str:
        where = (f"text {self.text}, " if self.text else "") + f"token {self.token}, "
        where += "" if self.layer is None else f"layer {self.layer}, "
        return (f"{where}{self.value} = {self.op.kind} {', '.join((*self.op.inputs, *self.op.weights))}: "
                f"element {list(self.index)} is {self.got!r}, expected {self.expected!r}; {self.count} elements differ")


class ProgramStopped(Exception):
    """The program did not reach an operation: the text says how the run ended."""


Place = tuple[int, int]
"""A token: the number of its text, and its place in that."""

Results = dict[tuple[str, int, int], tuple["int | None", Op, tuple[Any, ...]]]
"""What operations have written for a token: layer, operation and arrays, by place (_Places)."""

Observer = Callable[[Place, "int | None", Op, str, Any, Any], None]
"""Called with (token, layer, operation, value, what the graph has, what the program has) for each value that is compared."""


def texts_of(tokens: Sequence[int], sequences: int) -> list[list[int]]:
    """The prompts that a program for so many sequences is compared on: the tokens, and what is left of them from the second one on,
    from the third one on ..."""
    return [list(tokens[first:]) for first in range(min(sequences, len(tokens), MOST_TEXTS))]


def _steps(texts: Sequence[Sequence[int]], memory: MemoryPlan) -> Iterator[list[Place]]:
    """The tokens that go through the layers together, in the program's order. Of several sequences first all tokens but the last of
    each, in chunks, then the last ones."""
    last = 1 if memory.sequences > 1 else 0
    places = [(number, place) for number, text in enumerate(texts) for place in range(len(text) - last)]
    yield from (places[first:first + memory.chunk] for first in range(0, len(places), memory.chunk))
    if last:
        yield [(number, len(text) - 1) for number, text in enumerate(texts)]


def compare(compiled: Compiled, program: Program, tokens: Sequence[int], engine: Callable[..., ReferenceMachine] = Machine,
            progress: Callable[[int, int], None] | None = None, observe: Observer | None = None) -> tuple[int, Difference | None]:
    """Run the program and the graph on `tokens` (a prompt, or `texts_of`): (operations compared, the first difference).

    The graph computes a chunk token by token, and keeps its results; then the program computes the chunk.
    Raises ProgramStopped when the program ends or traps on its way.
    """
    several, cuts = compiled.memory.sequences, compiled.graph.cuts
    texts = texts_of(tokens[:prompt_of(len(tokens))] if several > 1 and cuts else tokens, several)
    checker = _Checker(compiled, program, texts, engine, observe)
    places = _Places(compiled.graph)
    if cuts:
        return (_compare_texts(compiled, checker, texts, places, progress) if several > 1 else
                _compare_cut(compiled, checker, texts[0], places, progress))
    results, ends = list[Results](), list[Results]()
    executors = [Executor(compiled.graph, compiled.model, EXACT,
                          observe=lambda layer, op, found: results[-1].update({places.of(layer, op): (layer, op, found)}))]
    done, every = 0, sum(map(len, texts))
    for step in _steps(texts, compiled.memory):
        results.clear()
        for text, place in step:
            results.append({})
            while text >= len(executors):
                executors.append(executors[0].another())
            executors[text].step(texts[text][place])
            done += 1
            if progress:
                progress(done, every)
        checker.check(step, results, places)
        if checker.difference:
            return checker.compared, checker.difference
        ends += [{place: result for place, result in found.items() if place[0] == "finish"} for found in results]
    if not compiled.memory.shown:
        return checker.compared, None
    again = _Checker(compiled, program, texts, engine, observe)     # now the host wants the logits of every token
    again.show_all()
    for step in _steps(texts, compiled.memory):
        again.check_all(step, ends[step[0][1]:], places)
        if again.difference:
            break
    return checker.compared + again.compared, again.difference


def _compare_cut(compiled: Compiled, checker: _Checker, tokens: Sequence[int], places: _Places,
                 progress: Callable[[int, int], None] | None) -> tuple[int, Difference | None]:
    """`compare` for a program with cuts: the prompt part by part, then the last tokens as if they had been generated."""
    prompt = prompt_of(len(tokens))
    checker.begin_prompt(prompt)
    results: dict[int, Results] = defaultdict(dict)              # by row
    executor = Executor(compiled.graph, compiled.model, EXACT, observe=lambda layer, op, found: results[executor.row].update(
        {places.of(layer, op): (layer, op, found)}))
    for part in executor.parts(tokens[:prompt], compiled.memory.chunk):
        checker.check_part(part, results, executor.row, places)
        results.clear()
        if checker.difference:
            break
        if progress:
            progress(part.places[-1] + 1, len(tokens))
    for place in range(prompt, len(tokens)):
        if checker.difference:
            break
        executor.step(tokens[place])
        every = {name: found for each in results.values() for name, found in each.items()}      # rows differ by segment
        checker.check_token((0, place), every, places)
        results.clear()
    return checker.compared, checker.difference


def _compare_texts(compiled: Compiled, checker: _Checker, texts: Sequence[Sequence[int]], places: _Places,
                   progress: Callable[[int, int], None] | None) -> tuple[int, Difference | None]:
    """`compare` for a program with cuts and several sequences: the prompts one after the other, part by part; then steps, of the
    tokens that the graph finds most likely, as the program does."""
    checker.begin_texts(BEHIND + 1)
    results: dict[int, Results] = defaultdict(dict)              # by row
    executor = Executor(compiled.graph, compiled.model, EXACT, observe=lambda layer, op, found: results[executor.row].update(
        {places.of(layer, op): (layer, op, found)}))
    executors, ends = [executor, *(executor.another() for _ in texts[1:])], list[Results]()
    done, every = 0, sum(map(len, texts))
    for number, executor in enumerate(executors):
        for part in executor.parts(texts[number], compiled.memory.chunk):
            if part.section == "finish":                         # all of them together, in the first step
                ends.append(results[executor.row])
            else:
                checker.check_part(part, results, executor.row, places, number)
            results.clear()
            if checker.difference:
                return checker.compared, checker.difference
        done += len(texts[number])
        if progress:
            progress(done, every)
    checker.check_step([(number, len(text) - 1) for number, text in enumerate(texts)], ends, places, ("finish",))
    for _ in range(BEHIND):
        step, found = list[Place](), list[Results]()
        for number, executor in enumerate(executors):
            step.append((number, executor.position))
            executor.step(int(np.argmax(executor.values["logits"])))
            found.append({name: what for each in results.values() for name, what in each.items()})
            results.clear()
        if not checker.difference:
            checker.check_step(step, found, places, ("start", *map(compiled.graph.name_of, compiled.graph.bodies), "finish"))
    return checker.compared, checker.difference


def prompt_of(tokens: int) -> int:
    """How many of the compared tokens are the prompt of a program with cuts."""
    return max(1, tokens - BEHIND)


class _Places:
    """Where operations stand: (list of the graph, layer or -1, number), in the order in which a token passes them."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        layers = sorted((layer, graph.name_of(body), body.ops) for body in graph.bodies for layer in body.layers)
        self.lists = [("start", -1, graph.start), *((name, layer, ops) for layer, name, ops in layers),
                      *((cut.name, -1, cut.ops) for cut in graph.cuts), ("finish", -1, graph.finish)]

    def of(self, layer: int | None, op: Op) -> tuple[str, int, int]:
        section, number = self.graph.place_of(op, layer)
        return section, -1 if layer is None else layer, number


class _Checker:
    """Runs the program to the place behind each operation, and compares what is in memory with what the executor has."""

    def __init__(self, compiled: Compiled, program: Program, texts: Sequence[Sequence[int]],
                 engine: Callable[..., ReferenceMachine], observe: Observer | None) -> None:
        self.compiled, self.observe = compiled, observe
        several = compiled.memory.sequences > 1
        self.machine = engine(compiled.machine, Host(side_by_side(texts) if several else texts[0]))
        self.machine.load(program)
        if several:
            set_sequences(self.machine, [0] * len(texts))
        self.symbols = {symbol.name: symbol.value for symbol in program.symbols}
        self.compared = 0
        self.last = [len(text) - 1 for text in texts]
        self.active: dict[Place, Any] = {}  # the rows that operations by active neurons work on, of each token
        self.head: Op | None = None         # the product that makes the logits of all tokens of a chunk, where that is compared
        self.difference: Difference | None = None

    def check(self, step: Sequence[Place], results: Sequence[Results], places: _Places) -> None:
        """Compare the tokens of a chunk, or a single one, with their `results`."""
        memory = self.compiled.memory
        several = memory.sequences > 1
        alone = not several and step == [(0, self.last[0])]         # a single token takes the code for one token
        for section, layer, ops in places.lists:
            whole = Group(0, ops, together=False)
            if section == "finish":                                 # only the last token of a text needs it
                if step[-1][1] == self.last[step[-1][0]]:
                    if several:
                        self._finish(ops, results, step)
                    else:                                           # the code for one token does it
                        self._each(section, layer, whole, results[-1:], step[-1:], chunk=False)
            elif alone or memory.chunk == 1:
                self._each(section, layer, whole, results, step, chunk=False)
            elif section == "start" or not memory.turns:
                for group in groups(ops):
                    self._each(section, layer, group, results, step, chunk=True)
            elif layer == 0:
                self._halves(results, step, places)

    def _finish(self, ops: Sequence[Op], results: Sequence[Results], step: Sequence[Place]) -> None:
        """Compare the end of the model for a step of several texts."""
        if self.compiled.memory.finish_together:
            for group in groups(ops):
                self._each("finish", -1, group, results, step, chunk=True)
        else:                                                       # the code for one token does it
            for found, place in zip(results, step, strict=True):
                self._each("finish", -1, Group(0, ops, together=False), [found], [place], chunk=False)

    def show_all(self) -> None:
        """The program shows the logits of every token."""
        self.machine.peek(self.symbols["all_logits"], 8)[0] = 1

    def check_all(self, step: Sequence[Place], results: Sequence[Results], places: _Places) -> None:
        """Compare the end of the model for the tokens of a chunk whose logits are all shown."""
        memory, (section, layer, ops) = self.compiled.memory, places.lists[-1]
        if step == [(0, self.last[0])]:                             # a single token takes the code for one token
            self.head = None
            self._each(section, layer, Group(0, ops, together=False), results[:1], step, chunk=False)
            return
        self.head = ops[head_product(self.compiled.graph) or 0]
        for first in range(0, len(step), memory.shown):
            behind = min(first + memory.shown, len(step))
            for group in groups(ops):
                for _ in self._turns(section, layer, group, results[first:behind], step[first:behind], first):
                    pass

    def begin_texts(self, tokens: int) -> None:
        """Behind each prompt so many tokens come, whatever they are."""
        set_parameters(self.machine, stop=())
        set_sequences(self.machine, [tokens] * len(self.last))

    def check_step(self, step: Sequence[Place], results: Sequence[Results], places: _Places, sections: Sequence[str]) -> None:
        """Compare a step of several texts whose prompts are cut, in these lists of the graph."""
        for section, layer, ops in places.lists:
            if section == "finish":
                self._finish(ops, results, step)
            elif section in sections:
                for group in groups(ops):
                    self._each(section, layer, group, results, step, chunk=True)

    def begin_prompt(self, tokens: int) -> None:
        """The program shows logits, so that it takes tokens behind a prompt of so many."""
        set_parameters(self.machine, prompt_tokens=tokens)
        self.machine.peek(self.symbols["all_logits"], 8)[0] = 1

    def check_part(self, part: Part, results: Mapping[int, Results], row: int, places: _Places, text: int = 0) -> None:
        """Compare a part of a prompt that is cut. `row`: of the token that was computed last."""
        step = [(text, place) for place in part.places]
        for section, layer, ops in places.lists:
            whole = Group(0, ops, together=False)
            if section == part.section == "finish":
                self._each(section, layer, whole, [results[row]], step, chunk=False)
            elif section == part.section != "start":                # a cut: one result for all tokens
                self._each(section, layer, whole, [results[row]], step[-1:], chunk=True)
            elif section == part.section or layer in part.layers:
                found = [results[part.first + number] for number in range(len(step))]
                for group in groups(ops):
                    self._each(section, layer, group, found, step, chunk=True)

    def check_token(self, place: Place, found: Results, places: _Places) -> None:
        """Compare a token behind a prompt that is cut."""
        cuts = {cut.name for cut in self.compiled.graph.cuts}
        for section, layer, ops in places.lists:
            if section not in cuts:
                self._each(section, layer, Group(0, ops, together=False), [found], [place], chunk=False)

    def _each(self, section: str, layer: int, group: Group, results: Sequence[Results],
              step: Sequence[Place], *, chunk: bool) -> None:
        for _ in self._turns(section, layer, group, results, step, 0 if chunk else None):
            pass

    def _halves(self, results: Sequence[Results], step: Sequence[Place], places: _Places) -> None:
        """All layers of a chunk whose halves take turns. The second one begins a turn later."""
        first = len(step) // 2

        def layers(half: slice) -> Iterator[None]:
            for section, layer, ops in places.lists:
                for group in groups(ops) if layer >= 0 else ():
                    yield from self._turns(section, layer, group, results[half], step[half], half.start)

        halves = [layers(slice(0, first)), chain((None,), layers(slice(first, len(step))))]
        while halves:
            halves = [half for half in halves if next(half, self) is None]

    def _turns(self, section: str, layer: int, group: Group, results: Sequence[Results],
               step: Sequence[Place], first: int | None) -> Iterator[None]:
        """Compare a group of operations for tokens whose frames begin with number `first`; None: in code for one token. Yields
        where the other half would have its turn, if halves of a chunk take turns."""
        end = group.first + len(group.ops)
        for frame, (found, place) in enumerate(zip(results, step, strict=True)):
            fetches = False
            for number in range(end - 1 if group.by_head else group.first, end):        # between heads nothing is whole
                op = group.ops[number - group.first]
                if op.kind.startswith("gemv") and "objects" in op.kind:
                    fetches = True
                    yield                           # before the objects are asked for
                    yield                           # until they are there
                if self.difference:
                    return
                done = (section, layer, number) in found            # the mean query is of the last tokens of a prompt alone
                if (done or first is not None) and (not (group.together or group.by_head) or frame == 0):
                    self._reach(mark(section, number, first is not None), op)
                if done:
                    self._compare(place, 0 if first is None else first + frame, *found[section, layer, number])
            if fetches:
                yield

    def _reach(self, name: str, op: Op) -> None:
        """Run the program to a mark."""
        self.machine.breakpoints = {self.symbols[name]}
        result = self.machine.run().unless_interrupted()
        if result.reason != "breakpoint":
            raise ProgramStopped(f"{op.kind} -> {', '.join(op.outputs)}: the program ended with {result.reason}"
                                 + (f"\n{result.trap}" if result.trap else "")
                                 + (f", exit code {result.exit_code}" if result.exit_code is not None else ""))

    def _compare(self, place: Place, frame: int, layer: int | None, op: Op, results: tuple[Any, ...]) -> None:
        """Compare what an operation has written for a token, whose frame has this number."""
        text, token = place
        self.compared += 1
        if op.kind.startswith("active"):
            self.active[place], = results
        for name, expected in zip(op.outputs, results, strict=True):
            got = self._value(name, frame, expected, all_tokens=op == self.head)
            if self.observe:
                self.observe(place, layer, op, name, expected, got)
            wrong = got.view(f"u{got.itemsize}") != np.ascontiguousarray(expected).view(f"u{got.itemsize}")
            if wrong.any() and self.difference is None:
                index = tuple(int(i) for i in np.argwhere(wrong)[0])
                self.difference = Difference(token, layer, op, name, index, expected[index].item(), got[index].item(),
                                             int(wrong.sum()), self._row(place, op, index, expected), text)

    def _row(self, place: Place, op: Op, index: tuple[int, ...], result: Any) -> tuple[int, int] | None:
        if not op.kind.startswith("gemv") or len(index) != 1 or op == self.head:
            return None
        if "active" not in op.inputs:
            return index[0], len(result)
        return int(np.searchsorted(self.active[place], index[0])), len(self.active[place])

    def _value(self, name: str, frame: int, like: Any, *, all_tokens: bool) -> Any:
        """A value from the machine's memory, in the shape of what is expected. all_tokens: logits that stand behind those of the
        frames before."""
        memory = self.compiled.memory
        value = self.compiled.graph.values[name]
        dtype = DTYPE[value.format]
        room = [memory.extent(length) for length in value.shape]
        if name in memory.caches:
            cache = memory.caches[name]
            address = self.machine.x[ABI_NAMES.index(BASE[cache.base])] + cache.offset
            span = sum((length - 1) * stride for length, stride in zip(room, cache.strides, strict=True)) + np.dtype(dtype).itemsize
            whole = np.ndarray(room, dtype, self.machine.peek(address, span), strides=cache.strides)
        else:
            address = self.symbols[name] + (frame * memory.frame_bytes if name in memory.framed else 0)
            if all_tokens:
                address = self.symbols[CHUNK_LOGITS] + frame % memory.shown * memory.size(value)
            whole = self.machine.peek(address, memory.size(value)).view(dtype).reshape(room)
        return np.ascontiguousarray(whole[tuple(slice(length) for length in like.shape)])
