"""attn: what the page says of many instructions at once, line by line, on both engines: what is counted, in which order an
instruction checks and with which mtval, what it looks at. The tables are taken from the page's text."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from both_engines import FLASH, SRAM, Pair
from csr_reads import csrs_that_are_read
from manual_tables import by_mnemonic, entry, events, table_in_text

from isa.csrs import CSRS
from isa.effects import csrs
from isa.instruction import TABLE, rows
from isa.traps import Cause

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")      # test data overflows on purpose
MNEMONICS = [row.mnemonic for row in rows("attn")]
CHECKS = by_mnemonic(table_in_text("attn", "What an instruction asks, first to last"))
EVENTS = by_mnemonic(table_in_text("attn", "What an instruction counts besides"))
SIZE = {"f32": 4, "f16": 2, "i8": 1}
NOWHERE = 8


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair(flash=bytes(8192))


class Start:
    """Six heads that share three of the cache, some of them set; a query, a cache, everything that an instruction reads."""

    def __init__(self, pair: Pair, mnemonic: str, random: np.random.Generator, lists: int = 0, masks: int = 0) -> None:
        pair.fresh()
        self.pair, self.mnemonic, self.row = pair, mnemonic, TABLE[mnemonic]
        self.form = mnemonic.rpartition(".")[2]
        self.checks = entry(CHECKS, mnemonic).split(", ")
        self.heads, self.kv_heads, self.head_dim, self.n = 6, 3, 5, 11
        self.first = int(random.integers(6))
        self.count = 1 + int(random.integers(6 - self.first))
        self.groups = {head // 2 for head in range(self.first, self.first + self.count)}
        floats = lambda n: random.standard_normal(n).astype("<f4")                  # noqa: E731
        self.state: dict[str, Any] = {
            "attn.model": np.array([6, 3, 5, self.first, self.count], "u4"),
            "attn.loaded": np.array([2 if self.form == "i8" else 1, 0, 6, 5], "u4"),
            "attn.query": floats(30), "attn.codes": random.integers(-127, 128, 30).astype("i1"), "attn.scales": floats(6)}
        if mnemonic == "attn.setm":
            self.state = {}
        transposed = "attn.x" in mnemonic
        self.csrs: dict[str, int] = {"attn.key_stride": 48 * transposed, "attn.score_stride": 0, "attn.value_stride": 0}
        if lists and not transposed:
            self.lists = random.integers(0, 20, (6, 16)).astype("<u4")
            self.lists[:, 3:6] = self.lists[:, 2:3] + np.arange(1, 4)               # rows that follow each other
            self.csrs["attn.row_list"] = pair.put(self.lists)
            self.csrs["attn.list_stride"] = 64 if lists == 2 else 0
        self.masks = random.integers(0, 256, (6, 4)).astype("u1")
        if masks:
            self.csrs |= {"attn.mask": pair.put(self.masks), "attn.mask_stride": 4 if masks == 2 else 0}
        if masks != 2:
            self.masks[:] = self.masks[0]
        values = {"n": self.n, "heads": 6, "kv_heads": 3, "head_dim": 5, "first": 1, "count": 3, "position": 4}
        self.values = {operand.name: values[operand.name] if operand.name in values else pair.put(floats(1024))
                       for operand in self.row.operands}

    def row_runs(self, lists: int) -> int:
        """Runs in the first lists, if there are any."""
        if "attn.row_list" not in self.csrs:
            return 1
        return sum(i == 0 or row != rows[i - 1] + 1 for rows in self.lists[:lists].tolist() for i, row in enumerate(rows[:self.n]))

    def run(self, **options: bool):
        self.pair.csrs = dict(self.csrs)
        self.pair.start_state = self.state
        return self.pair.run(self.mnemonic, **self.values, **options)


# ------------------------------------------------------------------------------------------------ counters


@pytest.mark.parametrize("mnemonic", [name for name in MNEMONICS if name not in ("attn.setm", "attn.seth")])
@pytest.mark.parametrize("lists", [0, 1, 2])
def test_what_is_counted(pair: Pair, mnemonic: str, lists: int) -> None:
    for seed in range(8):
        start = Start(pair, mnemonic, np.random.default_rng(seed), lists, seed % 3)
        a, n = start.count, start.n
        listed = lists == 2 and start.csrs.get("attn.row_list")
        known = {"A": a, "V": a if listed else len(start.groups), "D": start.head_dim, "n": n, "E": SIZE[start.form],
                 "S": 4 if start.form == "i8" else 0, "R": start.row_runs(a if listed else 1)}
        expected = {f"attn.{name}": eval(formula, known) for name, formula in events(entry(EVENTS, mnemonic))} | {"attn.ops": 1}
        left_out = 0
        if start.csrs.get("attn.mask") and "mask" in start.checks:
            bits = np.unpackbits(start.masks[:a], axis=1, bitorder="little")[:, :n]
            left_out = int(np.count_nonzero(bits == 0))
        done = start.run()
        assert done.trap is None
        assert {name: count for name, count in done.counts.items() if name.startswith("attn.")} == expected | (
            {"attn.masked": left_out} if left_out else {})
        # Bytes: the operands, whole but for the cache, and lists and masks.
        cache = expected.get("attn.cache_bytes", 0)
        read = cache + {"attn.wrgb": 4 * a * 5, "attn.xpose": 4 * len(start.groups) * 5, "attn.macT": 4 * a * (n + 5),
                        "attn.context": 4 * a * n, "attn.sfm": 4 * a * n, "attn.mvsb": 4 * a * n, "attn.exp": 4 * a * (n + 1),
                        "attn.mvgb": 4 * a * (n + 1)}.get(mnemonic.rpartition(".")[0], 0)
        if start.csrs.get("attn.row_list") and "attn.row_list" in csrs(start.row):
            read += 4 * n * (a if listed else 1)
        if start.csrs.get("attn.mask") and "mask" in start.checks:
            read += -(-n // 8) * (a if seed % 3 == 2 else 1)
        assert done.counts["sram.bytes_read"] == read


def test_every_instruction_has_its_lines() -> None:
    assert all(entry(CHECKS, name) and (name in ("attn.setm", "attn.seth") or entry(EVENTS, name)) for name in MNEMONICS)
    assert all(any(name == key or name.startswith(f"{key}.") for name in MNEMONICS) for key in (*EVENTS, *CHECKS))


# ------------------------------------------------------------------------------------------------ order of checks


class Faults:
    """For each check: makes it fail, and returns (cause, mtval)."""

    def __init__(self, start: Start) -> None:
        self.start = start

    def make(self, check: str, number: int) -> tuple[Cause, int]:
        start, name = self.start, check.replace("-", "_")
        if name in ("score_stride", "key_stride", "value_stride"):
            start.csrs[f"attn.{name}"] = 2
            return Cause.ILLEGAL_OPERAND, 2
        if name in ("list_stride", "mask_stride"):
            start.csrs[f"attn.{name}"] = 1
            start.csrs.setdefault("attn.row_list" if name == "list_stride" else "attn.mask", SRAM)
            return Cause.ILLEGAL_OPERAND, 1
        own = getattr(self, name, None)
        return own(number) if own else self.memory(check, number)

    def memory(self, name: str, number: int) -> tuple[Cause, int]:
        start = self.start
        operand = start.row.operand(name)
        if number % 3 == 1 and operand.layout.align > 1:
            start.values[name] += 1
            return Cause.MISALIGNED_OPERAND, start.values[name]
        start.values[name] = NOWHERE
        return Cause.LOAD_ACCESS if "<" in operand.access else Cause.STORE_ACCESS, NOWHERE

    def heads(self, number: int) -> tuple[Cause, int]:
        self.start.values["heads"] = (257, (1 << 64) - 1)[number % 2]
        return Cause.CAPACITY, self.start.values["heads"]

    def kv_heads(self, number: int) -> tuple[Cause, int]:
        self.start.values["kv_heads"] = (0, 4, 300)[number % 3]
        return Cause.ILLEGAL_OPERAND, self.start.values["kv_heads"]

    def head_dim(self, number: int) -> tuple[Cause, int]:
        self.start.values["head_dim"] = (0, 65537)[number % 2]
        return (Cause.ILLEGAL_OPERAND, Cause.CAPACITY)[number % 2], self.start.values["head_dim"]

    def model(self, _: int) -> tuple[Cause, int]:
        self.start.state["attn.model"] = np.zeros(5, "u4")
        return Cause.ILLEGAL_OPERAND, 0

    def first(self, number: int) -> tuple[Cause, int]:
        self.start.values |= ({"first": 6, "count": 1}, {"first": 2, "count": 0}, {"first": 2, "count": 5})[number % 3]
        return Cause.ILLEGAL_OPERAND, self.start.values["first"]

    def room(self, _: int) -> tuple[Cause, int]:
        self.start.state["attn.model"] = np.array([8, 2, 16384, 2, 5], "u4")
        return Cause.CAPACITY, 5 * 16384

    def query(self, number: int) -> tuple[Cause, int]:
        """Empty; of the other kind; of some heads; of other channels."""
        start = self.start
        kind = int(start.state["attn.loaded"][0])
        held = ([0, 0, 0, 0], [3 - kind, 0, 6, 5], [kind, start.first + 1, 5 - start.first, 5], [kind, 0, 6, 6])[number]
        start.state["attn.loaded"] = np.array(held, "u4")
        return Cause.ILLEGAL_OPERAND, held[0]

    def no_list(self, _: int) -> tuple[Cause, int]:
        self.start.csrs["attn.row_list"] = SRAM
        return Cause.ILLEGAL_OPERAND, SRAM

    def lists(self, _: int) -> tuple[Cause, int]:
        self.start.csrs["attn.row_list"] = NOWHERE
        return Cause.LOAD_ACCESS, NOWHERE

    def mask(self, _: int) -> tuple[Cause, int]:
        self.start.csrs["attn.mask"] = NOWHERE
        return Cause.LOAD_ACCESS, NOWHERE


@pytest.mark.parametrize("mnemonic", MNEMONICS)
def test_the_first_check_that_fails_traps(pair: Pair, mnemonic: str) -> None:
    """Every set of one, two and three faults; a length that is too long before them; nothing at all without tokens."""
    checks = list(dict.fromkeys(Start(pair, mnemonic, np.random.default_rng(0)).checks))
    for number in range(4):
        for some in itertools.chain(*(itertools.combinations(checks, count) for count in (1, 2, 3))):
            start = Start(pair, mnemonic, np.random.default_rng(number))
            found = {check: Faults(start).make(check, number) for check in reversed(some)}
            done = start.run()
            assert done.trap is not None, some
            assert (done.trap.cause, done.trap.value) == found[some[0]], (some, number)
            for length in {"n", "position"} & start.values.keys():
                start.values[length] = (1 << 28) + 1
                done = start.run()
                assert done.trap is not None
                assert (done.trap.cause, done.trap.value) == (Cause.CAPACITY, (1 << 28) + 1)
            if "n" in start.values:
                start.values["n"] = 0
                assert start.run().counts == {"core.instructions": 1, "attn.ops": 1}


def test_scores_that_cannot_be_written_and_sums(pair: Pair) -> None:
    """attn.exp writes scores, then sums; both are looked at behind what is read."""
    start = Start(pair, "attn.exp.f32", np.random.default_rng(1))
    start.values |= {"scores": FLASH, "sums": NOWHERE}
    done = start.run()
    assert done.trap is not None
    assert (done.trap.cause, done.trap.value) == (Cause.STORE_ACCESS, FLASH)
    start = Start(pair, "attn.exp.f32", np.random.default_rng(1))
    start.values["sums"] = start.values["scores"]
    assert start.run(inline=False).trap is None
    sums = pair.get(start.values["sums"], "<f4", start.count)
    separate = Start(pair, "attn.exp.f32", np.random.default_rng(1))
    assert separate.run().trap is None
    assert np.array_equal(sums, pair.get(separate.values["sums"], "<f4", start.count))


@pytest.mark.parametrize("mnemonic", ["attn.mac.f32", "attn.mac.f16", "attn.mac.i8", "attn.macT.f16", "attn.context.i8"])
def test_rows_that_have_to_lie_in_memory(pair: Pair, mnemonic: str) -> None:
    """All rows without a list; those that it names with one, in its order, and before them the lists."""
    cache = "keys" if "keys" in {operand.name for operand in TABLE[mnemonic].operands} else "values"
    end = SRAM + pair.reference.preset.region("sram").size
    size = 3 * 5 * SIZE[mnemonic.rpartition(".")[2]]
    row_bytes = size if not mnemonic.endswith("i8") else (size + 3 & -4) + 12
    for lists in (0, 1, 2):
        start = Start(pair, mnemonic, np.random.default_rng(3), lists)
        start.values[cache] = end - 5 * row_bytes & -4
        if lists:
            start.csrs["attn.row_list"] = pair.put(np.array([0, 3, 1, 6, 2, 7, 0, 0, 0, 0, 0, *[0] * 5] * 6, "<u4"))
        done = start.run()
        assert done.trap is not None
        first = start.values[cache] + (6 * row_bytes if lists else 0)
        assert (done.trap.cause, done.trap.value) == (Cause.LOAD_ACCESS, first)
        start.csrs["attn.row_list"] = NOWHERE
        done = start.run()
        assert done.trap is not None
        assert (done.trap.cause, done.trap.value) == (Cause.LOAD_ACCESS, NOWHERE)


def test_the_csrs_of_an_entry_are_those_that_are_read(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    for mnemonic in MNEMONICS:
        with csrs_that_are_read(monkeypatch) as read:
            for seed in range(3):
                Start(pair, mnemonic, np.random.default_rng(seed), seed, seed).run()
        assert csrs(TABLE[mnemonic]) == [name for name in CSRS if name in read and name.startswith("attn.")], mnemonic


# ------------------------------------------------------------------------------------------------ what is left


def test_nothing_left_and_no_tokens(pair: Pair) -> None:
    """Where a mask leaves all out: probabilities are NaN, the largest is -inf. attn.context of no tokens writes no zeros."""
    for mnemonic, result, expected in (("attn.sfm.f32", "probs", 0x7FC0_0000), ("attn.mvsb.f32", "most", 0xFF80_0000)):
        start = Start(pair, mnemonic, np.random.default_rng(4))
        start.csrs["attn.mask"] = pair.put(np.zeros(8, "u1"))
        assert start.run().trap is None
        assert (pair.get(start.values[result], "<u4", start.count) == expected).all()
    start = Start(pair, "attn.context.f32", np.random.default_rng(5))
    before = pair.get(start.values["context"], "<u4", 30)
    start.values["n"] = 0
    assert start.run().trap is None
    assert np.array_equal(pair.get(start.values["context"], "<u4", 30), before)
