"""Keys that lose channels when they get old (ThinK), on the attention unit: a ring of recent keys, the choice, scores in two parts.

A list of numbers drives it all: fetch.rows gathers the channels that stay, of keys when they leave the window and of queries at
each token. `ring_rows` in the scratchpad says in which slots of the ring successive positions lie.
"""

from __future__ import annotations

from compiler.graph import Graph, Op
from compiler.lowering.emit import KEYS, POSITION, POSITIONS, Want, bits, number, offset
from compiler.lowering.lower import Lowering, lowers
from compiler.placing.memory_plan import BYTES

RING_ROWS = "ring_rows"


def _chooses(graph: Graph) -> bool:
    return "channels" in graph.values


def scratch(graph: Graph) -> dict[str, int]:
    """Bytes of scratch that these operations need, by name."""
    if not _chooses(graph):
        return {}
    c, slots, kept = graph.config, int(graph.values["keys"].shape[0]), int(graph.values["query_channels"].shape[0])
    window = next(int(op.attributes["window"]) for _, op in graph.steps() if op.kind == "sum.squares")
    return {RING_ROWS: 4 * (slots + window), "squares": 4 * max(c.q_dim, c.kv_dim), "dropped": 4 * c.head_dim,
            "stays": 4 * c.kv_dim, "queries_stay": 4 * c.q_dim, "stays_mask": -(-c.q_dim // 8), "query_kept": 4 * kept}


def kept(graph: Graph) -> tuple[str, ...]:
    """Names of scratch that stay as the start of the program left them."""
    return (RING_ROWS,) if _chooses(graph) else ()


def start(c: Lowering) -> None:
    """Fill `ring_rows`: number i has the slot of position i, once around and as far as the window reaches."""
    if not _chooses(c.graph):
        return
    e, slots = c.emit, int(c.graph.values["keys"].shape[0])
    e.line(f"la a0, {RING_ROWS};  li a1, 0;  li a2, {slots};  li a3, {c.memory.slots[RING_ROWS].size // 4}")
    e.mark("1")
    e.line("remu a4, a1, a2;  sw a4, 0(a0);  addi a0, a0, 4;  addi a1, a1, 1;  bne a1, a3, 1b", "slots of the ring")
    e.forget()


def state(c: Lowering, name: str) -> Want:
    """The address of a state that lies behind the layer's keys."""
    return offset(KEYS, c.memory.caches[name].offset, name)


@lowers("append.ring", "append.ring.f16", "append.ring.i8")
def append(c: Lowering, op: Op) -> None:
    """A row of the ring: position mod slots."""
    e, x, cache = c.emit, op.inputs[0], op.outputs[0]
    placed, slots = c.memory.caches[cache], int(c.graph.values[cache].shape[0])
    e.line(f"li a6, {slots};  remu a7, {POSITION}, a6;  li a6, {placed.row_bytes};  mul a7, a7, a6;  add a7, a7, {KEYS}",
           f"slot of this position in {cache}")
    match c.graph.values[cache].format:
        case "f32":
            e.op("vec.scale.f32", "a7", c.at(x), bits(1.0), c.length(x), reads=(x,), writes=op.outputs)
        case "f16":
            e.op("fetch.copy", "a7", c.at(x), number(2 * c.elements(x)), reads=(x,), writes=op.outputs)
        case _:
            e.csr("vec.scale_group", c.elements(x) // int(op.attributes["kv_heads"]))
            e.line(f"li a6, {c.memory.caches[op.outputs[1]].offset};  add a6, a6, a7", "its scales")
            e.op("vec.quant.i8", "a7", c.at(x), "a6", c.length(x), reads=(x,), writes=op.outputs)


@lowers("sum.squares")
def squares(c: Lowering, op: Op) -> None:
    e, (q, k), (q_squares, k_squares) = c.emit, op.inputs, op.outputs
    first, window = int(op.attributes["start"]), int(op.attributes["window"])

    def add(x: str, to: str, begin: int) -> None:
        """Squares of x are added to a state, which begins with 0 at a position."""
        n = c.length(x)
        e.line(f"li a6, {begin}")
        with e.unless(f"bne {POSITION}, a6", c.name("squares")):
            e.op("vec.fill.32", state(c, to), "zero", n, writes=(to,))
        e.op("vec.mul.f32", c.at("squares"), c.at(x), c.at(x), n, reads=(x,), writes=("squares",))
        e.op("vec.add.f32", state(c, to), state(c, to), c.at("squares"), n, reads=("squares", to), writes=(to,))

    e.line(f"li a6, {first}")
    with e.unless(f"bgeu {POSITION}, a6", c.name("chosen")):
        add(k, k_squares, 0)
        e.line(f"li a6, {first - window}")
        with e.unless(f"bltu {POSITION}, a6", c.name("keys_only")):
            add(q, q_squares, first - window)


@lowers("choose.channels")
def choose(c: Lowering, op: Op) -> None:
    """Once: ones for all channels, zeros for those that are dropped, head by head; then a list of the ones."""
    e, (q_squares, k_squares), (channels, query_channels) = c.emit, op.inputs, op.outputs
    heads, kv_heads, first = (int(op.attributes[name]) for name in ("heads", "kv_heads", "start"))
    group, dim = heads // kv_heads, c.elements(k_squares) // kv_heads
    dropped = dim - c.elements(channels) // kv_heads
    e.line(f"li a6, {first - 1}")
    with e.unless(f"bne {POSITION}, a6", c.name("choose"), taken=5) as (counter, query, key, mine, wide):
        e.op("vec.fill.32", c.at("stays"), bits(1.0), number(dim * kv_heads), writes=("stays",))
        for register, at in ((query, state(c, q_squares)), (key, state(c, k_squares)), (mine, c.at("stays")),
                             (wide, c.at("queries_stay"))):
            e.move(register, at)
        for name, value in (("row_bytes", 4), ("src_stride", 0), ("dst_stride", 0), ("table_rows", 0)):
            e.csr(f"fetch.{name}", value)
        with e.loop(c.name("channels"), kv_heads, counter):
            e.op("vec.scale.f32", c.at("squares"), query, bits(1.0), number(dim), writes=("squares",), comment="of its first head")
            e.advance(query, 4 * dim)
            for _ in range(group - 1):
                e.op("vec.add.f32", c.at("squares"), c.at("squares"), query, number(dim), writes=("squares",))
                e.advance(query, 4 * dim)
            e.op("vec.mul.f32", c.at("squares"), c.at("squares"), key, number(dim), writes=("squares",),
                 comment="scores of channels")
            e.op("thr.bottomk.f32", c.at("dropped"), c.at("squares"), number(dropped), number(dim), reads=("squares",),
                 writes=("dropped",))
            e.fence()
            e.op("vec.fill.32", c.at("squares"), "zero", number(dropped), writes=("squares",))
            e.op("fetch.scatter", mine, c.at("squares"), c.at("dropped"), number(dropped), reads=("squares", "dropped", "stays"),
                 writes=("stays",))
            for _ in range(group):
                e.op("fetch.copy", wide, mine, number(4 * dim), reads=("stays",), writes=("queries_stay",))
                e.advance(wide, 4 * dim)
            e.advance(key, 4 * dim)
            e.advance(mine, 4 * dim)
            e.fence()
        for ones, to, n in (("stays", channels, kv_heads * dim), ("queries_stay", query_channels, heads * dim)):
            e.op("thr.gt.f32", c.at("stays_mask"), c.at(ones), "zero", number(n), reads=(ones,), writes=("stays_mask",))
            e.op("thr.index", "a6", c.at("stays_mask"), state(c, to), number(n), reads=("stays_mask",), writes=(to,))


@lowers("append.kept", "append.kept.f16", "append.kept.i8")
def keep(c: Lowering, op: Op) -> None:
    """The channels that stay of the key that leaves the window; of all keys before it when the channels have been chosen."""
    e, (recent, *scales, channels), old = c.emit, op.inputs, op.outputs
    first, window, slots = int(op.attributes["start"]), int(op.attributes["window"]), int(c.graph.values[recent].shape[0])
    ring, thin, size = c.memory.caches[recent], c.memory.caches[old[0]], BYTES[c.graph.values[recent].format]
    e.line(f"li a6, {first - 1}")
    with e.unless(f"bltu {POSITION}, a6", c.name("keep"), taken=4) as (row, last, source, to):
        again, one = c.name("leaves"), c.name("one_leaves")
        e.line(f"addi {last}, {POSITION}, -{window};  mv {row}, {last}", "the key that leaves")
        e.line(f"li a6, {first - 1};  bne {POSITION}, a6, {one};  li {row}, 0", "or the first one")
        e.mark(one)
        e.label(again)
        for name, value in (("row_bytes", size), ("src_stride", 0), ("dst_stride", 0), ("table_rows", 0)):
            e.csr(f"fetch.{name}", value)
        e.line(f"li a6, {slots};  remu a7, {row}, a6;  li a6, {ring.row_bytes};  mul a7, a7, a6;  add {source}, a7, {KEYS}")
        e.move(to, state(c, old[0]))
        e.advance_rows(to, row, thin.row_bytes)
        e.op("fetch.rows", to, source, state(c, channels), c.length(channels), reads=(recent, channels), writes=(old[0],))
        if scales:
            e.line(f"li a6, {c.memory.caches[scales[0]].offset};  add {source}, {source}, a6")
            e.line(f"li a6, {c.memory.caches[old[1]].offset - thin.offset};  add {to}, {to}, a6")
            e.op("fetch.copy", to, source, number(4 * int(c.graph.values[scales[0]].shape[1])), reads=scales, writes=(old[1],))
        e.line(f"addi {row}, {row}, 1;  bgeu {last}, {row}, {again}")


@lowers("scores.parted", "scores.parted.f16", "scores.parted.i8")
def scores(c: Lowering, op: Op) -> None:
    """Old keys with the channels of the query that stay, then recent keys with all. A part without positions is nothing."""
    e, result, config = c.emit, op.outputs[0], c.graph.config
    q, *caches, query_channels = op.inputs
    recent, old = caches[0], caches[len(caches) // 2]
    form, wanted = c.graph.values[recent].format, "i8" if len(caches) > 2 else "f32"
    first, window, slots = int(op.attributes["start"]), int(op.attributes["window"]), int(c.graph.values[recent].shape[0])
    placed = c.memory.caches
    for name, value in (("row_bytes", 4), ("src_stride", 0), ("dst_stride", 0), ("table_rows", 0)):
        e.csr(f"fetch.{name}", value)
    e.op("fetch.rows", c.at("query_kept"), c.at(q), state(c, query_channels), c.length(query_channels), reads=(q, query_channels),
         writes=("query_kept",))
    e.profile.exact = False
    with e.taken(3) as (olds, to, list_at):
        e.line(f"li {olds}, 0;  li a6, {first - 1};  bltu {POSITION}, a6, 1f")
        e.line(f"addi {olds}, {POSITION}, -{window - 1}", "old positions")
        e.mark("1")
        e.csr("attn.score_stride", 4 * c.memory.context)
        for part in ("old", "recent"):
            keys, n, at = (old, olds, c.at(result)) if part == "old" else (recent, "a7", to)
            own = c.elements(query_channels) // config.heads if part == "old" else config.head_dim
            e.op("attn.setm", number(config.heads), number(config.kv_heads), number(own))
            e.csr("attn.key_stride", placed[keys].row_bytes)
            query = "query_kept" if part == "old" else q
            e.op(f"attn.wrgb.{wanted}", c.at(query), reads=(query,))
            if part == "recent":
                e.move(to, c.at(result))
                e.line(f"slli a6, {olds}, 2;  add {to}, {to}, a6", "their scores")
                e.move(list_at, c.at(RING_ROWS))
                e.line(f"li a6, {slots};  remu a6, {olds}, a6;  slli a6, a6, 2;  add {list_at}, {list_at}, a6")
                e.csr("attn.row_list", list_at)
                e.line(f"sub a7, {POSITIONS}, {olds}")
            with e.profile.known(n, 1, POSITIONS, exact=False):
                e.op(f"attn.mac.{form}", at, state(c, keys), n, reads=caches, writes=(result,))
        e.csr("attn.row_list", 0)
