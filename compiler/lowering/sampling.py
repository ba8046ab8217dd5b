"""Choosing the next token on the machine: the most likely one, or a draw from the most likely ones that hold `top_p` together.

The generator is xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled",
arXiv:1402.6246), the upper 24 bits of its result times 2**-24, as in llama2.c. The program's copy of the seed moves on.

Where the scratchpad has no room for as many numbers as the vocabulary has tokens, they are worked on in tiles: sampling_tiles.py.
The tokens are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.lowering import sampling_tiles
from compiler.lowering.emit import TOKEN, Emitter, bits, number, symbol
from compiler.lowering.lower import Lowering
from compiler.lowering.profile import CHOICE
from isa.preset import Preset

ONE = 0x3F80_0000           # the bits of 1.0
INFINITY = 0x7F80_0000      # those of infinity: above them are NaNs, which all probabilities are if one is


@dataclass(frozen=True)
class Room:
    """Where sampling keeps its numbers. `outside`: names that lie outside the scratchpad, of "logits", "sorted", "order".

    tile  numbers of the vocabulary that are in the scratchpad at a time; 0: operations are of the whole vocabulary
    """

    outside: frozenset[str] = frozenset()
    tile: int = 0


def missing(machine: Preset) -> dict[str, str]:
    """The options of sampling that programs for a machine cannot have, and why."""
    return {} if machine.has_unit("thr") else {
        "--top-p": f"machine {machine.name} has no thr unit, which sorts the probabilities of tokens for top-p"}


def scratch(machine: Preset, vocab: int, room: Room) -> tuple[dict[str, int], dict[str, int]]:
    """Bytes that sampling needs beside `logits`, by name: in the scratchpad, and outside it."""
    sizes = {"sorted": 4 * vocab, **({} if missing(machine) else {"order": 4 * vocab})}
    inside = {name: size for name, size in sizes.items() if name not in room.outside} | {"draw": 4}
    if room.tile:
        inside |= sampling_tiles.scratch(room.tile, sorts=not missing(machine))
    return inside, {name: size for name, size in sizes.items() if name in room.outside}


def sample(c: Lowering, room: Room) -> None:
    """Choose a token from `logits`. The code ends at the label `chosen`, with the token's number in TOKEN."""
    e, n, sorts = c.emit, number(c.graph.config.vocab), not missing(c.memory.machine)
    e.comment("the next token: at temperature 0 the most likely one")
    with e.profile.section(CHOICE):
        e.line("lw a6, temperature;  bnez a6, sampled")
        if room.tile and "logits" in room.outside:
            sampling_tiles.most_likely(c, room.tile)
        else:
            e.op("vec.argmax.f32", TOKEN, c.at("logits"), n, reads=("logits",))
    e.line("j chosen")
    e.label("sampled")
    e.fence()
    if not sorts:
        e.line(f"lw a6, top_p;  li a7, {ONE};  blt a6, a7, no_top_p")
    with e.taken(4) as (candidates, order, bound, sums):
        e.line(f"li {order}, 0", "where the candidates' numbers are; 0: they are their places")
        (sampling_tiles.probabilities if room.tile else _probabilities)(c, *((room.tile,) if room.tile else ()))
        e.line(f"li {candidates}, {c.graph.config.vocab};  la {sums}, sorted")
        if sorts:
            e.line(f"lw a6, top_p;  li a7, {ONE};  bge a6, a7, drawn")
            e.line(f"la a7, sorted + {4 * (c.graph.config.vocab - 1)};  lw a6, 0(a7)", "the sum of all")
            e.line(f"li a7, {INFINITY};  bgtu a6, a7, drawn", "not a number: none is more likely than another")
            e.comment("sorted and added up; those up to the first sum above top_p stay")
            if room.tile:
                sampling_tiles.nucleus(c, room.tile, candidates)
            else:
                _sorted(c)
            e.line(f"la {order}, order;  la {sums}, sorted;  lw {bound}, top_p")
            e.line(f"mv a7, {candidates}")
            first_above(e, candidates, sums, bound)
            e.line(f"beq {candidates}, a7, drawn;  addi {candidates}, {candidates}, 1", "the one above is the last that stays")
            e.label("drawn")
        _draw(c, candidates, sums, bound)
        e.line(f"mv {TOKEN}, {candidates}")
        if sorts:
            e.line(f"beqz {order}, chosen")
            e.line(f"slli a6, {TOKEN}, 2;  add a7, {order}, a6")
            e.line(f"lw {TOKEN}, 0(a7)", "from its place among the sorted to its number")


def _probabilities(c: Lowering) -> None:
    """Probabilities in `logits`, which is overwritten, and their sums so far in `sorted`."""
    e, n = c.emit, number(c.graph.config.vocab)
    logits, sums = c.at("logits"), symbol("sorted")
    e.comment("probabilities at this temperature")
    e.line("lw a6, inverse_temperature")
    e.op("vec.scale.f32", logits, logits, "a6", n, reads=("logits",), writes=("logits",))
    e.op("vec.softmax.f32", logits, logits, n, reads=("logits",), writes=("logits",))
    e.op("vec.cumsum.f32", sums, logits, n, reads=("logits",), writes=("sorted",))
    e.fence()


def _sorted(c: Lowering) -> None:
    """Tokens by falling probability in `order`, and the sums of their probabilities in `sorted`."""
    e, vocab = c.emit, c.graph.config.vocab
    n, logits, sums, order = number(vocab), c.at("logits"), symbol("sorted"), symbol("order")
    e.op("thr.topk.f32", order, logits, n, n, reads=("logits",), writes=("order",))
    for name, value in (("row_bytes", 4), ("table_rows", vocab), ("src_stride", 0), ("dst_stride", 0)):
        e.csr(f"fetch.{name}", value)
    e.op("fetch.rows", sums, logits, order, n, reads=("logits", "order"), writes=("sorted",))
    e.op("vec.cumsum.f32", sums, sums, n, reads=("sorted",), writes=("sorted",))
    e.fence()


def first_above(e: Emitter, count: str, sums: str, bound: str) -> None:
    """Set register `count`, a number of sums from register `sums` on, to how many of them are not above register `bound`.

    The sums rise and none is negative, so their bits are compared as integers, and halving finds the first one that is above.
    Changes `sums`, a6 and the registers it takes.
    """
    with e.taken(3) as (low, middle, value):
        e.line(f"li {low}, 0")
        e.mark("1")
        e.line(f"bgeu {low}, {count}, 3f")
        e.line(f"add {middle}, {low}, {count};  srli {middle}, {middle}, 1")
        e.line(f"slli a6, {middle}, 2;  add a6, a6, {sums};  lw {value}, 0(a6)")
        e.line(f"bgtu {value}, {bound}, 2f;  addi {low}, {middle}, 1;  j 1b")
        e.mark("2")
        e.line(f"mv {count}, {middle};  j 1b")
        e.mark("3")
    e.forget(csrs=False)


def _draw(c: Lowering, candidates: str, sums: str, bound: str) -> None:
    """Replace the number of candidates in a register by the place of the one that is drawn."""
    e, one, draw = c.emit, number(1), symbol("draw")
    e.comment("a number below their sum, and the first of them whose sum is above it")
    e.line("ld a6, seed")
    for shift, distance in (("srli", 12), ("slli", 25), ("srli", 27)):
        e.line(f"{shift} a7, a6, {distance};  xor a6, a6, a7")
    e.line("sd a6, seed, a7")
    e.line(f"li a7, {0x2545F4914F6CDD1D};  mul a6, a6, a7;  srli a6, a6, 40")
    e.line("sw a6, draw, a7")
    e.op("vec.cvt.f32.i32", draw, draw, one, reads=("draw",), writes=("draw",))
    e.op("vec.scale.f32", draw, draw, bits(2.0 ** -24), one, reads=("draw",), writes=("draw",))
    e.line(f"slli a6, {candidates}, 2;  add a6, {sums}, a6;  lw a6, -4(a6)", "the sum of all candidates")
    e.op("vec.scale.f32", draw, draw, "a6", one, reads=("draw",), writes=("draw",))
    e.fence()
    e.line(f"lw {bound}, draw;  mv a7, {candidates}")
    first_above(e, candidates, sums, bound)
    e.line(f"bne {candidates}, a7, 1f", "rounding can leave none: then the last")
    e.line(f"addi {candidates}, {candidates}, -1")
    e.mark("1")
