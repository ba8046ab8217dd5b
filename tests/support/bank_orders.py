"""Operations of published workloads in their published order, without a program: what the rule of banks is asked for in its tests.

An operation is (mnemonic, operands by name). Orders: src/tests/PIMKernel.cpp of PIMSimulator; AiM's forms as its traces have them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from isa.preset import load_preset
from isa.regions import HBM
from isa.timing.bank_state import FIGURES, HELD, figures_of, state_of
from isa.timing.banks import bank_operation, mask_words
from isa.units.pim.kinds import KIND_NUMBERS, PLACES, kind_table

Operation = tuple[str, dict[str, int]]


class Channels:
    """The rule with its state. `ask` gives the end of an operation; `end` is the latest end so far."""

    def __init__(self, machine: str, first: int = 0, **other: int) -> None:
        preset = load_preset(machine)
        number, memory = preset.parameter, preset.memory(HBM)
        figures = {name: getattr(memory, name) for name in FIGURES} | other
        self.figures = figures_of(figures, number("pim.banks"), number("pim.bank_groups"), number("pim.blocks"), kind_table())
        self.channels = number("pim.channels")
        self.state = state_of(self.figures, self.channels)
        self.first = self.end = first

    def ask(self, mnemonic: str, mask: int | None = None, start: int | None = None, second: int = -1, **values: int) -> int:
        place = PLACES[mnemonic]
        mask = (1 << self.channels) - 1 if mask is None else mask
        words = mask_words(mask)
        end = int(bank_operation(self.state, self.figures, KIND_NUMBERS[place.kind], *words, values.get(place.bank, 0), second,
                                 values.get(place.row, 0), place.columns_of(values, 16), self.first if start is None else start))
        self.end = max(self.end, end)
        return end

    def total(self, operations: Iterator[Operation]) -> int:
        for mnemonic, values in operations:
            self.ask(mnemonic, **values)
        return max(self.end, int(self.state[HELD]))


# ------------------------------------------------------------------------------------------------ HBM-PIM


def park() -> Iterator[Operation]:
    *banks, last = [bank % 4 * 4 + bank // 4 for bank in range(16)]
    for bank in banks:
        yield "pim.act", {"bank": bank, "row": 4096}
    for bank in banks:
        yield "pim.rd", {"bank": bank}
        yield "pim.pre", {"bank": bank}
    yield "pim.act", {"bank": last, "row": 4096}
    yield "pim.rd", {"bank": last}
    yield "pim.pre", {"bank": last}


def columns(command: str, parity: int, row: int, count: int) -> Iterator[Operation]:
    yield "pim.act.hab", {"parity": parity, "row": row}
    for _ in range(count):
        yield command, {"parity": parity}
    yield "pim.pre.hab", {"parity": parity}


def gemv(outputs: int, inputs: int, batch: int = 1) -> Iterator[Operation]:
    tiles, input_tiles = -(-outputs // 4096), -(-inputs // 128)
    even = -(-input_tiles // 2)
    yield from park()
    yield "pim.mode.hab", {}
    yield "pim.wr.crf", {}
    for number in range(tiles * batch):
        yield "pim.mode.hab_pim", {}
        for parity in range(2):
            for tile in range(parity, input_tiles, 2):
                yield from (("pim.wr.grf_a", {"index": index}) for index in range(8))
                for row in range(2):
                    yield from columns("pim.rd.pim", parity, 2 * (number // batch * even + tile // 2) + row, 32)
        yield from columns("pim.wr.pim", 1, 2 * tiles * even + number // 4, 8)
        yield "pim.mode.hab", {}
    yield "pim.mode.sb", {}
    yield from park()


def elementwise(elements: int, sources: int) -> Iterator[Operation]:
    yield from park()
    yield "pim.mode.hab", {}
    yield "pim.wr.crf", {}
    yield "pim.mode.hab_pim", {}
    for step in range(elements // 131072):
        for parity in range(2):
            for source in range(sources):
                yield from columns("pim.rd.pim", parity, 128 * source + step // 4, 8)
            yield from columns("pim.wr.pim", parity, 256 + step // 4, 8)
    yield "pim.mode.hab", {}
    yield "pim.mode.sb", {}
    yield from park()


# ------------------------------------------------------------------------------------------------ AiM


def aim_gemv(outputs: int, inputs: int) -> Iterator[Operation]:
    all_columns = -(-inputs // 16)
    chunks = [min(64, all_columns - at) for at in range(0, all_columns, 64)]
    row = 0
    if len(chunks) == 1:
        yield "pim.wr_gb", {"opsize": chunks[0]}
    for _ in range(-(-outputs // 512)):
        yield "pim.wr_bias.f16", {}
        for chunk in chunks:
            if len(chunks) > 1:
                yield "pim.wr_gb", {"opsize": chunk}
            yield "pim.mac_abk.f16", {"row": row, "opsize": chunk}
            row += 1
        yield "pim.rd_mac.f16", {}


def forms(mnemonic: str, rows: range, **values: int) -> Iterator[Operation]:
    yield from ((mnemonic, {"row": row, **values}) for row in rows)


def activations(columns: int, times: int) -> Iterator[Operation]:
    for row in range(times):
        yield "pim.wr_bias.f16", {}
        yield "pim.mac_abk.f16", {"row": row, "opsize": columns}
        yield "pim.af.f16", {"mode": 0}
        yield "pim.rd_af", {}


def copies(times: int) -> Iterator[Operation]:
    for row in range(times):
        yield "pim.wr_gb", {"opsize": 64}
        yield "pim.copy_gbbk", {"bank": 0, "row": row, "opsize": 64}
        yield "pim.copy_bkgb", {"bank": 1, "row": row, "opsize": 64}


def macs_in_banks(columns: int, rows: int) -> Iterator[Operation]:
    yield from (("pim.mac_sbk.f16", {"bank": bank, "row": row, "opsize": columns}) for row in range(rows) for bank in range(16))


def random_operations(random: np.random.Generator, count: int) -> Iterator[tuple[str, dict[str, int]]]:
    """Macro forms of any kind, with operands in range."""
    names = sorted(name for name, place in PLACES.items() if place.kind != "nothing" and not name.startswith(
        ("pim.act", "pim.pre", "pim.rd.pim", "pim.wr.pim", "pim.wr.hab", "pim.mode", "pim.wr."))
        and name not in ("pim.rd", "pim.wr"))
    for _ in range(count):
        yield names[random.integers(len(names))], {
            "bank": int(random.integers(16)), "row": int(random.integers(3)), "opsize": int(random.integers(1, 65)),
            "mode": int(random.integers(8))}
