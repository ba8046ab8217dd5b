"""The instruction mix: how often each mnemonic, unit, function and source line was executed, from a machine's profile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from isa.disassembly import SymbolIndex
from isa.instruction import find
from isa.program import Program
from isa.reference import ReferenceMachine
from isa.text import printable

HOTTEST = 10                # symbols and source lines that the table shows


@dataclass
class Mix:
    """Retired instructions since the machine's `profile` was called. The name "" stands for an unknown symbol or line."""

    mnemonics: Counter[str] = field(default_factory=Counter)
    units: Counter[str] = field(default_factory=Counter)
    symbols: Counter[str] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)            # by "file:line"

    @property
    def instructions(self) -> int:
        return self.mnemonics.total()

    def as_json(self) -> dict[str, object]:
        """Plain data: four histograms, each with the largest counts first."""
        return {"instructions": self.instructions} | {name: dict(histogram.most_common()) for name, histogram in self._histograms()}

    def table(self) -> Iterator[str]:
        """Lines of text: every mnemonic and unit, the hottest symbols and source lines."""
        for title, histogram in self._histograms():
            shown = histogram.most_common(None if title in ("mnemonics", "units") else HOTTEST)
            rest = len(histogram) - len(shown)
            yield f"{title}" + (f" (the {len(shown)} highest of {len(histogram)})" if rest else "")
            names = [printable(name) for name, _ in shown]
            width = max(map(len, names), default=0)
            for name, (_, count) in zip(names, shown, strict=True):
                yield f"  {name or '(none)':<{max(width, 26)}}  {count:>15,}  {count / self.instructions:>6.1%}"

    def _histograms(self) -> Iterator[tuple[str, Counter[str]]]:
        return ((name, getattr(self, name)) for name in ("mnemonics", "units", "symbols", "lines"))


def instruction_mix(machine: ReferenceMachine) -> Mix:
    """The mix of what a machine has executed since its `profile` was called."""
    program = machine.program or Program()
    index, mix = SymbolIndex(program), Mix()
    for (pc, word), count in machine.visits.items():
        row = find(word)
        assert row is not None                          # it was retired
        mix.mnemonics[row.mnemonic] += count
        mix.units[row.unit] += count
        mix.symbols[index.name(pc).partition("+")[0]] += count
        mix.lines[program.line_at(pc)] += count
    return mix
