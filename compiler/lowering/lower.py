"""What the functions that lower operations work with: `c`, the Lowering of a program. And the list of these functions, by kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from math import prod
from typing import TYPE_CHECKING

from compiler.errors import RoomError
from compiler.graph import Cut, Op
from compiler.lowering.chunk import each_frame
from compiler.lowering.emit import BASE, BUFFER_TAGS, FRAME, LAYER, WEIGHTS, Emitter, Source, Want, number, offset, symbol
from compiler.lowering.logit_parts import parts
from compiler.lowering.tiles import Size, Tile, Unpacked, Way, fetched, tiles
from compiler.placing.bank_placement import Banked
from compiler.placing.memory_plan import PART, MemoryPlan
from compiler.placing.weights import Placed, WeightLayout

if TYPE_CHECKING:
    from compiler.lowering.cim import Macros
    from compiler.targets.target import Target

ONE = number(1)


class Lowering:
    """What the functions that lower operations work with.

    emit    the lines so far; body: number of the graph's body that is lowered now
    built   the activations that the lut, sp or cim unit has loaded: a value's name, "" for none
    chunk   whether this is code for the tokens of a chunk, not for one token
    turns   whether this is code for half of the tokens, which takes turns with the other half (turns.py)
    shown   whether this is code for those tokens of a chunk whose logits are computed now (all_logits.py)
    cut     of which operations are lowered now
    macros  where matrices stand in macros, once it is known (cim.py)
    """

    def __init__(self, target: Target, layout: WeightLayout, memory: MemoryPlan) -> None:
        self.target, self.graph, self.layout, self.memory = target, target.graph, layout, memory
        self.emit = Emitter(memory.overlap, BUFFER_TAGS + (2 * memory.turns or bool(memory.near.turns)))
        self.built, self.body, self.chunk, self.turns, self.shown = "", 0, False, False, False
        self.cut: Cut | None = None
        self.macros: Macros | None = None
        self._labels: dict[str, int] = {}

    def elements(self, name: str) -> int:
        return prod(int(length) for length in self.graph.values[name].shape)

    def length(self, name: str) -> Want:
        """How many elements a value has: of a listed one, as many as neurons are active."""
        if self.graph.values[name].listed:
            return Want("count", "active_count", most=self.elements(name))
        return number(self.elements(name))

    def at(self, name: str, plus: int = 0) -> Want:
        """The address of a value, or scratch, of the token that is computed; `plus` bytes behind its start."""
        if self.chunk and name in self.memory.framed:
            return offset(FRAME, self.memory.slots[name].offset - self.memory.frames + plus, f"{name} + {plus}" if plus else name)
        return symbol(f"{name} + {plus}" if plus else name)

    def tensor(self, role: str) -> Placed:
        """Where a weight of an operation is: "layer.q", "head"."""
        role = self._stored(role)
        return self.layout.bodies[self.body][role.removeprefix("layer.")] if role.startswith("layer.") else self.layout.once[role]

    def _stored(self, role: str) -> str:
        """The role under which a weight is stored."""
        return "embedding" if role == "head" and self.graph.config.tied else role

    @property
    def layer(self) -> int:
        """The first layer of the body that is lowered now; all of it are alike."""
        return self.graph.bodies[self.body].layers[0]

    def weight(self, role: str, part: str = "", plus: int = 0) -> Want:
        """The address of a weight, or of its `part`: scales, codebook, metadata; of centres and differences one of `reused`. `plus`
        bytes behind its start."""
        placed, residency = self.tensor(role), self.memory.residency
        of = placed.reused if part and hasattr(placed.reused, part) else placed
        at, text = getattr(of, part or "offset") + plus, f"{role.removeprefix('layer.')} {part}".rstrip()
        if (copy := residency.at(self._stored(role), self.layer)) is not None:
            return Want("symbol", f"resident + {copy - residency.start + at - placed.offset}", text=f"{text}, resident", near=True)
        if role.startswith("layer."):
            return offset(LAYER, at, text, near=self.layer in residency.layers)
        return offset(WEIGHTS, at, text)

    def banked(self, role: str) -> Banked:
        """Where a weight of an operation lies in the banks."""
        banked = self.target.elsewhere(role, self.graph.bodies[self.body].layers[0])
        assert banked is not None, f"{role} is not in the banks"
        return banked

    @property
    def tokens(self) -> int:
        """For how many tokens operations are emitted, at most."""
        return self.memory.chunk if self.chunk else 1

    def each(self, most: int = 1) -> AbstractContextManager[Source]:
        """What is emitted inside works on all tokens, `most` at a time: yields how many. Outside of code for chunks that is one."""
        return each_frame(self, most) if self.chunk else nullcontext(number(1))

    def results(self, name: str) -> Source:
        """Where the results of a product begin, as `tiles` takes it: in code for chunks relative to the frame of a token."""
        return number(self.memory.slots[name].offset - self.memory.frames) if self.chunk else self.at(name)

    def result(self, at: Source) -> Source:
        """The address of results of the current token, from what `tiles` made of `results`. May overwrite a7."""
        if not self.chunk:
            return at
        if isinstance(at, Want):
            return offset(FRAME, int(at.value))
        self.emit.line(f"add a7, {FRAME}, {at}", "results of this tile")
        return "a7"

    def is_near(self, of: Source) -> bool:
        """Whether units reach what lies at an address of a weight, or a cache or weight by its name ("keys", "layer.q")."""
        if self.memory.reached or (isinstance(of, Want) and of.near):
            return True
        if isinstance(of, str) and of in BASE and self.memory.near.holds(self.layer):
            return True
        return isinstance(of, str) and self.memory.residency.holds(self._stored(of), self.layer)

    def reached(self, cache: str) -> tuple[str, ...]:
        """(cache,) if units read it where it lies; () if they read a buffer."""
        return (cache,) if self.is_near(self._base(cache)) else ()

    def _base(self, of: str) -> str:
        return self.memory.caches[of].base if of in self.memory.caches else of

    def operand(self, unit: str, address: Source, size: int, length: str = "", of: str = "") -> AbstractContextManager[Source]:
        """`size` bytes outside the scratchpad as an operand of `unit`. If register `length` is given, it holds how many of them.

        of  the cache or weight that they belong to, where the address is in a register
        """
        if self.is_near(self._base(of) or address):
            return nullcontext(address)
        return fetched(self, unit, address, size, length)

    def vector(self, role: str) -> AbstractContextManager[Source]:
        """A weight that is a vector, as an operand of the vector unit."""
        return self.operand("vec", self.weight(role), 4 * self.tensor(role).shape[0])

    def tiles(self, unit: str, source: Source, rows: int | str, size: Size, *to: tuple[Source, int],
              beside: Sequence[tuple[Source, Size]] = (), result: str = "", of: str = "",
              most: int = 0) -> AbstractContextManager[Tile]:
        """The rows of a matrix as an operand of `unit`: all of them at once, or in a loop over tiles that are fetched.

        rows     a number, or the register that holds it (at least 1)
        size     bytes of a row, or how rows differ
        to       pairs (address, bytes a row): these addresses advance with the rows
        beside   (address, size) of what else the unit reads of the matrix: scales, metadata; 0 bytes: one scale for all rows
        result   the value, at the first address of `to`, that the unit makes: if it lies outside the scratchpad, it is copied there
        of       the cache whose rows they are, where the address is in a register
        most     rows of a tile, if the unit takes no more, or if they are read for one token after the other; 0: any number
        """
        near = self.is_near(self._base(of) or source)
        if result == PART:
            assert isinstance(rows, int)
            fetch = not near or isinstance(size, Unpacked)
            return parts(self, unit, rows, [(source, size), *beside], to[0][0], fetch=fetch, most=most)
        out = result if result in self.memory.outside and not self.memory.reached else ""
        fetch = not near or bool(out) or isinstance(size, Unpacked)
        if fetch or (isinstance(rows, int) and 0 < most < rows):
            return tiles(self, unit, rows, [(source, size), *beside], to, Way(out, fetch, most))
        return nullcontext(Tile(source, number(rows) if isinstance(rows, int) else rows, [address for address, _ in to],
                                [address for address, _ in beside]))

    def vectors(self, unit: str, count: int, role: str) -> int:
        """For how many tokens a unit holds vectors of `count` activations at the same time. Raises RoomError where there is no room
        for one; the lut unit takes columns in parts (lut_parts.py)."""
        have = self.memory.machine.parameter(f"{unit}.activations")
        if unit != "lut" and have < count:
            raise RoomError("", f"machine {self.memory.machine.name}", region=unit, got=f"{role} has {count:,} columns",
                            expected=f"at most the {have:,} activations that its {unit} unit holds ({unit}.activations)",
                            hint="--sparse off" if unit == "sp" else "a machine file with more")
        return max(1, min(self.tokens, have // count))

    def build(self, codes: str, scale: str, count: int, tokens: Source = ONE) -> None:
        """Load activations into the LUT unit, unless they are loaded: several matrices in a row may read the same.

        tokens   for how many tokens, from the current one on
        """
        if self.built == codes:
            return
        e = self.emit
        e.csr("lut.scale_group", 0)
        if tokens != ONE:
            assert isinstance(tokens, str)              # the number of tokens is in a register wherever it may not be 1
            e.csr("lut.vectors", tokens)
        e.op("lut.build.i8", self.at(codes), self.at(scale), number(count), reads=(codes, scale))
        if tokens != ONE:
            e.csr("lut.vectors", 0)
        self.built = codes

    def codebook(self, role: str) -> None:
        """Load the codebook of a matrix into the LUT unit, if its codes are indices."""
        if size := self.tensor(role).format.book:
            with self.operand("lut", self.weight(role, "codebook"), size) as table:
                self.emit.op("lut.codebook.i8", table, number(size))

    def name(self, what: str) -> str:
        """A label that is not yet taken."""
        self._labels[what] = self._labels.get(what, 0) + 1
        return f".L{what}_{self._labels[what]}"


LOWERINGS: dict[str, Callable[[Lowering, Op], None]] = {}


def lowers(*kinds: str) -> Callable[[Callable[[Lowering, Op], None]], Callable[[Lowering, Op], None]]:
    """Register a function as the lowering of these kinds of operations."""
    def register(function: Callable[[Lowering, Op], None]) -> Callable[[Lowering, Op], None]:
        for kind in kinds:
            LOWERINGS[kind] = function
        return function
    return register
