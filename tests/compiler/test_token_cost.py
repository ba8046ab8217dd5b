"""What a token costs: bytes that a whole token reads, counted from the shapes; the same tokens for every program."""

from __future__ import annotations

from functools import partial

import pytest
from compiled_models import built

from compiler.checking.token_cost import BEHIND, MEASURED, token_cost
from compiler.placing.weights import Placed
from emulator.machine import Machine
from isa.reference import ReferenceMachine

TEXT = [3, 9, 4, 1, 5] * 6


@pytest.mark.parametrize(("machine", "region"), [("slim", "flash"), ("slim-nsp", "dram")])
@pytest.mark.parametrize("weights", ["f32", "f16", "i8"])
def test_a_token_reads_every_weight_once(machine: str, region: str, weights: str) -> None:
    """Each matrix with its scales and each norm, a row of the embedding with its scale, rows of the table of angles."""
    compiled, program = built("plain", weights, machine)
    cost = token_cost(program, partial(Machine, time=True), compiled.machine, TEXT)
    assert (cost.tokens, cost.behind) == (MEASURED, len(TEXT) - 1 - MEASURED) and cost.seconds and cost.joules
    def size(placed: Placed) -> int:
        return placed.rows * (placed.row_bytes + placed.row_scale_bytes)

    config, once, (body,) = compiled.graph.config, compiled.layout.once, compiled.layout.bodies
    row = once["embedding"].row_bytes + once["embedding"].row_scale_bytes
    expected = config.layers * sum(map(size, body.values())) + size(once["head"]) + size(once["final_norm"]) + row
    angles = config.layers * 2 * 4 * config.head_dim                   # for queries and for keys
    if region == "flash":
        assert cost.bytes_read[region] == expected + angles
    else:
        assert cost.bytes_read[region] > expected + angles              # caches lie there too
        assert "flash" not in cost.bytes_read


def test_both_engines_and_short_texts() -> None:
    compiled, program = built("plain", "i8", "slim-llama")
    fast, slow = (token_cost(program, partial(engine, time=True), compiled.machine, TEXT[:4])
                  for engine in (Machine, ReferenceMachine))
    assert fast == slow and (fast.tokens, fast.behind) == (2, 1)
    assert token_cost(program, partial(Machine, time=True), compiled.machine, TEXT[:2]).tokens == 1
    long = token_cost(program, partial(Machine, time=True), compiled.machine, TEXT * 20)
    assert long.behind == min(BEHIND, program.meta["model"]["context"] - MEASURED)
    assert token_cost(program, partial(Machine, time=False), compiled.machine, TEXT).seconds is None         # without a clock
