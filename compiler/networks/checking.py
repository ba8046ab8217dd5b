"""Checks a network's program: each operation on the machine against NumPy, then one engine against the other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from compiler.checking.verify_chain import Check
from compiler.networks.meaning import Executor
from compiler.networks.program import CompiledNetwork
from compiler.networks.running import Images, Inference, Maker


def checks(compiled: CompiledNetwork, images: Images, make: Maker, fast: Maker, reference: Maker) -> Iterator[Check]:
    """`make` makes the machine that is compared with NumPy, operation by operation, on the first image."""
    yield from _operations(compiled, images[:1], make)
    runs = [Inference(compiled, images, maker) for maker in (fast, reference)]
    results = [run.run() for run in runs]
    same = (runs[0].logits == runs[1].logits and results[0] == results[1]
            and np.array_equal(runs[0].machine.counts, runs[1].machine.counts))
    yield Check("engines", "pass" if same else "FAIL",
                f"{len(images)} images: logits, counters and ends of both engines are {'equal' if same else 'not equal'}")
    numpy = [Executor(compiled.graph, image).all().tolist() for image in images]
    wrong = sum(one != other for one, other in zip(numpy, runs[0].logits, strict=True))
    yield Check("logits", "FAIL" if wrong else "pass", f"{wrong} of {len(images)} images differ from NumPy" if wrong else
                f"{len(images)} images, {compiled.graph.outputs} logits each, as NumPy has them")


def _operations(compiled: CompiledNetwork, image: Images, make: Maker) -> Iterator[Check]:
    run, graph = Inference(compiled, image, make), compiled.graph
    machine, executor = run.machine, Executor(graph, image[0])
    ends = [*(node.name for node in graph.nodes[1:]), "choose"]
    for node, end in zip(graph.nodes, ends, strict=True):
        machine.breakpoints = {compiled.program.address(end)}
        result = machine.run()
        if result.reason != "breakpoint":
            yield Check(node.name, "FAIL", f"the program ended before: {result.reason}; {result.trap}")
            return
        expected = executor.run(node)
        address = machine.preset.region("sram").base + compiled.plan.values[node.out]
        wrong = np.flatnonzero(machine.peek(address, len(expected)).view(np.int8) != expected)
        yield Check(node.name, "FAIL" if len(wrong) else "pass",
                    f"{len(wrong)} of {len(expected)} results differ, the first is {wrong[0]}" if len(wrong) else
                    f"{len(expected)} results are equal")
