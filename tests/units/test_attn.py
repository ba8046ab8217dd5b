"""attn: every row against the vector unit head by head, against float64, and against what other orders of rows give; the traps."""

import numpy as np
import pytest
from unit_bench import Bench, refused

from isa.instruction import TABLE
from isa.traps import Cause

FORMS = ("f32", "f16", "i8")
MODELS = ((1, 1, 8), (4, 4, 16), (6, 2, 20), (8, 1, 33))          # heads, heads of the cache, channels
N = 19                                                            # tokens
GUARD = 0xDEAD_BEEF


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def stored(x, form):
    """fp32 keys or values (n, kv_heads, head_dim) as a cache holds them: bytes of each row."""
    n = len(x)
    if form == "f32":
        return x.reshape(n, -1).view(np.uint8)
    if form == "f16":
        return x.astype(np.float16).reshape(n, -1).view(np.uint8)
    scales = (np.abs(x).max(axis=2) / np.float32(127)).astype("<f4")
    codes = np.rint(x / scales[:, :, None]).astype("i1").reshape(n, -1)
    return np.concatenate([codes.view(np.uint8), np.zeros((n, -codes.shape[1] % 4), np.uint8), scales.view(np.uint8)], axis=1)


def as_f64(x, form):
    """What is stored of x, in float64."""
    rows, (_, kv_heads, head_dim) = stored(x, form), x.shape
    if form == "i8":
        scales = rows[:, -4 * kv_heads:].copy().view("<f4").astype(np.float64)
        return rows[:, :kv_heads * head_dim].view("i1").reshape(x.shape) * scales[:, :, None]
    return rows.view({"f32": "<f4", "f16": "<f2"}[form]).astype(np.float64).reshape(x.shape)


class Attention:
    """A bench with a model, keys, values and a query in it."""

    def __init__(self, model=(4, 2, 16), form="f32", n=N, first=0, count=None):
        self.heads, self.kv_heads, self.head_dim = model
        self.form, self.n, self.first, self.count = form, n, first, self.heads if count is None else count
        self.bench = Bench()
        self.q = normal(self.heads, self.head_dim, seed=1)
        self.k, self.v = (normal(n, self.kv_heads, self.head_dim, seed=seed) for seed in (2, 3))
        self.keys, self.values = (self.bench.put(stored(x, form)) for x in (self.k, self.v))
        self.bench.run("attn.setm", heads=self.heads, kv_heads=self.kv_heads, head_dim=self.head_dim)
        if (first, self.count) != (0, self.heads):
            self.bench.run("attn.seth", first=first, count=self.count)
        self.group = self.heads // self.kv_heads
        self.set = range(first, first + self.count)

    def room(self, n):
        """Room for n fp32 results, guarded by a pattern behind it."""
        return self.bench.put(np.full(n + 4, GUARD, "<u4"))

    def get(self, address, *shape):
        """fp32 results, after checking that nothing was written behind them."""
        n = int(np.prod(shape))
        assert (self.bench.get(address + 4 * n, "<u4", 4) == GUARD).all(), "written past the end"
        return self.bench.get(address, "<f4", n).reshape(shape)

    def load(self, q=None):
        q = self.q[self.set.start:self.set.stop] if q is None else q
        return self.bench.run(f"attn.wrgb.{'i8' if self.form == 'i8' else 'f32'}", q=self.bench.put(q))

    def scores(self, n=None, mnemonic=None, keys=None):
        n = self.n if n is None else n
        to = self.room(self.count * n)
        self.done = self.bench.run(mnemonic or f"attn.mac.{self.form}", scores=to, keys=self.keys if keys is None else keys, n=n)
        return self.get(to, self.count, n)

    def softmax(self, scores, mnemonic="attn.sfm.f32"):
        to = self.room(scores.size)
        self.done = self.bench.run(mnemonic, probs=to, scores=self.bench.put(scores), n=scores.shape[1])
        return self.get(to, *scores.shape)

    def context(self, probs, start=None, values=None):
        to = self.room(self.count * self.head_dim)
        if start is not None:
            self.bench.m.peek(to, start.nbytes).view("<f4")[:] = start.reshape(-1)
        self.done = self.bench.run(f"attn.{'context' if start is None else 'macT'}.{self.form}", context=to,
                                   values=self.values if values is None else values, probs=self.bench.put(probs), n=probs.shape[1])
        return self.get(to, self.count, self.head_dim)

    def vec(self, mnemonic, result, dtype="<f4", **operands):
        """One instruction of the vector unit: its results, so many. Arrays among the operands are placed."""
        placed = {name: self.bench.put(value) if isinstance(value, np.ndarray) else value for name, value in operands.items()}
        name = TABLE[mnemonic].operands[0].name
        placed.setdefault(name, self.bench.put(np.zeros(result, dtype)))
        self.bench.run(mnemonic, **placed)
        return self.bench.get(placed[name], dtype, result)


def same(a, b):
    return np.array_equal(np.asarray(a, np.float32).view("<u4"), np.asarray(b, np.float32).view("<u4"))


# ------------------------------------------------------------------------------------------------ the vector unit, head by head


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("heads", ["all", "one", "some"])
def test_what_the_vector_unit_leaves(model, form, heads):
    """Scores, probabilities and context are, bit by bit, those of vec instructions on one head after the other."""
    first, count = {"all": (0, model[0]), "one": (model[0] - 1, 1), "some": (model[0] // 3, model[0] - model[0] // 3)}[heads]
    a = Attention(model, form, first=first, count=count)
    a.load()
    scores = a.scores()
    probs = a.softmax(scores)
    context = a.context(probs)
    start = normal(a.count, a.head_dim, seed=7)
    added = a.context(probs, start)
    stride, size = stored(a.k, form).shape[1], {"f32": 4, "f16": 2, "i8": 1}[form]
    a.bench.set(vec__cols=a.head_dim, vec__row_stride=stride)
    for i, head in enumerate(a.set):
        offset, q = head // a.group * a.head_dim * size, a.q[head]
        if form == "i8":
            scales = [stored(x, form)[:, -4 * a.kv_heads:].copy().view("<f4")[:, head // a.group].copy() for x in (a.k, a.v)]
            at = a.bench.put(np.zeros(1, "<f4"))
            codes = a.vec("vec.quant.i8", a.head_dim, "i1", x=q, scale=at, n=a.head_dim)
            sums = a.vec("vec.gemv.i8", N, "<i4", W=a.keys + offset, x=codes, rows=N)
            a.bench.set(vec__scale_group=1)
            scaled = a.vec("vec.dequant.i32", N, x=sums, scale=scales[0], n=N)
            a.bench.set(vec__scale_group=0)
            expected = a.vec("vec.scale.f32", N, x=scaled, s=int(a.bench.get(at, "<u4", 1)[0]), n=N)
            weights = a.vec("vec.mul.f32", N, a=probs[i], b=scales[1], n=N)
        else:
            expected, weights = a.vec(f"vec.gemv.{form}", N, W=a.keys + offset, x=q, rows=N), probs[i]
        assert same(scores[i], expected)
        assert same(probs[i], a.vec("vec.softmax.f32", N, x=scores[i], n=N))
        mac_t = "vec.macT.i8.f32" if form == "i8" else f"vec.macT.{form}"
        for result, before in ((context[i], np.zeros(a.head_dim, "<f4")), (added[i], start[i])):
            assert same(result, a.vec(mac_t, a.head_dim, y=before, W=a.values + offset, h=weights, rows=N))


@pytest.mark.parametrize("form", FORMS)
def test_float64(form):
    """Attention as the textbook has it, within what the formats round."""
    a = Attention((6, 2, 64), form, n=100)
    a.bench.set(attn__scale=int(np.float32(0.125).view("<u4")))
    a.load()
    context = a.context(a.softmax(a.scores()))
    k, v = (np.repeat(as_f64(x, form), a.group, axis=1) for x in (a.k, a.v))            # (n, heads, head_dim)
    logits = np.einsum("hc,nhc->hn", a.q.astype(np.float64) / 8, k)
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    assert np.abs(context - np.einsum("hn,nhc->hc", e / e.sum(axis=1, keepdims=True), v)).max() < (2e-2 if form == "i8" else 2e-6)


def test_scale_and_the_query_buffer():
    a = Attention((4, 2, 16))
    a.bench.set(attn__scale=int(np.float32(0.3).view("<u4")))
    done = a.load()
    assert done.counts == {"core.instructions": 1, "attn.ops": 1, "attn.queries": 64, "sram.bytes_read": 256}
    assert same(a.bench.m.state["attn.query"][:64], a.q.reshape(-1) * np.float32(0.3))
    assert a.bench.m.state["attn.loaded"].tolist() == [1, 0, 4, 16]
    a.bench.set(attn__scale=0x7FC0_0000)
    a.load()
    assert np.isnan(a.scores()).all()


def test_an_int8_query_is_what_vec_quant_writes():
    a = Attention((4, 2, 20), "i8")
    a.q[1], a.q[2, 3], a.q[3, 0] = 0, np.inf, np.nan
    a.load()
    a.bench.set(vec__scale_group=20)
    scale = a.bench.put(np.zeros(4, "<f4"))
    codes = a.vec("vec.quant.i8", 80, "i1", x=a.q, scale=scale, n=80)
    assert np.array_equal(a.bench.m.state["attn.codes"][:80], codes)
    assert same(a.bench.m.state["attn.scales"][:4], a.bench.get(scale, "<f4", 4))


# ------------------------------------------------------------------------------------------------ transposed keys


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("model", MODELS)
def test_transposed_keys(model, form):
    """What attn.xpose writes token by token, attn.xmac reads as attn.mac reads rows: the same scores to the bit."""
    a = Attention(model, form)
    capacity = 24
    size = {"f32": 4, "f16": 2, "i8": 1}[form]
    channels = a.kv_heads * a.head_dim
    area = channels * capacity * size + (4 * capacity * a.kv_heads if form == "i8" else 0)
    keys = a.bench.put(np.full(area, 0xEE, "u1"))
    a.bench.set(attn__key_stride=capacity * size)
    for token in range(N):
        done = a.bench.run(f"attn.xpose.{form}", keys=keys, k=a.bench.put(a.k[token]), position=token)
        assert done.counts["attn.transposed"] == channels
        assert done.counts["sram.bytes_written"] == channels * size + 4 * a.kv_heads * (form == "i8")
    cells = a.bench.get(keys, "u1", channels * capacity * size).reshape(channels, capacity, size)
    assert (cells[:, N:] == 0xEE).all(), "columns of tokens that are to come"
    if form != "i8":                # as a NumPy transpose
        assert np.array_equal(cells[:, :N].reshape(channels, -1), np.ascontiguousarray(
            stored(a.k, form).reshape(N, channels, size).swapaxes(0, 1)).reshape(channels, -1))
    a.load()
    by_channel = a.scores(mnemonic=f"attn.xmac.{form}", keys=keys)
    counts = a.done.counts
    a.bench.set(attn__key_stride=0)
    rows = a.k if form != "i8" else None
    if form == "i8":                # vec.quant.i8 writes a row: codes and, behind them, scales
        a.bench.set(vec__scale_group=a.head_dim)
        for token in range(N):
            row = a.keys + token * stored(a.k, form).shape[1]
            a.bench.run("vec.quant.i8", dst=row, x=a.bench.put(a.k[token]), scale=row + channels + -channels % 4, n=channels)
    assert rows is None or rows.shape == a.k.shape
    assert same(by_channel, a.scores())
    assert counts == a.done.counts


# ------------------------------------------------------------------------------------------------ lists of rows


@pytest.mark.parametrize("form", FORMS)
def test_a_list_of_rows_is_a_smaller_cache(form):
    """Clusters of a budget (STARC): rows in any order, for all heads or for each its own."""
    a = Attention((4, 2, 16), form)
    a.load()
    chosen = np.array([17, 3, 3, 11, 0, 18, 7], "<u4")
    kept = Attention((4, 2, 16), form, n=7)
    kept.k, kept.v = a.k[chosen], a.v[chosen]
    kept.keys, kept.values = (kept.bench.put(stored(x, form)) for x in (kept.k, kept.v))
    kept.load()
    a.bench.set(attn__row_list=a.bench.put(chosen))
    scores = a.scores(7)
    assert same(scores, kept.scores())
    assert a.done.counts["sram.bytes_read"] == kept.done.counts["sram.bytes_read"] + 4 * 7
    assert a.done.counts["attn.cache_bytes"] == kept.done.counts["attn.cache_bytes"]
    probs = a.softmax(scores)
    assert same(a.context(probs), kept.context(probs))

    lists = np.random.default_rng(5).integers(0, N, (4, 9)).astype("<u4")       # 7 used, 9 apart
    a.bench.set(attn__row_list=a.bench.put(lists), attn__list_stride=36)
    scores, row_bytes = a.scores(7), a.done.counts["attn.cache_bytes"] // a.done.counts["attn.rows"]
    assert a.done.counts["attn.rows"] == 4 * 7
    assert a.done.counts["attn.row_runs"] == 4 * 7 - np.count_nonzero(np.diff(lists[:, :7].astype(int)) == 1)
    assert a.done.counts["sram.bytes_read"] == 4 * 7 * (row_bytes + 4)
    context = a.context(a.softmax(scores))
    for head in range(4):
        one = Attention((4, 2, 16), form, first=head, count=1)
        one.load()
        one.bench.set(attn__row_list=one.bench.put(lists[head]))
        assert same(one.scores(7), scores[head:head + 1])
        assert same(one.context(one.softmax(scores[head:head + 1])), context[head:head + 1])


def test_keys_without_some_channels():
    """ThinK: old keys keep the channels that matter to a head, recent ones all; the scores of both lie side by side."""
    a = Attention((4, 2, 16))
    old, rng = 12, np.random.default_rng(8)
    kept = np.sort(np.stack([rng.permutation(16)[:10] for _ in range(2)]), axis=1)              # of each head of the cache
    pruned = np.stack([a.k[:old, kv, kept[kv]] for kv in range(2)], axis=1)                     # (old, kv_heads, 10)
    to, stride = a.room(4 * N), 4 * N
    a.bench.set(attn__score_stride=stride)
    index = np.concatenate([16 * head + kept[head // 2] for head in range(4)]).astype("<u4")    # channels of the query that stay
    narrow = a.bench.put(np.zeros(40, "<f4"))
    a.bench.set(fetch__row_bytes=4)
    a.bench.run("fetch.rows", dst=narrow, table=a.bench.put(a.q), index=a.bench.put(index), count=40)
    a.bench.run("attn.setm", heads=4, kv_heads=2, head_dim=10)
    a.bench.run("attn.wrgb.f32", q=narrow)
    a.bench.run("attn.mac.f32", scores=to, keys=a.bench.put(pruned), n=old)
    a.bench.run("attn.setm", heads=4, kv_heads=2, head_dim=16)
    a.load()
    a.bench.run("attn.mac.f32", scores=to + 4 * old, keys=a.bench.put(a.k[old:]), n=N - old)
    scores = a.get(to, 4, N)
    for head in range(4):
        channels = kept[head // 2]
        expected = np.concatenate([a.k[:old, head // 2, channels] @ a.q[head, channels], a.k[old:, head // 2] @ a.q[head]])
        assert np.abs(scores[head] - expected).max() < 1e-5


# ------------------------------------------------------------------------------------------------ softmax: masks and parts


@pytest.mark.parametrize("masks", [0, 1, 4])
def test_a_mask_leaves_scores_out(masks):
    a, n = Attention((4, 2, 16)), 21
    scores = normal(4, n, seed=4) * 5
    scores[:, 6] = np.nan                       # where the mask is 0, whatever lies there
    kept = np.random.default_rng(6).random((max(masks, 1), n)) < 0.7
    kept[:, 6] = False
    if masks:
        bits = np.packbits(kept, axis=1, bitorder="little")
        a.bench.set(attn__mask=a.bench.put(bits, gap=1), attn__mask_stride=bits.shape[1] if masks > 1 else 0)
    probs = a.softmax(scores)
    if not masks:
        assert np.isnan(probs).all()
        assert "attn.masked" not in a.done.counts
        return
    assert a.done.counts["attn.masked"] == np.count_nonzero(~np.broadcast_to(kept, (4, n)))
    assert a.done.counts["attn.exponentials"] == a.done.counts["attn.elements"] == 4 * n
    assert a.done.counts["sram.bytes_read"] == 4 * 4 * n + masks * 3
    for head in range(4):
        use = kept[head % len(kept)]
        e = np.exp(scores[head, use].astype(np.float64) - scores[head, use].max())
        assert np.abs(probs[head, use] - e / e.sum()).max() < 1e-6
        assert (probs[head, ~use] == 0).all()


@pytest.mark.parametrize("cores", [1, 2, 3])
def test_a_head_split_over_cores(cores):
    """attn.mvsb, attn.exp and attn.mvgb are attn.sfm where one core has all, and the same function where several have some."""
    n = 24
    scores = normal(4, n, seed=9) * 4
    whole = Attention((4, 2, 16)).softmax(scores)
    parts = [Attention((4, 2, 16)) for _ in range(cores)]
    pieces = np.split(scores, cores, axis=1)
    most, sums = np.full(4, -np.inf, "<f4"), np.zeros(4, "<f4")
    rows, results = [], []
    for a, piece in zip(parts, pieces, strict=True):
        to = a.room(4)
        rows.append(a.bench.put(piece))
        done = a.bench.run("attn.mvsb.f32", most=to, scores=rows[-1], n=n // cores)
        assert "attn.exponentials" not in done.counts
        most = np.maximum(most, a.get(to, 4))
    assert same(most, scores.max(axis=1))
    for a, row in zip(parts, rows, strict=True):
        to = a.room(4)
        a.bench.run("attn.exp.f32", scores=row, most=a.bench.put(most), sums=to, n=n // cores)
        sums = sums + a.get(to, 4)
    for a, row in zip(parts, rows, strict=True):
        to = a.room(4 * n // cores)
        a.bench.run("attn.mvgb.f32", probs=to, e=row, sums=a.bench.put(sums), n=n // cores)
        results.append(a.get(to, 4, n // cores))
    together = np.concatenate(results, axis=1)
    assert same(together, whole) if cores == 1 else np.abs(together - whole).max() < 1e-6


# ------------------------------------------------------------------------------------------------ memory


@pytest.mark.parametrize("form", FORMS)
def test_strides_zero_length_and_what_is_counted(form):
    a = Attention((6, 2, 20), form)
    wide = np.concatenate([stored(a.k, form), np.full((N, 12), 0xEE, "u1")], axis=1)
    a.load()
    packed = a.scores()
    expected = {"attn.macs": 6 * N * 20, "attn.scores": 6 * N, "attn.rows": 2 * N, "attn.row_runs": 1,
                "sram.bytes_written": 4 * 6 * N,
                "attn.cache_bytes": 2 * N * {"f32": 80, "f16": 40, "i8": 24}[form], "core.instructions": 1, "attn.ops": 1}
    assert a.done.counts == expected | {"sram.bytes_read": expected["attn.cache_bytes"]}
    to = a.room(6 * 32)
    a.bench.set(attn__key_stride=wide.shape[1], attn__score_stride=128)
    a.bench.run(f"attn.mac.{form}", scores=to, keys=a.bench.put(wide), n=N)
    rows = a.bench.get(to, "<u4", 6 * 32).reshape(6, 32)
    assert np.array_equal(rows[:, :N], packed.view("<u4"))
    assert (rows[:, N:] == GUARD).all()
    a.context(packed)
    assert a.done.counts["attn.macs"] == 6 * N * 20
    assert a.done.counts["attn.probabilities"] == 6 * N
    assert a.done.counts["sram.bytes_read"] == 4 * 6 * N + a.done.counts["attn.cache_bytes"]
    nothing = {"core.instructions": 1, "attn.ops": 1}
    for mnemonic, operands in {
            f"attn.mac.{form}": ("scores", "keys"), f"attn.xmac.{form}": ("scores", "keys"), "attn.sfm.f32": ("probs", "scores"),
            f"attn.context.{form}": ("context", "values", "probs"), f"attn.macT.{form}": ("context", "values", "probs"),
            "attn.mvsb.f32": ("most", "scores"), "attn.exp.f32": ("scores", "most", "sums"),
            "attn.mvgb.f32": ("probs", "e", "sums"),
            }.items():
        assert a.bench.run(mnemonic, n=0, **dict.fromkeys(operands, 3)).counts == nothing


def test_operands_may_overlap():
    a = Attention((4, 2, 16))
    a.load()
    expected = a.scores(8)
    a.bench.run("attn.mac.f32", scores=a.keys, keys=a.keys, n=8)
    assert same(a.bench.get(a.keys, "<f4", 32).reshape(4, 8), expected)
    probs = a.softmax(expected)
    at = a.bench.put(expected)
    a.bench.run("attn.sfm.f32", probs=at, scores=at, n=8)
    assert same(a.bench.get(at, "<f4", 32).reshape(4, 8), probs)


# ------------------------------------------------------------------------------------------------ traps


def test_model_and_heads_that_cannot_be():
    bench = Bench()
    for mnemonic, operands in (("attn.mac.f32", {"scores": 0, "keys": 0, "n": 4}), ("attn.seth", {"first": 0, "count": 1})):
        assert "expected attn.setm before" in refused(Cause.ILLEGAL_OPERAND, bench, mnemonic, **operands)
    for heads, kv_heads, head_dim, cause, reason in (
            (6, 4, 8, Cause.ILLEGAL_OPERAND, "6 heads on 4 of the cache"), (2, 4, 8, Cause.ILLEGAL_OPERAND, "divides"),
            (4, 0, 8, Cause.ILLEGAL_OPERAND, "at least 1"), (0, 0, 8, Cause.ILLEGAL_OPERAND, "at least 1"),
            (4, 2, 0, Cause.ILLEGAL_OPERAND, "heads of 0 channels"), (257, 257, 8, Cause.CAPACITY, "has 256 (attn.heads)"),
            (4, 2, 65537, Cause.CAPACITY, "attn.channels"), (1 << 63, 1, 8, Cause.CAPACITY, "attn.heads")):
        assert reason in refused(cause, bench, "attn.setm", heads=heads, kv_heads=kv_heads, head_dim=head_dim)
    bench.run("attn.setm", heads=8, kv_heads=2, head_dim=16384)
    q = 0x8001_0000
    assert "set fewer heads at a time" in refused(Cause.CAPACITY, bench, "attn.wrgb.f32", q=q)
    for first, count in ((0, 0), (0, 9), (8, 1), (7, 2), ((1 << 64) - 1, 2)):
        assert "of heads 0..7" in refused(Cause.ILLEGAL_OPERAND, bench, "attn.seth", first=first, count=count)
    bench.run("attn.seth", first=4, count=4)
    bench.run("attn.wrgb.f32", q=q)
    assert bench.m.state["attn.loaded"].tolist() == [1, 4, 4, 16384]


def test_a_query_that_is_not_there():
    a = Attention((4, 2, 16))
    at = {"scores": a.room(100), "keys": a.keys, "n": N}
    assert "holds nothing" in refused(Cause.ILLEGAL_OPERAND, a.bench, "attn.mac.f32", **at)
    a.load()
    assert "heads 0..3 of 16 channels as f32; expected heads 0..3 of 16 channels, written by attn.wrgb.i8" in refused(
        Cause.ILLEGAL_OPERAND, a.bench, "attn.mac.i8", **at)
    a.bench.run("attn.seth", first=1, count=2)
    a.bench.run("attn.wrgb.f32", q=a.bench.put(a.q[1:3]))
    a.bench.run("attn.seth", first=2, count=1)
    a.bench.run("attn.mac.f32", **at)
    a.bench.run("attn.seth", first=2, count=2)
    assert "holds heads 1..2" in refused(Cause.ILLEGAL_OPERAND, a.bench, "attn.mac.f32", **at)
    a.bench.run("attn.setm", heads=4, kv_heads=2, head_dim=16)
    assert "holds nothing" in refused(Cause.ILLEGAL_OPERAND, a.bench, "attn.mac.f32", **at)


@pytest.mark.parametrize(("csrs", "mnemonic", "reason"), [
    ({"key_stride": 127}, "attn.mac.f32", "attn.key_stride is 127; expected 0 (packed) or a multiple of 4, at least the 128"),
    ({"key_stride": 130}, "attn.mac.f32", "a row of 2 heads of 16 channels"),
    ({"score_stride": 72}, "attn.mac.f32", "attn.score_stride is 72; expected 0 (packed) or a multiple of 4, at least the 76"),
    ({"score_stride": 78}, "attn.mac.f32", "attn.score_stride"),
    ({}, "attn.xmac.f32", "attn.key_stride is 0; expected a multiple of 4, at least the 76 bytes of 19 tokens"),
    ({"key_stride": 96, "row_list": 0x1000_0000}, "attn.xmac.f32", "attn.row_list is set; expected 0"),
])
def test_settings_that_cannot_be(csrs, mnemonic, reason):
    a = Attention((4, 2, 16))
    a.load()
    a.bench.set(**{f"attn__{name}": value for name, value in csrs.items()})
    assert reason in refused(Cause.ILLEGAL_OPERAND, a.bench, mnemonic, scores=a.room(100), keys=a.keys, n=N)


def test_operands_that_are_not_there():
    a = Attention((4, 2, 16), "i8")
    a.load()
    end = 0x1000_0000 + (16 << 20)
    refused(Cause.LOAD_ACCESS, a.bench, "attn.mac.i8", scores=a.room(100), keys=end - 39 * 20, n=20)
    refused(Cause.STORE_ACCESS, a.bench, "attn.mac.i8", scores=end - 4 * 4 * N + 4, keys=a.keys, n=N)
    refused(Cause.MISALIGNED_OPERAND, a.bench, "attn.mac.i8", scores=a.room(100), keys=a.keys + 2, n=N)
    refused(Cause.CAPACITY, a.bench, "attn.mac.i8", scores=a.room(100), keys=a.keys, n=(1 << 28) + 1)
    a.bench.set(attn__row_list=a.bench.put(np.array([1, 1 << 31], "<u4")))
    refused(Cause.LOAD_ACCESS, a.bench, "attn.mac.i8", scores=a.room(100), keys=a.keys, n=2)
    a.bench.set(attn__row_list=0, attn__mask=end - 2)
    refused(Cause.LOAD_ACCESS, a.bench, "attn.sfm.f32", probs=a.room(100), scores=a.keys, n=N)
    a.bench.set(attn__key_stride=32)
    assert "32 bytes of 33 tokens" not in refused(
        Cause.ILLEGAL_OPERAND, a.bench, "attn.xpose.i8", keys=a.keys, k=a.bench.put(a.k[0]), position=32)
