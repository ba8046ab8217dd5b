"""What the data of a program are used for: bytes of each tensor in each memory, and what thresholds leave in each layer.

    tensors = Tensors(machine);  machine.run();  tensors.finish()
    tensors.traffic["layer.q"]["dram"]      bytes of it that units have read and written there
    tensors.layers["layer 0"]               its thresholds, the elements that were compared, and those above

A tensor is what a symbol names. In the program of a model the operation (marks.py) says more: all weights are behind one symbol,
and tiles of them pass through the same buffers, so an access there belongs to the weights that the operation names, in equal parts
where there are several. Values of a token lie in the scratchpad where other ones were before; those that the operation does not
name are OTHERS, such as the values of a prompt's further tokens.
Looking at each operation of a unit takes much longer than the run itself: after LIMIT of them bytes are not counted any more.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field

from emulator.observe.marks import NO_LAYER, Marks
from isa.arithmetic import f32_from_bits
from isa.counters import COUNTERS
from isa.instruction import Row
from isa.reference import ReferenceMachine, Step
from isa.regions import HBM, SRAM

LIMIT = 10_000              # operations of units: some seconds
OTHERS = "other values"
BANKS = "banks of hbm"       # of which a pim unit reads what stays there
_SHARED = ("weights", "resident", "buffers", "banks")        # symbols behind which many tensors lie
_COMPARES = ("thr.gt.f32", "thr.absgt.f32")


@dataclass
class Compared:
    """What thresholds have done in a layer."""

    thresholds: list[float] = field(default_factory=list)       # those that were used, each once
    elements: int = 0
    above: int = 0


class Tensors:
    """Looks on from now on while `machine` runs a program. `traffic`: by tensor and region; `layers`: those that compare."""

    def __init__(self, machine: ReferenceMachine, limit: int = LIMIT) -> None:
        assert machine.program is not None
        self.machine, self.limit, self.program = machine, limit, machine.program
        self.traffic: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self.layers: dict[str, Compared] = {}
        self.looked = 0                                         # at operations of units
        data = [each for each in self.program.sections if "a" in each.flags and "x" not in each.flags]
        named = defaultdict[int, list[str]](list)
        for symbol in sorted(self.program.symbols, key=lambda symbol: symbol.rank(), reverse=True):
            if symbol.section and any(each.address <= symbol.value < each.end for each in data):
                named[symbol.value].append(symbol.name)
        self._starts = sorted(named)
        self._names = [named[place] for place in self._starts]          # at each, the one that counts first
        self._regions = [(region.base, region.base + region.size, region.name) for region in machine.preset.regions]
        self._marks = Marks(self.program)
        card = self.program.meta.get("model", {})
        layers = {name for names in card.get("operations", {}).values() for text in names for name in _words(text)
                  if name.startswith("layer.")}
        self._weights = layers | {name for name in ("head", *card.get("formats", ())) if f"layer.{name}" not in layers}
        self._moved: dict[tuple[int, str], int] = defaultdict(int)      # since the last mark: bytes by start and region
        self._compared: list[tuple[float, int, int]] = []               # threshold, elements, those above
        machine.hook(self._look_at_bytes, _of_unit)
        machine.hook(self._look_at_thresholds, lambda _pc, row: row is not None and row.mnemonic in _COMPARES)
        if self._marks.of_model:
            machine.hook_before(self._look_at_mark, self._marks.names)

    @property
    def whole(self) -> bool:
        """Whether all operations were looked at."""
        return self.looked < self.limit

    def finish(self) -> None:
        """The run has ended."""
        self._belongs("")
        for look in (self._look_at_bytes, self._look_at_thresholds, self._look_at_mark):
            self.machine.unhook(look)

    # ---------------------------------------------------------------------------------------------- what happens

    def _look_at_bytes(self, machine: ReferenceMachine, step: Step) -> None:
        if step.trap is not None:
            return
        for address, size in (*step.reads, *((address, len(data)) for address, data in step.writes)):
            region = next((name for start, end, name in self._regions if start <= address < end), "")
            region = BANKS if region == HBM and step.row is not None and step.row.unit == "pim" else region
            self._moved[bisect_right(self._starts, address) - 1, region] += size
        self.looked += 1
        if not self.whole:
            machine.unhook(self._look_at_bytes)

    def _look_at_thresholds(self, machine: ReferenceMachine, step: Step) -> None:
        if step.trap is None:
            passes = COUNTERS["thr.passes"].slot
            self._compared.append((float(f32_from_bits(step.values["theta"])), int(step.values["n"]),
                                   int(machine.counts[passes]) - int(step.before[passes])))

    def _look_at_mark(self, _machine: ReferenceMachine, step: Step) -> None:
        before = self._marks.reached(step.pc)
        self._belongs(before.name)
        for threshold, elements, above in self._compared:
            found = self.layers.setdefault(f"layer {before.layer}" if before.layer != NO_LAYER else "outside of layers", Compared())
            found.elements += elements
            found.above += above
            if threshold not in found.thresholds:
                found.thresholds.append(threshold)
        self._compared.clear()

    def _belongs(self, operation: str) -> None:
        """What was moved since the last mark belongs to tensors of an operation: "op.layer.2 q = gemv.i8 x, layer.q"."""
        words = _words(operation.partition(" ")[2])
        weights = [word for word in words if word in self._weights]
        for (place, region), size in self._moved.items():
            names = self._names[place] if place >= 0 else ["(no symbol)"]
            found = [name for name in names if name in words][:1] or names[:1]
            if words and found[0] not in words:
                found = weights if weights and found[0] in _SHARED else [OTHERS] if region == SRAM else found
            for name in found:
                self.traffic[name][region] += size / len(found)
        self._moved.clear()


def _words(operation: str) -> list[str]:
    return operation.replace(",", " ").split()


def _of_unit(_pc: int, row: Row | None) -> bool:
    return row is not None and row.is_xslim
