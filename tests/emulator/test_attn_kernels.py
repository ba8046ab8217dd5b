"""attn: every kernel against its meaning, on both engines at once: sizes around 16 lanes and 8 tokens, GQA, lists, masks."""

import numpy as np
import pytest
from both_engines import DRAM, SRAM, Pair

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")      # test data overflows on purpose
RUNS = 30                                               # of each instruction
FORMS = ("f32", "f16", "i8")
MODELS = ((1, 1), (4, 4), (4, 2), (6, 2), (8, 1), (12, 4))       # heads, heads of the cache
HEAD_DIMS = (1, 3, 4, 8, 15, 16, 17, 32, 48, 64, 65, 80, 128, 144)
TOKENS = (0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 50, 64, 83, 130)
SPECIAL = np.array([0, 0x8000_0000, 0x7FC0_0000, 0xFFC0_1234, 0x7F80_0000, 0xFF80_0000, 0x7F7F_FFFF, 1], "<u4").view("<f4")


@pytest.fixture(scope="module")
def pair():
    return Pair()


def floats(rng, *shape):
    values = rng.standard_normal(shape).astype(np.float32)
    if rng.random() < 0.3:
        values = np.where(rng.random(shape) < 0.05, rng.choice(SPECIAL, shape), values)
    return values


class Case:
    """A random model, some of its heads set, a query in the buffer."""

    def __init__(self, pair, rng, form):
        pair.fresh()
        self.pair, self.rng, self.form = pair, rng, form
        self.heads, self.kv_heads = MODELS[rng.integers(len(MODELS))]
        self.head_dim, self.n = int(rng.choice(HEAD_DIMS)), int(rng.choice(TOKENS))
        self.first = int(rng.integers(self.heads)) if rng.random() < 0.5 else 0
        self.active = int(rng.integers(1, self.heads - self.first + 1)) if rng.random() < 0.5 else self.heads - self.first
        start = int(rng.integers(self.first + 1))
        held = self.heads - start
        pair.start_state = {
            "attn.model": np.array([self.heads, self.kv_heads, self.head_dim, self.first, self.active], "u4"),
            "attn.loaded": np.array([2 if form == "i8" else 1, start, held, self.head_dim], "u4"),
            "attn.query": floats(rng, held * self.head_dim), "attn.scales": floats(rng, held),
            "attn.codes": rng.integers(-128, 128, held * self.head_dim).astype("i1")}
        self.score_stride = int(rng.choice([0, 4 * self.n, 4 * self.n + 64]))
        self.width = self.score_stride // 4 or self.n
        pair.set(attn__score_stride=self.score_stride)

    @property
    def size(self):
        return {"f32": 4, "f16": 2, "i8": 1}[self.form]

    def cache(self, rows):
        """Bytes of a cache with a row for each token, and its stride."""
        codes = self.kv_heads * self.head_dim * self.size
        row_bytes = codes + -codes % 4 + 4 * self.kv_heads if self.form == "i8" else codes
        stride = row_bytes + int(self.rng.choice([0, 4, 20]))
        data = self.bytes_of(rows, stride)
        if self.form == "i8":
            scales = data[:, codes + -codes % 4:row_bytes]
            scales[:] = floats(self.rng, rows, self.kv_heads).view(np.uint8)
        return data, 0 if stride == row_bytes and self.rng.random() < 0.7 else stride

    def bytes_of(self, rows, stride):
        if self.form == "f32":
            return floats(self.rng, rows, stride // 4).view(np.uint8)
        data = self.rng.integers(0, 256, (rows, stride), np.uint8)
        if self.form == "f16" and self.rng.random() < 0.7:
            data = np.where(np.arange(stride) % 2 == 1, data & 0xBB, data).astype(np.uint8)        # no NaN, nothing infinite
        return data

    def lists(self, rows):
        """Sometimes a list of rows, sometimes one for each head."""
        if self.rng.random() < 0.5 or not self.n:
            return
        stride = int(self.rng.choice([0, 4 * self.n, 4 * self.n + 8]))
        every = self.rng.integers(0, rows, (self.active, stride // 4 or self.n)).astype("<u4")
        self.pair.set(attn__row_list=self.pair.put(every), attn__list_stride=stride)

    def mask(self):
        if self.rng.random() < 0.4:
            return
        size = -(-self.n // 8)
        stride = int(self.rng.choice([0, size, size + 3]))
        bits = self.rng.integers(0, 256, (self.active, stride or size)).astype(np.uint8)
        if self.rng.random() < 0.2:
            bits[:] = 0
        self.pair.set(attn__mask=self.pair.put(bits, gap=int(self.rng.integers(4))), attn__mask_stride=stride)

    def room(self):
        """Somewhere for results."""
        return self.pair.put(np.zeros((self.heads + 4) * (max(self.width, self.head_dim) + 4), "<f4"))

    def scores(self):
        return self.pair.put(floats(self.rng, self.active, self.width))


def seeds(name, runs=RUNS):
    return (np.random.default_rng([seed, *name.encode()]) for seed in range(runs))


def mac(pair, rng, form):
    case = Case(pair, rng, form)
    rows = case.n + int(rng.integers(1, 9))
    data, stride = case.cache(rows)
    case.lists(rows)
    pair.set(attn__key_stride=stride)
    pair.run(f"attn.mac.{form}", scores=case.room(), keys=pair.put(data), n=case.n)


def xmac(pair, rng, form):
    case = Case(pair, rng, form)
    stride = (case.n * case.size + 3 & -4) + int(rng.choice([0, 4, 64]))
    data = case.bytes_of(case.kv_heads * case.head_dim, stride)
    if form == "i8":
        data = np.concatenate([data.reshape(-1), floats(rng, case.kv_heads * stride).view(np.uint8)])
    pair.set(attn__key_stride=stride)
    pair.run(f"attn.xmac.{form}", scores=case.room(), keys=pair.put(data), n=case.n)


def xpose(pair, rng, form):
    case = Case(pair, rng, form)
    capacity = case.n + 4 & -4
    stride = capacity * case.size + int(rng.choice([0, 8]))
    pair.set(attn__key_stride=stride)
    keys = pair.put(np.zeros(case.kv_heads * (case.head_dim + 4) * stride, "u1"))
    pair.run(f"attn.xpose.{form}", keys=keys, k=pair.put(floats(rng, case.kv_heads, case.head_dim)), position=case.n)


def context(pair, rng, form):
    case = Case(pair, rng, form)
    rows = case.n + int(rng.integers(1, 9))
    data, stride = case.cache(rows)
    case.lists(rows)
    pair.set(attn__value_stride=stride)
    at = {"values": pair.put(data), "probs": case.scores(), "context": pair.put(floats(rng, case.active, case.head_dim))}
    pair.run(f"attn.macT.{form}", **at, n=case.n)
    pair.run(f"attn.context.{form}", **at, n=case.n)


def softmax(pair, rng, form):
    """`form` is that of a query, which does not matter here."""
    case = Case(pair, rng, form)
    case.mask()
    scores, sums, most = case.scores(), pair.put(floats(rng, case.active)), pair.put(floats(rng, case.active))
    for other in (scores, case.room()):
        pair.run("attn.sfm.f32", probs=other, scores=scores, n=case.n)
        pair.run("attn.mvgb.f32", probs=other, e=scores, sums=sums, n=case.n)
    for other in (most, case.room()):
        pair.run("attn.exp.f32", scores=scores, most=most, sums=other, n=case.n)
    pair.run("attn.mvsb.f32", most=case.room(), scores=scores, n=case.n)


OPERATIONS = (mac, xmac, xpose, context, softmax)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_operations(pair, operation, form):
    for rng in seeds(f"{operation.__name__} {form}"):
        operation(pair, rng, form)


@pytest.mark.parametrize("form", ["f32", "i8"])
def test_wrgb(pair, form):
    for rng in seeds("wrgb." + form):
        case = Case(pair, rng, "f32")
        pair.set(attn__scale=int(rng.choice([0x3F80_0000, 0x3DB5_04F3, 0x7FC0_0000, 0xBF80_0000])))
        q = floats(rng, case.active, case.head_dim)
        if rng.random() < 0.3:
            q[int(rng.integers(case.active))] = rng.choice([0, 1e-39, np.inf, np.nan])
        pair.run(f"attn.wrgb.{form}", q=pair.put(q))


def test_setm_and_seth(pair):
    for rng in seeds("set"):
        pair.fresh()
        heads = int(rng.integers(0, 40))
        pair.run("attn.setm", heads=heads, kv_heads=int(rng.integers(0, 9)), head_dim=int(rng.choice([0, 1, 64, 1 << 20, -1])))
        pair.start_state = {"attn.model": np.array([heads, 1 if heads else 0, 4, 0, heads], "u4")}
        pair.run("attn.seth", first=int(rng.integers(-1, 41)), count=int(rng.integers(-1, 41)))


def test_operands_that_share_memory_or_are_not_there(pair):
    """Whatever the kernels do not take, the two engines agree about."""
    places = [SRAM, SRAM + 4, SRAM + 0x40, SRAM + 0x41, DRAM + 0x2000, 0x20_0000_0000, 0x4000_0000]
    settings = ("key_stride", "value_stride", "score_stride", "row_list", "list_stride", "mask", "mask_stride")
    for rng in seeds("anywhere"):
        for form in FORMS:
            case = Case(pair, rng, form)
            for name in rng.choice(settings, 2):
                pair.set(**{f"attn__{name}": int(rng.choice([*places, 0, 4, 6, 64, 1 << 62, -1, -4, 1000]))})
            at = {name: int(rng.choice(places)) for name in "abcd"}
            n = int(rng.choice([case.n, 1 << 28, (1 << 28) + 1, 1 << 62, -1]))
            for mnemonic, operands in {
                    f"attn.mac.{form}": {"scores": "a", "keys": "b"}, f"attn.xmac.{form}": {"scores": "a", "keys": "b"},
                    f"attn.context.{form}": {"context": "a", "values": "b", "probs": "c"},
                    f"attn.macT.{form}": {"context": "a", "values": "b", "probs": "c"},
                    "attn.sfm.f32": {"probs": "a", "scores": "b"}, "attn.mvsb.f32": {"most": "a", "scores": "b"},
                    "attn.exp.f32": {"scores": "a", "most": "b", "sums": "c"},
                    "attn.mvgb.f32": {"probs": "a", "e": "b", "sums": "c"},
                    }.items():
                pair.run(mnemonic, inline=False, n=min(n, 64), **{name: at[place] for name, place in operands.items()})
            pair.run(f"attn.xpose.{form}", inline=False, keys=at["a"], k=at["b"], position=min(n, 64))
            pair.run(f"attn.wrgb.{'i8' if form == 'i8' else 'f32'}", inline=False, q=at["a"])
