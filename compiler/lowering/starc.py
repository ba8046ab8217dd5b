"""Attention to clusters of positions (STARC), on the attention unit: clusters of a block, the choice of rows, attention to them.

Most of it is done by units: products with centroids by vec, masks of nearer keys by thr. The core puts masks of 64 bits together,
which say for each key of a block whether it belongs to a cluster. `row_numbers` in the scratchpad has the numbers 0, 1, 2, ...: a
piece of it is the list of positions behind the last block. `thr.ranges` lists those of clusters.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from compiler.graph import Graph, Op
from compiler.graph.ops import BLOCK, CLUSTERS
from compiler.graph.selected import ROUNDS, TINY
from compiler.lowering.emit import KEYS, POSITION, POSITIONS, VALUES, bits, number, offset
from compiler.lowering.lower import Lowering, lowers
from compiler.placing.memory_plan import BYTES, MemoryPlan

ROW_NUMBERS, RECIPROCALS, ONES, HALVES = "row_numbers", "cluster_reciprocals", "cluster_ones", "cluster_halves"
LABELS, SIZES, ORDER = "cluster_labels", "cluster_sizes", "cluster_rows"        # masks; keys of each; the block's rows in order


def _chooses(graph: Graph) -> bool:
    return "rows" in graph.values


def scratch(graph: Graph, context: int) -> dict[str, int]:
    """Bytes of scratch that these operations need, by name."""
    if not _chooses(graph):
        return {}
    c, form = graph.config, graph.values["keys"].format
    block, ranks = 4 * BLOCK * c.head_dim, 4 * CLUSTERS * (context // BLOCK)
    return {ROW_NUMBERS: 4 * context, RECIPROCALS: 4 * (BLOCK + 1), ONES: 4 * BLOCK, HALVES: 4 * BLOCK, LABELS: 16 * CLUSTERS,
            SIZES: 4 * CLUSTERS, ORDER: 4 * BLOCK, "cluster_gain": 4 * c.head_dim, "cluster_keys": block, "cluster_sorted": block,
            "cluster_moved": BYTES[form] * BLOCK * c.head_dim, "cluster_scales": 4 * BLOCK,
            "cluster_means": 4 * CLUSTERS * c.head_dim,
            "cluster_near": 4 * BLOCK * CLUSTERS, "cluster_best": 4 * BLOCK, "cluster_nearer": 4 * BLOCK * (CLUSTERS - 1),
            "cluster_ranks": max(4, ranks)}


def kept(graph: Graph) -> tuple[str, ...]:
    """Names of scratch that stay as the start of the program left them."""
    return (ROW_NUMBERS, RECIPROCALS, ONES, HALVES, "cluster_gain") if _chooses(graph) else ()


def start(c: Lowering) -> None:
    """Fill what stays: numbers of rows, 1 / n, ones, -0.5, the factor that makes a mean square a sum."""
    if not _chooses(c.graph):
        return
    e, memory, head_dim = c.emit, c.memory, c.graph.config.head_dim
    e.line(f"la a0, {ROW_NUMBERS};  li a1, 0;  li a2, {memory.slots[ROW_NUMBERS].size // 4}")
    e.mark("1")
    e.line("sw a1, 0(a0);  addi a0, a0, 4;  addi a1, a1, 1;  bne a1, a2, 1b", "numbers of rows")
    e.line(f"la a0, {RECIPROCALS};  la a1, reciprocals;  li a2, {4 * (BLOCK + 1)};  fetch.copy a0, a1, a2")
    e.forget()
    for name, value, n in ((ONES, 1.0, BLOCK), (HALVES, -0.5, BLOCK), ("cluster_gain", head_dim ** -0.5, head_dim)):
        e.op("vec.fill.32", c.at(name), bits(value), number(n))
    e.fence()


def reciprocals(graph: Graph) -> list[str]:
    """Lines of data: fp32 of 1 / n up to a whole block; of 0, which no key divides, 1."""
    values = [1.0, *(1 / n for n in range(1, BLOCK + 1))]
    return ["reciprocals:".ljust(24) + ".float " + ", ".join(f"{value:.9g}" for value in values)] if _chooses(graph) else []


def _moves(c: Lowering, size: int, source: int, to: int) -> None:
    """CSRs of the fetch unit: bytes of a row, strides on both sides."""
    for name, value in (("row_bytes", size), ("src_stride", source), ("dst_stride", to), ("table_rows", 0)):
        c.emit.csr(f"fetch.{name}", value)


class _Block:
    """The last 64 rows of a layer's caches, head by head. Registers: `head`, its number; `rows`, bytes before the first of them."""

    def __init__(self, c: Lowering, head: str, rows: str) -> None:
        self.c, self.head, self.rows = c, head, rows
        caches, config = c.memory.caches, c.graph.config
        self.row, self.size = caches["keys"].row_bytes, BYTES[c.graph.values["keys"].format]
        self.width = self.size * config.head_dim
        self.scales: dict[str, int] = {name: caches[name].offset - caches[name.removesuffix("_scales")].offset
                       for name in ("keys_scales", "values_scales") if name in caches}

    def at(self, base: str, each: int, before: int = 0) -> str:
        """a7: the head's first row of the block, behind a register; `each` bytes from head to head, `before` bytes further."""
        self.c.emit.line(f"li a7, {each};  mul a7, a7, {self.head};  add a7, a7, {self.rows};  add a7, a7, {base}")
        if before:
            self.c.emit.line(f"li a6, {before};  add a7, a7, a6")
        return "a7"

    def load(self) -> None:
        """The head's keys, as fp32, at cluster_keys."""
        c, e, form = self.c, self.c.emit, self.c.graph.values["keys"].format
        raw = c.at("cluster_keys" if form == "f32" else "cluster_moved")
        _moves(c, self.width, self.row, 0)
        e.op("fetch.copy2d", raw, self.at(KEYS, self.width), number(BLOCK))
        if form == "i8":
            _moves(c, 4, self.row, 0)
            e.op("fetch.copy2d", c.at("cluster_scales"), self.at(KEYS, 4, self.scales["keys_scales"]), number(BLOCK))
        e.fence()
        count = number(BLOCK * self.width // self.size)
        if form == "f16":
            e.op("vec.cvt.f32.f16", c.at("cluster_keys"), raw, count)
        elif form == "i8":
            e.csr("vec.scale_group", self.width)
            e.op("vec.dequant.i8", c.at("cluster_keys"), raw, c.at("cluster_scales"), count)

    def reorder(self) -> None:
        """Rows of keys and values, and scales, in the order of ORDER."""
        c, e = self.c, self.c.emit
        parts = [(KEYS, self.width, 0), (VALUES, self.width, 0)]
        parts += [(base, 4, self.scales[name]) for base, name in ((KEYS, "keys_scales"), (VALUES, "values_scales")) if self.scales]
        for base, size, before in parts:
            moved = c.at("cluster_scales" if before else "cluster_moved")
            _moves(c, size, self.row, 0)
            e.op("fetch.rows", moved, self.at(base, size, before), c.at(ORDER), number(BLOCK))
            _moves(c, size, 0, self.row)
            e.op("fetch.copy2d", self.at(base, size, before), moved, number(BLOCK))


@contextmanager
def _loop(c: Lowering, name: str, register: str, most: int) -> Iterator[None]:
    """A loop whose body changes CSRs and has control flow: `register` counts from 0."""
    label = c.name(name)
    c.emit.line(f"li {register}, 0")
    c.emit.label(label)
    yield
    c.emit.line(f"addi {register}, {register}, 1;  li a6, {most};  beq {register}, a6, 1f;  j {label}")
    c.emit.mark("1")


@lowers("cluster", "cluster.f16", "cluster.i8")
def cluster(c: Lowering, op: Op) -> None:
    """Where a block is whole: cosine k-means of the keys of each head; then the rows are put in the order of clusters."""
    e, config, placed = c.emit, c.graph.config, c.memory.caches
    dim, centroids, bounds = config.head_dim, placed["centroids"], placed["bounds"]
    means, size = "cluster_means", BYTES[c.graph.values["centroids"].format] * dim
    e.line(f"andi a6, {POSITION}, {BLOCK - 1};  li a7, {BLOCK - 1}")
    whole = c.name("cluster")
    e.line(f"beq a6, a7, {whole}_now;  j {whole}", "a branch does not reach as far")
    e.mark(f"{whole}_now")
    with e.unless("bnez zero", whole, taken=7) as (head, rows, count, at, *masks):
        block = _Block(c, head, rows)
        e.line(f"addi {rows}, {POSITION}, -{BLOCK - 1};  li a6, {block.row};  mul {rows}, {rows}, a6")
        with _loop(c, "heads", head, int(op.attributes["kv_heads"])):
            block.load()
            _normalise(c, at, count)
            _rounds(c, count, at, masks)
            if size < 4 * dim:
                e.op("vec.cvt.f16.f32", c.at("cluster_sorted"), c.at(means), number(CLUSTERS * dim))
                means = "cluster_sorted"
                e.wait("fetch", "vec")
            block.reorder()
            _moves(c, size, 0, centroids.row_bytes)
            e.line(f"srli a7, {POSITION}, 6;  li a6, {CLUSTERS * centroids.row_bytes};  mul a7, a7, a6;  add a7, a7, {KEYS}")
            e.line(f"li a6, {size};  mul a6, a6, {head};  add a7, a7, a6;  li a6, {centroids.offset};  add a7, a7, a6")
            e.op("fetch.copy2d", "a7", c.at(means), number(CLUSTERS))
            e.line(f"srli a7, {POSITION}, 6;  slli a7, a7, 4;  li a6, {bounds.strides[0]};  mul a6, a6, {head};  add a7, a7, a6")
            e.line(f"li a6, {bounds.offset};  add a7, a7, a6;  add a7, a7, {KEYS};  addi {count}, {POSITION}, -{BLOCK - 1}")
            e.move(at, c.at(SIZES))
            for number_of in range(CLUSTERS):
                e.line(f"lwu a6, {4 * number_of}({at});  add {count}, {count}, a6;  sw {count}, {4 * number_of + 4}(a7)")
            e.fence()


def _normalise(c: Lowering, at: str, count: str) -> None:
    """Keys of length 1 at cluster_keys; the first ones are the first centroids; no key has a label."""
    e, dim = c.emit, c.graph.config.head_dim
    e.csr("vec.eps", e.register(bits(TINY)))
    e.move(at, c.at("cluster_keys"))
    with e.pinned(c.at("cluster_gain"), number(dim)) as (gain, length), e.loop(c.name("keys"), BLOCK, count):
        e.op("vec.rmsnorm.f32", at, at, gain, length)
        e.advance(at, 4 * dim)
    e.fence()
    e.op("fetch.copy", c.at("cluster_means"), c.at("cluster_keys"), number(4 * CLUSTERS * dim))
    e.move(at, c.at(LABELS))
    e.line("li a6, -1;  " + ";  ".join(f"sd a6, {8 * each}({at})" for each in range(CLUSTERS)), "no key has a label")
    e.fence()


def _rounds(c: Lowering, count: str, at: str, masks: list[str]) -> None:
    """Assign each key to the nearest centroid, then let centroids be means: until no label changes, at most ROUNDS times."""
    e, dim, stop = c.emit, c.graph.config.head_dim, c.name("settled")
    with _loop(c, "round", count, ROUNDS):
        e.csr("vec.cols", dim)
        e.csr("vec.row_stride", 0)
        for each in range(CLUSTERS):
            mean, near = c.at("cluster_means", 4 * dim * each), c.at("cluster_near", 4 * BLOCK * each)
            e.op("vec.gemv.f32", near, c.at("cluster_keys"), mean, number(BLOCK))
            e.op("vec.dot.f32", "a7", mean, mean, number(dim))
            e.op("vec.axpy.f32", near, "a7", c.at(HALVES), number(BLOCK))
        best: str = "cluster_near"
        for each in range(1, CLUSTERS):
            near = c.at("cluster_near", 4 * BLOCK * each)
            e.op("vec.sub.f32", c.at("cluster_nearer", 4 * BLOCK * (each - 1)), near, c.at(best), number(BLOCK))
            e.op("vec.maximum.f32", c.at("cluster_best"), near, c.at(best), number(BLOCK))
            best = "cluster_best"
        e.fence()
        for each in range(1, CLUSTERS):                     # masks of keys that are nearer to this centroid than to all before it
            nearer = c.at("cluster_nearer", 4 * BLOCK * (each - 1))
            e.op("thr.gt.f32", c.at(LABELS, 8 * (CLUSTERS + each)), nearer, "zero", number(BLOCK))
        e.fence()
        one, two, three = masks
        e.move(at, c.at(LABELS))
        e.line(f"ld {one}, {8 * CLUSTERS + 8}({at});  ld {two}, {8 * CLUSTERS + 16}({at});  ld {three}, {8 * CLUSTERS + 24}({at})")
        e.line(f"not a6, {three};  and {two}, {two}, a6;  and {one}, {one}, a6;  not a6, {two};  and {one}, {one}, a6",
               "the last cluster that is nearer")
        e.line(f"ld a6, 8({at});  xor a6, a6, {one};  ld a7, 16({at});  xor a7, a7, {two};  or a6, a6, a7")
        e.line(f"ld a7, 24({at});  xor a7, a7, {three};  or a6, a6, a7;  bnez a6, 2f;  j {stop}", "no label has changed")
        e.mark("2")
        e.line(f"or a6, {one}, {two};  or a6, a6, {three};  not a6, a6;  sd a6, 0({at})", "all others are in the first one")
        e.line(f"sd {one}, 8({at});  sd {two}, 16({at});  sd {three}, 24({at})")
        _sort(c, at, one, two)
        e.op("vec.fill.32", c.at("cluster_means"), "zero", number(CLUSTERS * dim))
        e.move(at, c.at("cluster_sorted"))
        for each in range(CLUSTERS):
            mean = c.at("cluster_means", 4 * dim * each)
            e.move(one, c.at(SIZES))
            e.line(f"lwu {one}, {4 * each}({one})")
            e.op("vec.macT.f32", mean, at, c.at(ONES), one)
            e.move(two, c.at(RECIPROCALS))
            e.line(f"slli a6, {one}, 2;  add {two}, {two}, a6;  lw {two}, 0({two})")
            e.op("vec.scale.f32", mean, mean, two, number(dim))
            e.advance_rows(at, one, 4 * dim)
    e.label(stop)
    e.fence()


def _sort(c: Lowering, at: str, to: str, sizes: str) -> None:
    """The block's rows in the order of labels at ORDER, how many each cluster has at SIZES, and the keys so sorted."""
    e, dim = c.emit, c.graph.config.head_dim
    e.move(to, c.at(ORDER))
    e.move(sizes, c.at(SIZES))
    for each in range(CLUSTERS):
        e.op("thr.index", "a6", c.at(LABELS, 8 * each), to, number(BLOCK))
        e.line(f"sw a6, {4 * each}({sizes});  slli a6, a6, 2;  add {to}, {to}, a6")
    _moves(c, 4 * dim, 0, 0)
    e.op("fetch.rows", c.at("cluster_sorted"), c.at("cluster_keys"), c.at(ORDER), number(BLOCK))
    e.fence()


# ------------------------------------------------------------------------------------------------ choice


def _clusters(memory: MemoryPlan) -> int:
    return memory.extent("clusters")


@lowers("scores.centroids", "scores.centroids.f16")
def scores_of_centroids(c: Lowering, op: Op) -> None:
    e, result, (q, centroids) = c.emit, op.outputs[0], op.inputs
    e.csr("attn.key_stride", c.memory.caches[centroids].row_bytes)
    e.csr("attn.score_stride", 4 * _clusters(c.memory))
    e.op("attn.wrgb.f32", c.at(q), reads=(q,))
    e.line(f"srli a7, {POSITIONS}, 6;  slli a7, a7, 2", "clusters")
    with e.profile.known("a7", 0, exact=False):
        e.op(f"attn.mac.{c.graph.values[centroids].format}", c.at(result),
             offset(KEYS, c.memory.caches[centroids].offset, centroids), "a7", reads=(centroids,), writes=(result,))


@lowers("choose.rows")
def choose(c: Lowering, op: Op) -> None:
    """Of each head thr ranks the clusters and lists their rows, behind the positions of the last block, which fetch copies."""
    e, (scores, bounds), result = c.emit, op.inputs, op.outputs[0]
    heads, budget, most = c.graph.config.heads, int(c.graph.values[result].shape[1]), _clusters(c.memory)
    kv_heads, placed = int(op.attributes["kv_heads"]), c.memory.caches[bounds]
    e.profile.exact = False
    e.fence()
    with e.profile.uncounted(), e.taken(9) as (kv, head, to, score, bound, clusters, tail, last, ranks):
        e.line(f"srli {clusters}, {POSITIONS}, 6;  slli {clusters}, {clusters}, 2", "clusters")
        e.line(f"andi {tail}, {POSITIONS}, {BLOCK - 1}", "positions behind the last block")
        e.at_most("a7", budget, POSITIONS, "rows of a list")
        e.line(f"sub a7, a7, {tail}")
        e.csr("thr.budget", "a7")
        e.move(last, c.at(ROW_NUMBERS))
        e.line(f"sub a7, {POSITIONS}, {tail};  slli a7, a7, 2;  add {last}, {last}, a7;  slli {tail}, {tail}, 2")
        e.line(f"li a7, {placed.offset};  add {bound}, {KEYS}, a7", "where clusters begin")
        e.move(to, c.at(result))
        e.move(score, c.at(scores))
        e.move(ranks, c.at("cluster_ranks"))
        with e.loop(c.name("lists"), kv_heads, kv):
            with e.loop(c.name("shared"), heads // kv_heads, head):
                e.op("fetch.copy", to, last, tail)
                e.op("thr.topk.f32", ranks, score, clusters, clusters)
                e.line(f"add a7, {to}, {tail}")
                e.op("thr.ranges", "a7", ranks, bound, clusters)
                e.advance(to, 4 * budget)
                e.advance(score, 4 * most)
            e.advance(bound, placed.strides[0])
        e.forget()
    e.wait("attn", "fetch")
    e.wait("attn", "thr")


# ------------------------------------------------------------------------------------------------ attention to rows


def _rows(c: Lowering, rows: str, budget: int) -> None:
    """The lists of rows of all heads, for the attention unit."""
    c.emit.csr("attn.row_list", c.emit.register(c.at(rows)))
    c.emit.csr("attn.list_stride", 4 * budget)
    c.emit.csr("attn.score_stride", 4 * budget)


def _count(c: Lowering, budget: int) -> None:
    """a7: how many rows each list has."""
    c.emit.line(f"li a7, {budget};  bltu a7, {POSITIONS}, 1f;  mv a7, {POSITIONS}", "rows of each list")
    c.emit.mark("1")


@lowers("scores.listed", "scores.listed.f16", "scores.listed.i8")
def scores(c: Lowering, op: Op) -> None:
    e, result, (q, cache, *scales, rows) = c.emit, op.outputs[0], op.inputs
    form, budget = c.graph.values[cache].format, int(c.graph.values[rows].shape[1])
    _rows(c, rows, budget)
    e.csr("attn.key_stride", c.memory.caches[cache].row_bytes)
    e.op(f"attn.wrgb.{'i8' if form == 'i8' else 'f32'}", c.at(q), reads=(q,))
    _count(c, budget)
    with e.profile.known("a7", budget, exact=False):
        e.op(f"attn.mac.{form}", c.at(result), KEYS, "a7", reads=(cache, *scales, rows), writes=(result,))
    e.csr("attn.row_list", 0)


@lowers("softmax.listed")
def softmax(c: Lowering, op: Op) -> None:
    e, result, x = c.emit, op.outputs[0], op.inputs[0]
    budget = int(c.graph.values[x].shape[1])
    e.csr("attn.score_stride", 4 * budget)
    _count(c, budget)
    with e.profile.known("a7", budget, exact=False):
        e.op("attn.sfm.f32", c.at(result), c.at(x), "a7", reads=(x,), writes=(result,))


@lowers("context.listed", "context.listed.f16", "context.listed.i8")
def context(c: Lowering, op: Op) -> None:
    e, result, (p, cache, *scales, rows) = c.emit, op.outputs[0], op.inputs
    budget = int(c.graph.values[rows].shape[1])
    _rows(c, rows, budget)
    e.csr("attn.value_stride", c.memory.caches[cache].row_bytes)
    _count(c, budget)
    with e.profile.known("a7", budget, exact=False):
        e.op(f"attn.context.{c.graph.values[cache].format}", c.at(result), VALUES, c.at(p), "a7", reads=(p, cache, *scales, rows),
             writes=(result,))
    e.csr("attn.row_list", 0)
