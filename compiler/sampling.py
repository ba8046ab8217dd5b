"""Choosing the next token on the machine: the most likely one, or a draw from the most likely ones that hold `top_p` together.

The generator is xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled",
arXiv:1402.6246), the upper 24 bits of its result times 2**-24, as in llama2.c. The program's copy of the seed moves on.
"""

from __future__ import annotations

from compiler.emit import TOKEN, bits, number, symbol
from compiler.lowering import Lowering
from compiler.memory_plan import MemoryPlan, Slot

_ONE = 0x3F80_0000          # the bits of 1.0


def sample(c: Lowering) -> None:
    """From `logits` to the token's number in TOKEN."""
    e, vocab = c.emit, c.graph.config.vocab
    n = number(vocab)
    logits, cumulated, order, mask, draw = map(symbol, ("logits", "sorted", "order", "chosen_mask", "draw"))
    e.comment("the next token: at temperature 0 the most likely one")
    e.line("lw a6, temperature")
    e.line("bnez a6, sampled")
    e.op("vec.argmax.f32", TOKEN, logits, n, reads=c.slots("logits"))
    e.line("j chosen")

    e.label("sampled")
    e.fence()
    e.comment("probabilities at this temperature")
    e.line("lw a6, inverse_temperature")
    e.op("vec.scale.f32", logits, logits, "a6", n)
    e.op("vec.softmax.f32", logits, logits, n)
    e.line("lw a6, top_p")
    e.line(f"li a7, {_ONE}")
    e.line(f"li s8, {vocab}", "candidates")
    e.line("bge a6, a7, all_tokens")

    e.comment("sorted and added up; those up to the first sum above top_p stay")
    e.wait("thr", "vec")
    e.op("thr.topk.f32", order, logits, n, n)
    e.csr("fetch.row_bytes", 4)
    e.csr("fetch.table_rows", vocab)
    e.csr("fetch.src_stride", 0)
    e.csr("fetch.dst_stride", 0)
    e.wait("fetch", "thr")
    e.op("fetch.rows", cumulated, logits, order, n)
    e.wait("vec", "fetch")
    e.op("vec.cumsum.f32", cumulated, cumulated, n)
    e.wait("thr", "vec")
    e.op("thr.gt.f32", mask, cumulated, "a6", n)
    e.line("la a7, sorted_index")
    e.op("thr.index", "a6", mask, "a7", n)
    e.line("sub s8, s8, a6")
    e.line(f"li a7, {vocab}")
    e.line("beq s8, a7, drawn")
    e.line("addi s8, s8, 1")
    e.line("j drawn")

    e.label("all_tokens")
    e.op("vec.cumsum.f32", cumulated, logits, n)
    e.label("drawn")
    e.fence()

    e.comment("a number below their sum, and the first of them whose sum is above it")
    e.line("ld a6, seed")
    for shift, distance in (("srli", 12), ("slli", 25), ("srli", 27)):
        e.line(f"{shift} a7, a6, {distance}")
        e.line("xor a6, a6, a7")
    e.line("sd a6, seed, a7")
    e.line(f"li a7, {0x2545F4914F6CDD1D}")
    e.line("mul a6, a6, a7")
    e.line("srli a6, a6, 40")
    e.line("la a7, draw")
    e.line("sw a6, 0(a7)")
    one = number(1)
    e.op("vec.cvt.f32.i32", draw, draw, one)
    e.op("vec.scale.f32", draw, draw, bits(2.0 ** -24), one)
    e.line("la s9, sorted")
    e.line("slli a6, s8, 2")
    e.line("add s9, s9, a6")
    e.line("lw a6, -4(s9)", "the sum of all candidates")
    e.op("vec.scale.f32", draw, draw, "a6", one)
    e.fence()
    e.line("la a7, draw")
    e.line("lw a6, 0(a7)")
    e.op("thr.gt.f32", mask, cumulated, "a6", "s8")
    e.line("la a7, sorted_index")
    e.op("thr.index", "a6", mask, "a7", "s8")
    e.line(f"sub {TOKEN}, s8, a6")
    e.line("bnez a6, 1f", "rounding can leave none: then the last")
    e.line(f"addi {TOKEN}, {TOKEN}, -1")
    e.mark("1")
    e.line("lw a6, top_p")
    e.line(f"li a7, {_ONE}")
    e.line("bge a6, a7, chosen")
    e.line(f"slli a6, {TOKEN}, 2")
    e.line("la a7, order")
    e.line("add a7, a7, a6")
    e.line(f"lw {TOKEN}, 0(a7)", "from its place among the sorted to its number")


def add_sampling(memory: MemoryPlan, vocab: int) -> None:
    """Give sampling its scratch space behind the activations."""
    at = -(-memory.scratchpad_bytes // 64) * 64
    for name, size in (("sorted", 4 * vocab), ("order", 4 * vocab), ("sorted_index", 4 * vocab), ("chosen_mask", -(-vocab // 64) * 8), ("draw", 64)):
        memory.slots[name] = Slot(name, size, at)
        at += -(-size // 64) * 64
