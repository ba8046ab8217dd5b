"""sync: tags, waits, and the rows that follow from the units."""

import pytest
from unit_bench import Bench, refused

from isa.instruction import TABLE, rows
from isa.traps import Cause
from isa.units import UNITS

QUEUES = [unit.name for unit in UNITS.values() if unit.queue]
SIGNALS = [f"sync.signal.{name}" for name in QUEUES]
WAITS = ["sync.wait", *(f"sync.wait.{name}" for name in QUEUES)]


def test_every_unit_with_a_queue_has_its_signal_and_its_wait():
    assert {"vec", "lut", "thr", "fetch"} <= set(QUEUES)
    assert not {"rv64i", "rv64m", "zicsr", "sync"} & set(QUEUES)
    assert {row.mnemonic for row in rows("sync")} == {*SIGNALS, *WAITS, "sync.fence"}


def test_encodings_that_programs_rely_on():
    assert [TABLE[f"sync.signal.{name}"].fixed["funct7"] for name in ("vec", "lut", "thr", "fetch", "pim")] == [0, 1, 2, 3, 4]
    assert [TABLE[f"sync.wait.{name}"].fixed["funct7"] for name in ("vec", "lut", "thr", "fetch", "pim")] == [32, 33, 34, 35, 36]


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("tag", [1, 2, 63])
def test_a_wait_passes_once_its_tag_was_signalled(signal, wait, tag):
    bench = Bench()
    refused(Cause.NEVER_SIGNALLED, bench, wait, tag=tag)
    assert bench.run(signal, tag=tag).counts == {"core.instructions": 1, "sync.ops": 1, "sync.signals": 1}
    for _ in range(2):
        assert bench.run(wait, tag=tag).counts == {"core.instructions": 1, "sync.ops": 1, "sync.waits": 1}
    bench.run(signal, tag=tag)                          # a tag may be used again
    assert f"nothing has signalled tag {tag % 63 + 1};" in refused(Cause.NEVER_SIGNALLED, bench, wait, tag=tag % 63 + 1)


@pytest.mark.parametrize("mnemonic", [*SIGNALS, *WAITS])
@pytest.mark.parametrize("tag", [0, 64, (1 << 64) - 1])
def test_tags_are_1_to_63(mnemonic, tag):
    assert refused(Cause.ILLEGAL_OPERAND, Bench(), mnemonic, tag=tag) == f"tag {tag}; expected 1..63"


def test_a_fence_needs_no_tag():
    assert Bench().run("sync.fence").counts == {"core.instructions": 1, "sync.ops": 1, "sync.fences": 1}
