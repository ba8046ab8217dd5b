"""Marks: the symbols of a program's code between which its parts lie.

In the program of a model, the marks `op.SECTION.N` stand behind operation N of a section, `token` in front of each position, and
`chosen` behind the choice of a token: what came before a mark belongs to it. In code for a chunk of a prompt the marks behind
operations are `chunk.SECTION.N`; `taken` is in front of each token that is taken into the chunk, `chunk_layer` (or `chunk_layerN`)
in front of each layer. What a chunk does belongs to the position of its last token. Programs for several sequences have code for
chunks alone; there `prompt_token` is in front of each token of a prompt and `step` in front of a step: these count as positions.
Behind copies of keys and values that come near the units, or go back, are the marks `near.fetched.WHERE` and `near.written.WHERE`;
`near.states.WHERE` is in front of the former where hidden states came to frames before.
Where a prompt is cut, `segmentN_chunk` is in front of a chunk that goes on from the layer behind cut N - 1, `chunk_segmentN_done`
behind it. In other programs each symbol of the code begins a part.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from isa.program import Program

_MARK = re.compile(r"(op|chunk)\.\w+\.\d+$|token$|taken$|prompt_token$|step$|chosen$|chunk_layer\d*$"
                   r"|segment\d+_chunk$|chunk_segment\d+_done$|near\.\w+\.\w+$")
_OPERATION = re.compile(r"(op|chunk)\.(start|layer\d*|finish)\.\d+$")
NO_LAYER = -1


@dataclass(frozen=True)
class Reached:
    """What came before a mark of a model's program: "op.layer.3 gemv.i8", its layer or NO_LAYER, its position from 0 on."""

    name: str
    layer: int
    position: int


class Marks:
    """The marks of a program: `names` by address. `of_model`: those of the program of a model, of which `reached` keeps count."""

    def __init__(self, program: Program) -> None:
        executable = [section for section in program.sections if "x" in section.flags]
        symbols = {symbol.value: symbol.name for symbol in sorted(program.symbols, key=lambda symbol: symbol.rank())
                   if any(section.address <= symbol.value < section.end for section in executable)}
        self.of_model = any(_OPERATION.match(name) for name in symbols.values())
        self.names = {place: name for place, name in symbols.items() if not self.of_model or _MARK.match(name)}
        self._operations = program.meta.get("model", {}).get("operations", {})
        self._firsts = [0, *program.meta.get("model", {}).get("cuts", {}).get("layers", ())]
        self._layer, self._position = NO_LAYER, -1              # what comes before the first position belongs to it
        self._before = NO_LAYER                                 # the layer before the one at which a chunk goes on

    @property
    def position(self) -> int:
        """That of what comes now."""
        return max(0, self._position)

    def behind(self, place: int) -> int | None:
        """The address of the mark behind an instruction, None behind the last one."""
        return min((mark for mark in self.names if mark > place), default=None)

    def reached(self, place: int) -> Reached:
        """The machine has come to the mark at this address of a model's program."""
        mark = self.names[place]
        if mark.startswith("near."):
            return Reached(mark.rpartition(".")[0], self._layer, self.position)
        code, _, operation = mark.partition(".")
        section, _, number = operation.rpartition(".")
        if section:
            self._layer = NO_LAYER if not section.startswith("layer") else self._layer + (code == "op" and number == "0")
        elif not mark.startswith(("chunk_layer", "chunk_segment")):
            self._layer = NO_LAYER
        operations = self._operations.get(section, ())
        known = number.isdecimal() and int(number) < len(operations)
        name = f"{mark} {operations[int(number)]}" if known else mark
        before = Reached(name, self._layer, self.position)
        if segment := re.match(r"segment(\d+)_chunk", mark):
            self._before = self._firsts[int(segment[1])] - 1
        elif mark.startswith("chunk_segment"):
            self._layer = NO_LAYER
        elif mark.startswith("chunk_layer"):
            self._layer, self._before = (self._before if self._layer == NO_LAYER else self._layer) + 1, NO_LAYER
        self._position += mark in ("token", "taken", "prompt_token", "step")
        return before
