"""A second micro-program engine, written from the page of the pim unit (docs/isa/pim.md) alone: one channel, NumPy's float16.

    model = Channel(words, grf_a, grf_b, srf, banks)
    model.command(write, parity, column, row)       executes one, or raises Refused with mtval
"""

from __future__ import annotations

import numpy as np

CLASSES = ("a_out", "m_out", "even_bank", "odd_bank", "grf_a", "grf_b", "srf_m", "srf_a")
OPERATIONS = {1: "add", 2: "mul", 3: "mac", 4: "mad", 8: "mov", 9: "fill"}
GRF, BANK, SRF = {4, 5}, {2, 3}, {6, 7}
ALL = GRF | BANK | SRF
MAY = {"add": (GRF, ALL, ALL), "mul": (GRF, GRF | BANK, ALL), "mac": ({5}, GRF | BANK, ALL), "mad": (GRF, GRF | BANK, ALL, ALL),
       "mov": (ALL, GRF | BANK), "fill": (GRF, BANK)}


class Refused(Exception):
    """ILLEGAL_OPERAND with this mtval."""

    def __init__(self, value: int) -> None:
        super().__init__(value)
        self.value = value % (1 << 64)


def canonical(x: np.ndarray) -> np.ndarray:
    """Bits of fp16 numbers, NaN as the canonical one."""
    return np.where(np.isnan(x), np.uint16(0x7E00), np.asarray(x, np.float16).view(np.uint16))


class Word:
    """The fields of a word, as the picture has them."""

    def __init__(self, bits: int) -> None:
        self.bits, self.opcode = bits, bits >> 28
        self.name = OPERATIONS.get(self.opcode, "")
        self.aam, self.relu = bits >> 15 & 1, bits >> 12 & 1
        kinds = [bits >> shift & 7 for shift in (25, 22, 19, 16)]
        indices = [bits >> shift & 15 for shift in (8, 4, 0, 0)]
        self.operands = list(zip(kinds, indices, strict=True))[:len(MAY.get(self.name, ()))]
        self.steps = self.aam or self.name == "fill"            # register numbers come from the column

    @property
    def is_legal(self) -> bool:
        if self.opcode in (0, 14, 15):
            return True
        if not self.name or (self.aam and self.opcode >= 8) or (self.relu and self.opcode < 8):
            return False
        for (kind, index), may in zip(self.operands, MAY[self.name], strict=True):
            if kind not in may or (kind not in BANK and index > 7):
                return False
        return not (self.name == "mov" and self.operands[0][0] in BANK and self.operands[1][0] in BANK)

    @property
    def commands(self) -> int:
        return (self.bits & 0x7FF) + 1 if self.opcode == 0 else 8 if self.steps else 1


class Channel:
    """Blocks of a channel. Registers are fp16 bits; `banks[block][parity]` is bits (columns, 16) of the open row."""

    def __init__(self, words: list[int], grf_a: np.ndarray, grf_b: np.ndarray, srf: np.ndarray, banks: np.ndarray) -> None:
        self.words, self.grf = words, {4: grf_a, 5: grf_b}          # (blocks, 8, 16)
        self.srf, self.banks = srf, banks                           # (blocks, 16), (blocks, parities, columns, 16)
        self.pc = self.repeat = 0
        self.jumps = [0] * 32

    def command(self, write: bool, parity: int, column: int, row: int) -> None:
        pc, jumps, looked = self.pc, list(self.jumps), set()
        while True:
            if pc == 32:
                raise Refused(32)
            word = Word(self.words[pc])
            if not word.is_legal:
                raise Refused(word.bits)
            if word.opcode == 15:
                raise Refused(pc)
            if word.opcode != 14:
                break
            if pc in looked:
                raise Refused(word.bits)
            looked.add(pc)
            if jumps[pc] == word.bits >> 11 & 0x1FFFF:
                jumps[pc], pc = 0, pc + 1
            else:
                jumps[pc], pc = jumps[pc] + 1, pc + 1 - (word.bits & 0x7FF)
            if pc < 0:
                raise Refused(pc)
        places = [*enumerate(word.operands)]
        for place, (kind, _) in places[1:] + places[:1]:            # sources, then the destination
            if kind in BANK and (kind != 2 + parity or write != (place == 0)):
                raise Refused(kind)
        self.execute(word, write, parity, column, row)
        self.jumps, self.repeat, self.pc = jumps, self.repeat + 1, pc
        if self.repeat >= word.commands:
            self.repeat, self.pc = 0, pc + 1

    def execute(self, word: Word, write: bool, parity: int, column: int, row: int) -> None:
        lanes = self.banks[:, parity, column]                       # (blocks, 16), a view
        if word.opcode == 0:
            if write:
                lanes[:] = self.grf[4 + parity][:, column % 8]
            return

        def number(kind: int, index: int) -> int:
            if not word.steps:
                return index
            return 4 * (row % 2) + column // 8 % 4 if word.name == "mac" and kind == 4 else column % 8

        def bits(kind: int, index: int) -> np.ndarray:
            if kind in BANK:
                return lanes.copy()
            if kind in SRF:
                return np.repeat(self.srf[:, 8 * (kind - 6) + index, None], 16, axis=1)
            return self.grf[kind][:, number(kind, index)].copy()

        (to, index), *sources = word.operands
        first = bits(*sources[0])
        if word.opcode >= 8:
            result = np.where(first >> 15 == 1, np.uint16(0), first) if word.relu else first
        else:
            values = [bits(*source).view(np.float16) for source in sources]
            with np.errstate(all="ignore"):
                if word.name == "add":
                    result = values[0] + values[1]
                elif word.name == "mul":
                    result = values[0] * values[1]
                elif word.name == "mac":
                    result = bits(to, index).view(np.float16) + values[0] * values[1]
                else:
                    result = values[0] * values[1] + values[2]
            result = canonical(result)
        if to in BANK:
            lanes[:] = result
        elif to in SRF:
            self.srf[:] = result
        else:
            self.grf[to][:, number(to, index)] = result
