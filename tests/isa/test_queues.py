"""Queues: their numbers, who knows what to be done, and the tags of pairs."""

from itertools import permutations

import pytest

from isa.instruction import TABLE
from isa.queues import CORE, QUEUE, QUEUES, Action, Order, PairTags, Tag, edges, queue_of
from isa.units import UNITS

VEC, LUT, THR = QUEUE["vec"], QUEUE["lut"], QUEUE["thr"]


def test_every_unit_of_xslim_but_sync_has_a_queue_of_its_own():
    assert QUEUES == ("core", "vec", "lut", "thr", "fetch", "pim", "attn", "sp", "cim")
    assert {queue_of(row) for row in TABLE.values() if not row.is_xslim} == {CORE} == {UNITS["sync"].queue}
    assert all(QUEUES[queue_of(row)] == row.unit for row in TABLE.values() if row.is_xslim and row.unit != "sync")


@pytest.mark.parametrize(("mnemonic", "expected"), [
    ("add",             ()),
    ("vec.add.f32",     ((Action.ISSUE, VEC, None),)),
    ("vec.argmax.f32",  ((Action.ISSUE, VEC, None), (Action.RESULT, VEC, None))),
    ("fetch.copy",      ((Action.ISSUE, QUEUE["fetch"], None), (Action.SIGNAL, QUEUE["fetch"], Tag.FETCH_TAG))),
    ("sync.signal.lut", ((Action.SIGNAL, LUT, Tag.OPERAND),)),
    ("sync.wait.vec",   ((Action.WAIT, VEC, Tag.OPERAND),)),
    ("sync.wait",       ((Action.WAIT, CORE, Tag.OPERAND),)),
    ("sync.fence",      ((Action.FENCE, CORE, None),)),
])
def test_what_an_instruction_does_to_the_order(mnemonic, expected):
    assert edges(TABLE[mnemonic]) == expected


def test_a_queue_knows_its_own_operations_and_what_it_has_waited_for():
    order = Order()
    first, second = order.issue(VEC), order.issue(LUT)
    assert (order.knows(VEC, VEC), order.knows(LUT, LUT), order.knows(LUT, VEC)) == (first, second, 0)
    order.signal(VEC, 5)
    third = order.issue(VEC)                                    # behind the signal
    assert order.wait(LUT, 5) == [VEC] and order.wait(LUT, 5) == []
    assert (order.knows(LUT, VEC), order.knows(CORE, VEC), order.knows(VEC, VEC)) == (first, 0, third)
    order.signal(LUT, 5)                                        # what it has waited for is passed on
    assert order.signalled(VEC, first) == [(5, first)] and order.signalled(VEC, third) == []
    order.wait(THR, 5)
    assert (order.knows(THR, VEC), order.knows(THR, LUT)) == (first, second)
    assert order.wait(THR, 6) == []                             # never signalled: it stands for nothing


@pytest.mark.parametrize("end", ["result", "fence", "wait"])
def test_what_the_core_knows_all_that_it_issues_later_know(end):
    order = Order()
    first, second = order.issue(VEC), order.issue(LUT)
    match end:
        case "result": learnt = order.result(LUT)
        case "fence":  learnt = order.fence()
        case _:
            order.signal(LUT, 1)
            learnt = order.wait(CORE, 1)
    assert learnt == ([VEC, LUT] if end == "fence" else [LUT])
    assert order.knows(THR, LUT) == second and order.knows(THR, VEC) == (first if end == "fence" else 0)
    order.signal(THR, 2)                                        # and a signal of theirs stands for it
    assert (2, second) in order.signalled(LUT, second)


def test_pairs_have_the_tags_that_compiled_programs_have_had():
    tags = PairTags(reserved=2)
    numbers = {pair: number for number, pair in enumerate(permutations(range(1, len(QUEUES)), 2), 3)}
    for pair in (*list(numbers)[::-1], *numbers):
        assert tags.tag(*pair) == numbers[pair]


def test_with_many_queues_only_pairs_that_occur_take_a_tag():
    tags = PairTags(reserved=2, queues=10)
    pairs = list(permutations(range(1, 11), 2))
    assert len(pairs) == 90
    given = [tags.tag(*pair) for pair in pairs[-61:]]
    assert sorted(given) == list(range(3, 64))
    assert tags.tag(*pairs[-61]) == given[0]
    with pytest.raises(OverflowError, match=r"more than 61 pairs of queues; .*tags are 1\.\.63, and 2 of them are reserved"):
        tags.tag(*pairs[0])
