"""Choosing the next token on the machine: the most likely one, or a draw from the most likely ones that hold `top_p` together.

The generator is xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled",
arXiv:1402.6246), the upper 24 bits of its result times 2**-24, as in llama2.c. The program's copy of the seed moves on.
"""

from __future__ import annotations

from compiler.lowering.emit import TOKEN, bits, number, symbol
from compiler.lowering.lower import Lowering

_ONE = 0x3F80_0000          # the bits of 1.0


def scratch(vocab: int) -> dict[str, int]:
    """Bytes of scratch that sampling needs, by name."""
    return {"sorted": 4 * vocab, "order": 4 * vocab, "chosen_mask": -(-vocab // 8), "draw": 4}


def sample(c: Lowering) -> None:
    """Choose a token from `logits`. The code ends at the label `chosen`, with the token's number in TOKEN."""
    e, n = c.emit, number(c.graph.config.vocab)
    e.comment("the next token: at temperature 0 the most likely one")
    e.line("lw a6, temperature;  bnez a6, sampled")
    e.op("vec.argmax.f32", TOKEN, symbol("logits"), n, reads=("logits",))
    e.line("j chosen")
    e.label("sampled")
    e.fence()
    with e.taken(2) as (candidates, last):
        _candidates(c, candidates)
        _draw(c, candidates, last)


def _candidates(c: Lowering, candidates: str) -> None:
    """Cumulated probabilities in `sorted`, and the number of candidates in a register. `logits` is overwritten."""
    e, vocab = c.emit, c.graph.config.vocab
    n, logits, cumulated, order, mask = number(vocab), *map(symbol, ("logits", "sorted", "order", "chosen_mask"))
    e.comment("probabilities at this temperature")
    e.line("lw a6, inverse_temperature")
    e.op("vec.scale.f32", logits, logits, "a6", n, reads=("logits",), writes=("logits",))
    e.op("vec.softmax.f32", logits, logits, n, reads=("logits",), writes=("logits",))
    e.line(f"lw a6, top_p;  li a7, {_ONE}")
    e.line(f"li {candidates}, {vocab}", "candidates")
    e.line("bge a6, a7, all_tokens")

    e.comment("sorted and added up; those up to the first sum above top_p stay")
    e.op("thr.topk.f32", order, logits, n, n, reads=("logits",), writes=("order",))
    for name, value in (("row_bytes", 4), ("table_rows", vocab), ("src_stride", 0), ("dst_stride", 0)):
        e.csr(f"fetch.{name}", value)
    e.op("fetch.rows", cumulated, logits, order, n, reads=("logits", "order"), writes=("sorted",))
    e.op("vec.cumsum.f32", cumulated, cumulated, n, reads=("sorted",), writes=("sorted",))
    e.op("thr.gt.f32", mask, cumulated, "a6", n, reads=("sorted",), writes=("chosen_mask",))
    e.op("thr.index", "a6", mask, logits, n, reads=("chosen_mask",), writes=("logits",))
    e.line(f"sub {candidates}, {candidates}, a6")
    e.line(f"li a7, {vocab};  beq {candidates}, a7, drawn")
    e.line(f"addi {candidates}, {candidates}, 1;  j drawn")

    e.label("all_tokens")
    e.op("vec.cumsum.f32", cumulated, logits, n, reads=("logits",), writes=("sorted",))
    e.label("drawn")
    e.fence()


def _draw(c: Lowering, candidates: str, last: str) -> None:
    e, one = c.emit, number(1)
    logits, cumulated, mask, draw = map(symbol, ("logits", "sorted", "chosen_mask", "draw"))
    e.comment("a number below their sum, and the first of them whose sum is above it")
    e.line("ld a6, seed")
    for shift, distance in (("srli", 12), ("slli", 25), ("srli", 27)):
        e.line(f"{shift} a7, a6, {distance};  xor a6, a6, a7")
    e.line("sd a6, seed, a7")
    e.line(f"li a7, {0x2545F4914F6CDD1D};  mul a6, a6, a7;  srli a6, a6, 40")
    e.line("sw a6, draw, a7")
    e.op("vec.cvt.f32.i32", draw, draw, one, reads=("draw",), writes=("draw",))
    e.op("vec.scale.f32", draw, draw, bits(2.0 ** -24), one, reads=("draw",), writes=("draw",))
    e.line(f"la {last}, sorted;  slli a6, {candidates}, 2;  add {last}, {last}, a6")
    e.line(f"lw a6, -4({last})", "the sum of all candidates")
    e.op("vec.scale.f32", draw, draw, "a6", one, reads=("draw",), writes=("draw",))
    e.fence()
    e.line("lw a6, draw")
    e.op("thr.gt.f32", mask, cumulated, "a6", candidates, reads=("sorted",), writes=("chosen_mask",))
    e.op("thr.index", "a6", mask, logits, candidates, reads=("chosen_mask",), writes=("logits",))
    e.line(f"sub {TOKEN}, {candidates}, a6")
    e.line("bnez a6, 1f", "rounding can leave none: then the last")
    e.line(f"addi {TOKEN}, {TOKEN}, -1")
    e.mark("1")
    e.line(f"lw a6, top_p;  li a7, {_ONE};  bge a6, a7, chosen")
    e.line(f"slli a6, {TOKEN}, 2;  la a7, order;  add a7, a7, a6")
    e.line(f"lw {TOKEN}, 0(a7)", "from its place among the sorted to its number")
