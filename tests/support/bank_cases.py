"""Random starts for instructions of the pim unit: which channels, which rows are open, what is in registers and micro-programs."""

from __future__ import annotations

from typing import Any

import numpy as np
from both_engines import HBM, WINDOW

from isa.units.pim import crf


class BankCases:
    """The part of test_differential.Cases that fills a Case for the pim unit. `chance`, `below`, `one_of`, `array` are its own."""

    random: np.random.Generator
    machine: Any
    pair: Any

    def banks(self, case: Any, dims: dict[str, int]) -> None:
        """Channels, coordinates, and a state of the banks that mostly suits the command."""
        banks, name = self.preset.banks, case.row.mnemonic
        channels = self.random.choice(banks.channels, 1 + self.below(min(3, banks.channels)), replace=False)
        for word in range(4):
            mask = sum(1 << int(channel) % 64 for channel in channels if channel // 64 == word)
            case.csrs["pim.channel_mask" + (str(word) if word else "")] = mask
        dims |= {"selected": len(channels), "bank": self.below(banks.banks), "row": self.below(banks.rows),
                 "column": self.below(banks.columns)}
        rows = np.where(self.random.random((banks.channels, banks.banks)) < 0.1, -1, dims["row"])
        if ".act" in name:
            rows = np.where(self.random.random(rows.shape) < 0.9 + 0.1 * self.below(2), -1, rows)
        case.state["pim.open_row"] = rows.astype(np.int32).reshape(-1)
        needed = {"pim.rd.pim": 2, "pim.wr.pim": 2, "pim.mode.sb": 1, "pim.mode.hab_pim": 1, "pim.mode.hab": 2 * self.below(2)}.get(
            name, 1 if ".hab" in name or name.startswith(("pim.wr.crf", "pim.wr.grf", "pim.wr.srf")) else 0)
        if needed != 2 and "mode" in name and self.chance(0.9):
            case.state["pim.open_row"][:] = -1
        case.state["pim.mode"] = np.full(banks.channels, needed if self.chance(0.9) else self.below(3), np.uint8)
        dims |= {"parity": self.below(2), "index": self.below(4), "zeroed": self.below(4)}
        if ".pim" in name.removeprefix("pim"):
            self.microprogram(case, dims["parity"], name.startswith("pim.wr"))
            places = banks.address(channels[:, None], np.arange(banks.banks), dims["row"], dims["column"])
            case.data += [(int(place), self.array("f16", 16)) for place in places.reshape(-1)]
        if case.row.meaning.__module__.endswith(".macros"):
            first, buffer = self.below(banks.columns), self.below(banks.columns)
            case.csrs |= {"pim.column": first, "pim.buffer_column": buffer, "pim.next_bank": self.below(2),
                          "pim.group_mask": self.one_of(((1 << 64) - 1, self.below(1 << banks.bank_groups)))}
            dims |= {"opsize": 1 + self.below(banks.columns - max(first, buffer)), "pim.banks": banks.banks, "mode": self.below(8)}
            self.numbers_in_banks(case, channels, dims["row"])

    def numbers_in_banks(self, case: Any, channels: np.ndarray, row: int) -> None:
        """Numbers of the form that a macro form works on: in some banks, buffers, accumulators and tables."""
        banks, form = self.preset.banks, case.row.mnemonic.rpartition(".")[2]
        form = form if form in ("f16", "bf16") else "i8"

        def numbers(size: int) -> np.ndarray:
            return np.ascontiguousarray(self.array(form, size if form == "i8" else size // 2)).view(np.uint8)

        if banks.size <= WINDOW:
            case.data.append((HBM, numbers(banks.size)))
        elif banks.contiguous == banks.columns:
            case.data += [(int(banks.address(channel, bank, row, 0)), numbers(banks.row_bytes))
                          for channel in channels for bank in self.random.choice(banks.banks, 3)]
        for name in ("pim.global_buffer", "pim.af_tables", "pim.af_results"):
            array = self.pair.reference.state[name]
            case.state[name] = numbers(array.nbytes).view(array.dtype)
        words = self.f32 if form == "bf16" else lambda count: self.random.integers(0, 1 << 32, count, np.uint32)
        case.state["pim.accumulators"] = words(self.pair.reference.state["pim.accumulators"].size).view(np.uint32)

    def microprogram(self, case: Any, parity: int, write: bool) -> None:
        """Registers, and CRFs of instructions that mostly suit the command."""
        banks = self.preset.banks
        for name, count in (("grf_a", 128), ("grf_b", 128), ("srf", 16)):
            case.state[f"pim.{name}"] = self.array("f16", banks.channels * banks.blocks * count).view(np.float16)
        words = np.array([self.crf_word(parity, write) for _ in range(64)], np.uint32)
        case.state["pim.crf"] = self.random.choice(words, (banks.channels, 32)).astype(np.uint32)
        if self.chance(0.5):                    # the same program everywhere, as it is mostly
            case.state["pim.crf"][:] = case.state["pim.crf"][0]
        case.state["pim.crf"] = case.state["pim.crf"].reshape(-1)
        case.state["pim.crf_pc"] = np.full(banks.channels, self.below(34), np.uint8)
        case.state["pim.crf_repeat"] = np.full(banks.channels, self.below(8), np.uint32)
        case.state["pim.crf_jumps"] = self.random.integers(0, 3, banks.channels * 32, np.uint32)

    def crf_word(self, parity: int, write: bool) -> int:
        """A legal instruction for a command, now and then any bits."""
        if self.chance(0.05):
            return self.below(1 << 32)
        opcode = self.one_of((crf.NOP, crf.MOV) if write else (*crf.SHAPES, crf.MAC, crf.MAC, crf.NOP))
        if self.chance(0.15):
            opcode = self.one_of((crf.JUMP, crf.JUMP, crf.EXIT))
        if opcode not in crf.SHAPES:
            count, offset = self.below(4) * (opcode != crf.EXIT), self.below(6) * (opcode == crf.JUMP)
            return crf.Word(opcode, count=count, offset=offset).encode()
        bank = crf.EVEN_BANK + parity
        kinds = [self.one_of(sorted(kinds - {5 - bank} - ({bank} if place == 0 and not write else set())))
                 for place, kinds in enumerate(crf.SHAPES[opcode].operands)]
        if write:
            kinds = [bank, self.one_of((crf.GRF_A, crf.GRF_B))]
        fields = dict(zip(("dst", "src0", "src1", "src2"), kinds, strict=False))
        indices = {name: self.below(8) for name in ("dst_index", "src0_index", "src1_index")}
        flags = {"aam": int(crf.SHAPES[opcode].aam and self.chance(0.5)), "relu": int(crf.SHAPES[opcode].relu and self.chance(0.5))}
        return crf.Word(opcode, **fields, **indices, **flags).encode()
