"""Banks that compute: matrices lie in the banks of a PIM memory and are multiplied there; attention has a unit of its own.

Everything is in hbm: the matrices from the first row on, behind them what is read linearly, weights and caches.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from compiler.errors import ModelError, RoomError
from compiler.graph import Graph
from compiler.lowering import around_banks, attn, pim
from compiler.lowering.emit import LAYER_ROW
from compiler.model.model import Config, Model, roles
from compiler.passes.kv_cache import Attention
from compiler.passes.to_banks import to_banks
from compiler.placing.bank_placement import SIZES, Banked, Placement, format_in_banks, organisation, place
from compiler.placing.memory_plan import MemoryPlan
from compiler.placing.weights import PAGE, WeightLayout
from compiler.targets.target import Home, Image, MapRow, Target
from isa.preset import Preset, load_preset, preset_names
from isa.regions import HBM

if TYPE_CHECKING:
    from compiler.lowering.lower import Lowering


class Banks(Target):
    """A machine with a pim unit, and no LUT unit that would take its products."""

    units = ("vec", "fetch", "sync", "pim", "attn")
    readers = frozenset(("vec", "attn"))
    weights = Home(HBM, '.hbm.weights, "aw"')
    caches = Home(HBM, '.hbm.caches, "aw", @nobits')
    outside = Home(HBM, '.hbm.outside, "aw", @nobits')
    kept = ("zeros",)
    by_token = True

    def __init__(self, machine: Preset, model: Model, graph: Graph, *, int8: bool) -> None:
        self.placement = place(model, organisation(machine), [body.layers for body in graph.bodies], int8=int8)
        super().__init__(machine, model, to_banks(graph, self.placement), int8=int8)

    @classmethod
    def suits(cls, machine: Preset) -> bool:
        return machine.has_unit("pim") and not machine.has_unit("lut")

    @classmethod
    def attention(cls, machine: Preset, config: Config, kv: str) -> Attention:
        """HPIM transposes keys. The unit does not look at int8 scales behind transposed keys from a later position on, as a window
        wants it, so int8 keys have a row for each position."""
        return Attention("attn", transposed=kv != "i8")

    # -------------------------------------------------------------------------------------------- memory

    def elsewhere(self, role: str, layer: int) -> Banked | None:
        return self.placement.of(role, layer)

    def images(self, layout: WeightLayout) -> list[Image]:
        matrices = Image("banks", Home(HBM, '.hbm.banks, "aw"'), self.placement,
                         ("matrices in the banks, from the first row on", *str(self.placement).splitlines()))
        return [matrices] * bool(self.placement.size) + super().images(layout)

    def scratch(self) -> dict[str, int]:
        return pim.scratch(self.placement) | around_banks.scratch(self.placement)

    def check(self, layout: WeightLayout, memory: MemoryPlan) -> None:
        if not self.reached:
            raise ModelError("", self.place, got="units vec and attn without ports to hbm",
                             expected="ports to hbm: scales, keys and values are stored there")
        c = self.model.config
        for name, needed, what in (("attn.heads", c.heads, "heads"), ("attn.channels", c.q_dim, "channels of all heads")):
            if needed > self.machine.parameter(name):
                raise ModelError("", self.place, got=f"{needed:,} {what}",
                                 expected=f"at most the {self.machine.parameter(name):,} of its attention unit ({name})")
        linear = layout.size + memory.cache_bytes + sum(memory.outside.values()) + 2 * PAGE
        needed, room = self.placement.size + linear, self.placement.banks.size
        if needed > room:
            fits = _what_fits(self.placement, linear)
            raise RoomError(self.model.path, self.place, region=HBM, got=f"weights and caches take {needed:,} bytes of hbm",
                            expected=f"at most {room:,}: {needed - room:,} are missing", solved=bool(fits),
                            hint="; ".join(f"{option} fits" for option in fits) or "no format or machine has enough room")

    def mapped(self, weights: MapRow, caches: MapRow) -> tuple[list[MapRow], list[str]]:
        matrices = self.placement
        if not matrices.size:
            why = "i8 and f16 (--weights i8 or f16)" if matrices.int8 else "f16, and i8 with int8 activations"
            return [weights, caches], [f"no matrix is in the banks: they compute with {why}; the vector unit reads these"]
        rows, at = [(HBM, matrices.size, "matrices in the banks, see below")], matrices.size
        for region, size, text in (weights, caches):
            rows.append((region, size, f"{text}; {matrices.rows_of(at, size)}"))
            at += size
        return rows, str(matrices).splitlines()

    # -------------------------------------------------------------------------------------------- code of the program

    def start(self, c: Lowering) -> None:
        attn.start(c)
        pim.start(c, self.placement.banks)

    def enter_layers(self, c: Lowering, layer: int = 0) -> None:
        rows = self.placement.layers_row + c.graph.before(layer, self.placement.body_rows)
        c.emit.line(f"li {LAYER_ROW}, {rows}", "where the layer begins in the banks")

    def enter_body(self, c: Lowering) -> None:
        attn.of_body(c)

    def next_layer(self, c: Lowering) -> None:
        c.emit.advance(LAYER_ROW, self.placement.body_rows[c.body])


# ------------------------------------------------------------------------------------------------ a way out


def _what_fits(placement: Placement, linear: int) -> list[str]:
    """Options with which a model fits that does not fit now: the widest format, the smallest preset."""
    model, groups, int8 = placement.model, placement.groups, placement.int8
    options: list[str] = []
    outside = [model.tensor(name) for name in _in_layers(model) if not format_in_banks(model.tensor(name), name, int8=int8)]
    narrower = [form for form in SIZES if outside or any(SIZES[form] < SIZES[m.format] for _, m, _ in placement.matrices())]
    for form in narrower:
        plan = place(model, placement.banks, groups, form)
        scales = 4 * sum(m.shape[0] for _, m, _ in plan.matrices())
        moved = sum(tensor.format.row_bytes(tensor.shape[1]) * tensor.shape[0] for tensor in outside)
        if plan.size + linear - moved + scales <= plan.banks.size:
            options.append(f"--weights {form}")
            break
    others = [other for other in map(load_preset, preset_names()) if Banks.suits(other) and other.has_unit("attn")]
    plans = [(place(model, organisation(other), groups, int8=int8), other.name) for other in others]
    larger = [(plan.banks.size, name) for plan, name in plans if plan.size + linear <= plan.banks.size]
    if larger:
        options.append(f"--machine {min(larger)[1]}")
    return options


def _in_layers(model: Model) -> Iterator[str]:
    """Names of the matrices of all layers."""
    return (role for role, shape in roles(model.config) if role.startswith("layers.") and len(shape) == 2)
