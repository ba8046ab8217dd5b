"""Operations of cuts: the mean of the last queries, scores of blocks, the blocks that stay, and what is left of a prompt.

    keys of a unit to the scratchpad    fetch.copy, the next one while the vector unit works on this one
    their mean                          vec.macT: each key by 1 / unit; of int8 keys by scale / unit
    products with the mean query        vec.gemv for each head, vec.max over all of a block
    the best blocks, in rising order    thr.topk, a mark for each by fetch.scatter, thr.gt, thr.index
    hidden states and positions         fetch.rows, whole blocks a row; the last block, which may be short, by fetch.copy

How many tokens are left is at `tokens_alive`. Several texts are cut one after the other; `sequence` says whose prompt it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from compiler.graph import Graph, Op
from compiler.graph.prompts import order_of_blocks
from compiler.lowering.emit import POSITION, bits, number, symbol
from compiler.lowering.lower import Lowering, lowers
from compiler.lowering.residency import cache_at
from compiler.placing.memory_plan import BYTES, MemoryPlan

_PRODUCTS = {"f32": "f32", "f16": "f16", "i8": "i8.f32"}            # format of keys -> suffix of vec.macT


VARIABLES = ("next_place", "tokens_alive", "first_row", "query_from")
"""That a program with cuts needs, u64 each."""


def of_text(graph: Graph) -> tuple[str, ...]:
    """Those that it needs for each text, one behind the other.

    left_outN is how many tokens of the prompt the layers behind cut N - 1 do not see; 0: all of them do.
    """
    return ("prompt_length", *left_out(graph))


def left_out(graph: Graph) -> tuple[str, ...]:
    """The variable of each segment, in order."""
    return tuple(f"left_out{number_of}" for number_of in range(len(graph.segments)))


def values(graph: Graph) -> list[str]:
    """The values that cuts read and write, of which scratch must not share the bytes."""
    return list(dict.fromkeys(name for cut in graph.cuts for op in cut.ops for name in (*op.inputs, *op.outputs)
                              if not graph.values[name].state or name.startswith("mean_")))


def scratch(graph: Graph, memory: MemoryPlan) -> dict[str, int]:
    """Bytes of scratch that cuts need, by name."""
    blocks = max(int(graph.values[op.outputs[0]].shape[0]) for cut in graph.cuts for op in cut.ops[:1])
    sizes = {"ranked_blocks": 4 * blocks, "block_marks": 4 * blocks, "block_ones": 4 * blocks, "block_mask": -(-blocks // 8)}
    for op in (op for cut in graph.cuts for op in cut.ops if op.kind.startswith("score.blocks")):
        heads, kv_heads, block, unit = (int(op.attributes[name]) for name in ("heads", "kv_heads", "block", "unit"))
        units, channels = block // unit, int(graph.values[op.inputs[1]].shape[1])
        wanted = {f"unit_keys{turn}": unit * memory.caches[op.inputs[1]].row_bytes for turn in range(2)}
        wanted |= ({f"unit_scales{turn}": 4 * kv_heads * unit for turn in range(2)} if op.kind.endswith("i8") else
                   {"unit_shares": 4 * unit})
        wanted |= {"unit_means": 4 * units * channels, "unit_products": 4 * units * heads}
        sizes |= {name: max(size, sizes.get(name, 0)) for name, size in wanted.items()}
    return sizes


def data(graph: Graph) -> list[str]:
    """Lines of a table that cuts without scores read."""
    op = next((op for cut in graph.cuts for op in cut.ops if op.kind == "score.order"), None)
    if op is None:
        return []
    order = order_of_blocks(int(graph.values[op.outputs[0]].shape[0]), int(op.attributes["seed"]))
    return ["    .section .rodata", "    .balign 4", "block_order:".ljust(24) + ".float " + ", ".join(map(str, order.tolist()))]


@lowers("mean.query")
def mean_query(c: Lowering, op: Op) -> None:
    """In code for chunks, for the last tokens of the prompt: from row `query_from` on."""
    if not c.chunk:
        return
    e, (mean,), (q,) = c.emit, op.outputs, op.inputs
    add, done = c.name("query"), c.name("queries")
    e.order("vec", (q, mean), (mean,))
    share = bits(1 / op.attributes["last"])
    with e.pinned(c.at(mean), c.at(q), number(c.elements(q)), share) as (to, query, length, factor), e.taken(1) as (first,):
        e.line(f"ld {first}, query_from;  bltu {POSITION}, {first}, {done}", "an earlier token, or no cut follows")
        e.line(f"bne {POSITION}, {first}, {add}")
        e.op("vec.fill.32", to, "zero", length, writes=(mean,), comment="the first one begins the sum")
        e.mark(add)
        e.op("vec.axpy.f32", to, factor, query, length, reads=(q, mean), writes=(mean,))
        e.mark(done)


@lowers("score.blocks", "score.blocks.f16", "score.blocks.i8", "score.blocks.rows.i8")
def score_blocks(c: Lowering, op: Op) -> None:
    e, (result,), (mean, keys, *scales) = c.emit, op.outputs, op.inputs
    heads, kv_heads, block, unit = (int(op.attributes[name]) for name in ("heads", "kv_heads", "block", "unit"))
    units, head_dim = block // unit, c.elements(mean) // heads
    row, form = c.memory.caches[keys].row_bytes, c.graph.values[keys].format
    beside = op.kind == "score.blocks.i8"               # scales lie in rows of their own, else behind the codes
    assert c.cut is not None
    base = cache_at(c.memory, "keys", c.cut.layer - 1)
    if not scales:
        e.op("vec.fill.32", c.at("unit_shares"), bits(1 / unit), number(unit), writes=("unit_shares",))
    with e.taken(4) as (at, scales_at, to, left):
        e.line(f"la {at}, {base};  li a6, {c.memory.caches[keys].offset + block * row};  add {at}, {at}, a6", "the second block")
        if beside:
            e.line(f"la {scales_at}, {base};  li a6, {c.memory.caches[scales[0]].offset + 4 * block}")
            e.line(f"add {scales_at}, {scales_at}, a6")
        if c.memory.sequences > 1:
            e.line(f"ld a6, sequence;  li a7, {c.memory.part_size('keys', c.cut.layer - 1)};  mul a6, a6, a7", "of this text")
            e.line(f"add {at}, {at}, a6" + f";  add {scales_at}, {scales_at}, a6" * beside)
        e.move(to, c.at(result))
        _last_block(c, left, block)
        e.line(f"addi {left}, {left}, -1", "blocks between the first and the last")
        name = c.name("block")
        e.label(name)
        e.op("vec.fill.32", c.at("unit_means"), "zero", number(units * kv_heads * head_dim), writes=("unit_means",))
        for number_of in range(units):
            here, means = f"unit_keys{number_of % 2}", 4 * number_of * kv_heads * head_dim
            e.line(f"li a7, {number_of * unit * row};  add a7, a7, {at}")
            e.op("fetch.copy", c.at(here), "a7", number(unit * row), writes=(here,), near=False, comment="keys of a unit")
            if not scales:
                e.csr("vec.cols", kv_heads * head_dim)
                e.csr("vec.row_stride", row)
                e.op(f"vec.macT.{_PRODUCTS[form]}", c.at("unit_means", means), c.at(here), c.at("unit_shares"), number(unit),
                     reads=(here, "unit_shares"), writes=("unit_means",), comment="their mean")
                continue
            shares = f"unit_scales{number_of % 2}"
            for csr, value in (("row_bytes", 4 * unit if beside else 4), ("src_stride", 4 * c.memory.context if beside else row),
                               ("dst_stride", 0)):
                e.csr(f"fetch.{csr}", value)
            if beside:
                e.line(f"addi a7, {scales_at}, {4 * number_of * unit}")
                e.op("fetch.copy2d", c.at(shares), "a7", number(kv_heads), writes=(shares,), near=False, comment="their scales")
            for head in () if beside else range(kv_heads):
                in_row = c.memory.caches[scales[0]].offset - c.memory.caches[keys].offset + 4 * head
                e.op("fetch.copy2d", c.at(shares, 4 * head * unit), c.at(here, in_row), number(unit), reads=(here,),
                     writes=(shares,), comment="scales of a head")
            e.op("vec.scale.f32", c.at(shares), c.at(shares), bits(1 / unit), number(kv_heads * unit), reads=(shares,),
                 writes=(shares,))
            e.csr("vec.cols", head_dim)
            e.csr("vec.row_stride", row)
            for head in range(kv_heads):
                e.op("vec.macT.i8.f32", c.at("unit_means", means + 4 * head * head_dim), c.at(here, head * head_dim),
                     c.at(shares, 4 * head * unit), number(unit), reads=(here, shares), writes=("unit_means",),
                     comment="mean of a head")
        e.csr("vec.cols", head_dim)
        e.csr("vec.row_stride", 4 * kv_heads * head_dim)
        for head in range(heads):
            e.op("vec.gemv.f32", c.at("unit_products", 4 * units * head),
                 c.at("unit_means", 4 * head_dim * (head * kv_heads // heads)), c.at(mean, 4 * head_dim * head), number(units),
                 reads=("unit_means", mean), writes=("unit_products",), comment="units . mean query of a head")
        e.op("vec.max.f32", "a6", c.at("unit_products"), number(units * heads), reads=("unit_products",))
        e.line(f"sw a6, 0({to});  addi {to}, {to}, 4", "the score of a block")
        e.advance(at, block * row)
        if beside:
            e.advance(scales_at, 4 * block)
        e.line(f"addi {left}, {left}, -1;  beqz {left}, 1f;  j {name}")
        e.mark("1")


@lowers("score.order")
def score_order(c: Lowering, op: Op) -> None:
    c.emit.op("fetch.copy", c.at(op.outputs[0]), symbol("block_order"), number(4 * c.elements(op.outputs[0])),
              writes=op.outputs, near=False)


@lowers("keep.blocks")
def keep_blocks(c: Lowering, op: Op) -> None:
    e, (kept,), (scores,) = c.emit, op.outputs, op.inputs
    with _between(c, op) as (between, room, _):
        e.op("thr.topk.f32", c.at("ranked_blocks"), c.at(scores), room, between, reads=(scores,), writes=("ranked_blocks",))
        e.op("vec.fill.32", c.at("block_marks"), "zero", between, writes=("block_marks",))
        e.op("vec.fill.32", c.at("block_ones"), bits(1.0), room, writes=("block_ones",))
        _rows(c, 4)
        e.op("fetch.scatter", c.at("block_marks"), c.at("block_ones"), c.at("ranked_blocks"), room,
             reads=("block_ones", "ranked_blocks"), writes=("block_marks",), comment="1 for each block that stays")
        e.op("thr.gt.f32", c.at("block_mask"), c.at("block_marks"), "zero", between, reads=("block_marks",), writes=("block_mask",))
        e.op("thr.index", "a6", c.at("block_mask"), c.at(kept), between, reads=("block_mask",), writes=(kept,))


@lowers("gather.blocks")
def gather_blocks(c: Lowering, op: Op) -> None:
    """In place: the first block stays where it is, later ones move to the front."""
    e, (kept,), block = c.emit, op.inputs, int(op.attributes["block"])
    assert c.cut is not None
    with _between(c, op) as (between, room, last), e.taken(1) as (size,):
        for name in op.outputs:
            value = c.graph.values[name]
            token = BYTES[value.format] * (int(value.shape[1]) if len(value.shape) > 1 else 1)
            second = symbol(f"{name} + {block * token}")
            _rows(c, block * token)
            e.op("fetch.rows", second, second, c.at(kept), room, reads=(kept, name), writes=(name,), near=False,
                 comment=f"blocks of {name}")
            e.line(f"li {size}, {token};  mul {size}, {size}, {last}", "bytes of the last block")
            e.line(f"li a6, {block * token};  mul a7, a6, {between};  mul a6, a6, {room}")
            with e.pinned(second) as (start,), e.taken(1) as (to,):
                e.line(f"add a7, a7, {start};  add {to}, a6, {start}")
                e.op("fetch.copy", to, "a7", size, reads=(name,), writes=(name,), near=False, comment="the last block")
        e.line(f"addi {room}, {room}, 1;  li a6, {block};  mul {room}, {room}, a6;  add {room}, {room}, {last}")
        e.line(f"sd {room}, tokens_alive, a6", "so many are left")


def _rows(c: Lowering, size: int) -> None:
    """Set what the fetch unit asks about rows: these lie side by side."""
    for name, value in (("row_bytes", size), ("src_stride", 0), ("dst_stride", 0), ("table_rows", 0)):
        c.emit.csr(f"fetch.{name}", value)


def _last_block(c: Lowering, to: str, block: int) -> None:
    """The number of the last block, in a register. Leaves tokens of a block in a7."""
    c.emit.line(f"ld a6, tokens_alive;  addi a6, a6, -1;  li a7, {block};  divu {to}, a6, a7")


@contextmanager
def _between(c: Lowering, op: Op) -> Iterator[tuple[str, str, str]]:
    """Registers: how many blocks there are between the first and the last, how many of them stay, tokens of the last one."""
    e, block = c.emit, int(op.attributes["block"])
    assert c.cut is not None
    with e.taken(3) as (between, room, last):
        _last_block(c, between, block)
        e.line(f"mul a7, {between}, a7;  ld {last}, tokens_alive;  sub {last}, {last}, a7", "tokens of the last block")
        e.line(f"addi {between}, {between}, -1", "blocks between the first and the last")
        e.line(f"li {room}, {c.cut.budget - block};  sub {room}, {room}, {last}")
        e.line(f"li a7, {block};  divu {room}, {room}, a7", "how many of them stay")
        yield between, room, last
