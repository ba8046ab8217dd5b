"""Every program in programs/ assembles, runs on the reference engine and prints what its header promises.

The promise itself is checked against plain float64 or integer NumPy computed here from the data in the program file, so
that an engine and a header that are wrong together are still found out.
"""

from pathlib import Path

import numpy as np
import pytest

import asm
from isa import sparse
from isa.numbers import FORMATS
from isa.reference import ReferenceMachine
from isa.services import Host

PROGRAMS = Path(__file__).parents[2] / "programs"
NAMES = sorted(path.stem for path in PROGRAMS.glob("*.s"))


def expected_output(name: str) -> str:
    """The lines behind `# Expected output:` in the program's header."""
    lines = (PROGRAMS / f"{name}.s").read_text().splitlines()
    start = lines.index("# Expected output:") + 1
    block = []
    for line in lines[start:]:
        if not line.startswith("#   "):
            break
        block.append(line[4:])
    assert block, f"{name}.s promises no output"
    return "\n".join(block) + "\n"


class Run:
    """A program that has run to its end: its output, its data as it was at the start, its memory as it is now."""

    def __init__(self, name: str) -> None:
        self.program = asm.assemble(PROGRAMS / f"{name}.s")
        self.machine = ReferenceMachine(self.program.machine, Host())
        self.machine.load(self.program)
        self.initial = {s.name: s.bytes() for s in self.program.sections}
        self.result = self.machine.run(max_instructions=2_000_000)
        self.output = bytes(self.machine.host.output).decode()

    def data(self, symbol: str, dtype: str, *shape: int) -> np.ndarray:
        """An array of the program file, as it was before the run."""
        s = self.program.symbol(symbol)
        section = self.program.section(s.section)
        count = int(np.prod(shape))
        return np.frombuffer(self.initial[section.name], dtype, count, s.value - section.address).reshape(shape)

    def memory(self, symbol: str, dtype: str, *shape: int) -> np.ndarray:
        """An array in memory after the run."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self.machine.peek(self.program.symbol(symbol).value, size).view(dtype).reshape(shape)

    def ternary(self, symbol: str, rows: int, columns: int) -> np.ndarray:
        """(rows, columns) weights from four two-bit codes a byte."""
        packed = self.data(symbol, "u1", rows, columns // 4)
        return (np.stack([packed >> shift & 3 for shift in (0, 2, 4, 6)], axis=-1).astype(int) - 1).reshape(rows, columns)


@pytest.fixture(scope="module")
def run():
    finished: dict[str, Run] = {}
    return lambda name: finished.setdefault(name, Run(name)) if name not in finished else finished[name]


@pytest.mark.parametrize("name", NAMES)
def test_program_prints_what_it_promises(run, name):
    done = run(name)
    assert done.result.trap is None, str(done.result.trap)
    assert (done.result.reason, done.result.exit_code) == ("exit", 0)
    assert done.output == expected_output(name)


def test_there_are_at_least_eight():
    assert len(NAMES) >= 8


def rms(x, gain, eps=1e-5):
    x = x.astype(np.float64)
    return x / np.sqrt(np.mean(x * x) + eps) * gain


def quantised(x):
    """int8 codes and scale, absmax, half to even, in f32 as the machine divides."""
    x = x.astype(np.float32)
    absmax = np.abs(x).max()
    return np.rint(x * (np.float32(127) / absmax)).astype(int), float(absmax / np.float32(127))


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def thousandths(values):
    return [f"{v:.3f}" for v in values]


def test_output_reuse_is_the_product_of_centres_and_differences(run):
    done = run("output_reuse")
    centres = 2 * (done.data("centres", "u1", 2, 1) >> np.arange(4) & 1).astype(int) - 1
    weights = centres[done.data("assigned", "u1", 4, 2)].reshape(4, 8) + 2 * done.ternary("differences", 4, 8)
    assert np.isin(weights, (-1, 1)).all()
    assert np.array_equal(done.memory("sums", "<i4", 4), weights @ done.data("activations", "i1", 8).astype(int))


def test_bipolar_gemv_is_the_product_of_odd_integers(run):
    done = run("bipolar_gemv")
    planes = done.data("weights", "u1", 2, 4, 1) >> np.arange(8) & 1
    weights = 2 * (planes[0].astype(int) + 2 * planes[1]) - 3
    x = 2 * done.data("codes", "u1", 8).astype(int) - 7
    assert np.array_equal(done.memory("sums", "<i4", 4), weights @ x)


def test_packed_chunks_are_the_rows_of_the_matrix(run):
    done = run("packed_chunks")
    weights = np.zeros((3, 16), int)
    weights[0, 8:12] = weights[1, 12:] = [1, 0, 0, -1]
    weights[1, :4] = [-1, 1, 1, 0]
    assert np.array_equal(FORMATS["t2"].unpack(done.memory("weights", "u1", 3, 4), 16), weights)
    assert np.array_equal(done.memory("sums", "<i4", 3), weights @ done.data("activations", "i1", 16).astype(int))


def test_wide_activations_are_the_sum_of_their_parts(run):
    done = run("wide_activations")
    x = done.data("activations", "<i4", 8).astype(int)
    parts = done.memory("parts", "i1", 4, 8).astype(int)
    assert parts[3].min() == -8 and parts[:3].min() == 0 and parts.max() == 15 and np.array_equal((16 ** np.arange(4)) @ parts, x)
    assert np.array_equal(done.memory("sums", "<i4", 4), done.ternary("weights", 4, 8) @ x)


def test_pairs_of_codes_are_the_product_with_values_of_the_codebook(run):
    done = run("codebook_pairs")
    codes = FORMATS["c2"].unpack(done.data("weights", "u1", 4, 2), 8)
    weights = done.data("codebook", "i1", 4).astype(int)[codes]
    assert np.array_equal(done.memory("sums", "<i4", 4), weights @ done.data("activations", "i1", 8).astype(int))


def test_ternary_gemv_is_the_integer_product(run):
    done = run("ternary_gemv")
    product = done.ternary("weights", 4, 8) @ np.arange(1, 9)
    assert list(done.memory("sums", "<i4", 4)) == list(product) == [36, -36, 10, 0]


def test_int4_gemv_is_the_scaled_integer_product_and_near_the_dense_one(run):
    done = run("int4_gemv")
    packed = done.data("codes", "u1", 2, 32)
    codes = np.stack([packed & 15, packed >> 4], axis=-1).reshape(2, 64).astype(int)
    codes = np.where(codes > 7, codes - 16, codes)
    scales = done.data("scales", "<f4", 2, 2).astype(np.float64)
    x = done.data("input", "<f4", 64)
    q, scale = quantised(x)
    exact = ((codes * q).reshape(2, 2, 32).sum(-1) * scales * scale).sum(-1)
    assert np.allclose(done.memory("output", "<f4", 2), exact, rtol=1e-6)
    dense = ((codes * x.astype(np.float64)).reshape(2, 2, 32).sum(-1) * scales).sum(-1)
    assert np.allclose(done.memory("dense", "<f4", 2), dense, rtol=1e-5)


def test_norm_softmax(run):
    done = run("norm_softmax")
    x = np.array([1, 2, 3, 4.0])
    assert np.allclose(done.memory("normed", "<f4", 4), rms(x, np.array([1, 1, 0.5, 0.5]), 1e-6), rtol=1e-6)
    assert np.allclose(done.memory("weights", "<f4", 4), softmax(x), rtol=1e-6)


def test_double_buffer_computes_every_tile(run):
    done = run("double_buffer")
    product = done.ternary("weights", 64, 64) @ np.arange(-32, 32)
    assert list(done.memory("sums", "<i4", 64)) == list(product)
    checksum = 0
    for value in product.tolist():
        checksum = (31 * checksum + value + 2**31) % 2**32 - 2**31
    assert f"checksum: {checksum}\n" in done.output


def test_sparse_ffn_equals_the_dense_layer(run):
    done = run("sparse_ffn")
    gate, up, down = (done.data(f"w_{name}", "<f4", 64, 16).astype(np.float64) for name in ("gate", "up", "down"))
    x = done.data("x", "<f4", 16).astype(np.float64)
    g = np.maximum(gate @ x, 0)
    assert np.allclose(done.memory("y", "<f4", 16), (g * (up @ x)) @ down, rtol=1e-4, atol=1e-6)
    active = int((g > 0).sum())
    per_neuron = 4 + 2 * 64                                        # its gate value and its two rows
    assert f"neurons: {active} of 64 active" in done.output
    assert f"bytes fetched: {active * per_neuron} left alone: {(64 - active) * per_neuron}\n" in done.output


def test_slim_layer_is_the_dense_layer_of_the_neurons_that_are_guessed(run):
    done = run("slim_layer")
    into, out = done.data("into", "<f4", 4, 16).astype(np.float64), done.data("out", "<f4", 64, 4).astype(np.float64)
    slots = done.data("objects", "<f4", 64, 64).astype(np.float64)
    gate, up, down = slots[:, :16], slots[:, 16:32], slots[:, 32:48]
    counts = []
    for sequence, x in enumerate(done.data("x", "<f4", 2, 16).astype(np.float64)):
        active = np.abs(out @ (into @ x)) > 1.25
        counts.append(int(active.sum()))
        g = gate @ x
        y = np.where(active, g / (1 + np.exp(-g)) * (up @ x), 0) @ down
        assert np.allclose(done.memory("y", "<f4", 2, 16)[sequence], y, rtol=1e-4, atol=1e-6)
    assert f"first:  {counts[0]} of 64 neurons" in done.output and f"second: {counts[1]} of 64 neurons" in done.output
    assert f"pages 8, bytes fetched: {192 * sum(counts)} left alone: {192 * (128 - sum(counts))}\n" in done.output


def test_think_keys_drops_the_channels_that_matter_least(run):
    done = run("think_keys")
    keys, queries = (done.data(name, "<f4", rows, 8).astype(np.float64) for name, rows in (("keys", 8), ("queries", 3)))
    stays = np.sort(np.argsort((keys ** 2).mean(axis=0) * (queries ** 2).mean(axis=0))[3:])
    assert f"stay: {' '.join(map(str, stays))}\n" in done.output
    masked = np.where(np.isin(np.arange(8), stays) | (np.arange(8)[:, None] >= 5), keys, 0)
    assert np.allclose(done.memory("scores", "<f4", 8), masked @ queries[-1], rtol=1e-5)
    assert np.allclose(done.memory("whole", "<f4", 8), keys @ queries[-1], rtol=1e-5)


def test_the_tokens_that_go_on_are_those_of_the_best_blocks(run):
    done = run("token_pruning")
    keys, mean = done.data("keys", "<f4", 6, 2, 2, 2).astype(np.float64), done.data("queries", "<f4", 2, 2).mean(axis=0)
    scores = (keys.mean(axis=2) @ mean).max(axis=1)[1:5]               # blocks, units, tokens, channels
    assert np.array_equal(done.memory("scores", "<f4", 4), scores)
    kept = [0, *sorted(1 + np.argsort(-scores, kind="stable")[:2]), 5]
    tokens = [token for block in kept for token in range(4 * block, 4 * block + 4)]
    assert done.memory("next_places", "<u4", 16).tolist() == tokens
    assert done.memory("next_states", "<f4", 16).tolist() == [token / 2 for token in tokens]


def test_starc_clusters_are_those_of_k_means(run):
    done = run("starc_clusters")
    keys, query = done.data("keys", "<f4", 8, 4).astype(np.float64), done.data("query", "<f4", 4).astype(np.float64)
    means, labels = keys[:2], np.full(8, -1)
    while (now := ((keys[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)).tolist() != labels.tolist():
        labels, means = now, np.stack([keys[now == each].mean(axis=0) for each in range(2)])
    assert done.memory("order", "<u4", 8).tolist() == np.argsort(labels, kind="stable").tolist()
    assert np.allclose(done.memory("means", "<f4", 2, 4), means, atol=1e-6)
    ranked = np.argsort(labels != (means @ query).argmax(), kind="stable")[:6]             # rows of the better cluster first
    rows = np.argsort(np.argsort(labels, kind="stable"))[ranked]
    assert done.memory("list", "<u4", 6).tolist() == rows.tolist()
    assert np.allclose(done.memory("scores", "<f4", 6), keys[ranked] @ query, atol=1e-6)


def test_llama_layer(run):
    done = run("llama_layer")
    shapes = {"attn_norm": (32,), "ffn_norm": (32,), "w_q": (32, 32), "w_k": (16, 32), "w_v": (16, 32), "w_o": (32, 32),
              "w_1": (64, 32), "w_3": (64, 32), "w_2": (32, 64), "inputs": (3, 32), "rope_table": (3, 8)}
    w = {name: done.data(name, "<f4", *shape).astype(np.float64) for name, shape in shapes.items()}

    def rope(v, position):
        cos, sin = w["rope_table"][position, :4], w["rope_table"][position, 4:]
        even, odd = v.reshape(-1, 4, 2)[..., 0], v.reshape(-1, 4, 2)[..., 1]
        return np.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1).reshape(v.shape)

    keys, values = [], []
    for position in range(3):
        x = w["inputs"][position]
        n = rms(x, w["attn_norm"])
        q = rope(w["w_q"] @ n, position).reshape(4, 8)
        keys.append(rope(w["w_k"] @ n, position).reshape(2, 8))
        values.append((w["w_v"] @ n).reshape(2, 8))
        k, v = np.stack(keys), np.stack(values)
        attended = np.concatenate([softmax(k[:, h // 2] @ q[h] / np.sqrt(8)) @ v[:, h // 2] for h in range(4)])
        x = x + w["w_o"] @ attended
        n = rms(x, w["ffn_norm"])
        gate = w["w_1"] @ n
        x = x + w["w_2"] @ (gate / (1 + np.exp(-gate)) * (w["w_3"] @ n))
    assert np.allclose(done.memory("x", "<f4", 32), x, rtol=1e-4, atol=1e-5)


def test_rope_table_of_the_llama_layer():
    done = Run("llama_layer")
    table = done.data("rope_table", "<f4", 3, 2, 4)
    angles = np.arange(3)[:, None] * 10000.0 ** (-np.arange(0, 8, 2) / 8)
    assert np.allclose(table, np.stack([np.cos(angles), np.sin(angles)], axis=1), atol=1e-6)


def test_bitnet_layer(run):
    done = run("bitnet_layer")
    scale = {name: float(done.data(f"scale_{name}", "<f4", 1)[0]) for name in ("o", "gate", "up", "down")}

    def linear(name, rows, columns, x):
        q, s = quantised(x)
        return done.ternary(f"w_{name}", rows, columns) @ q * s * scale[name]

    x = done.data("residual", "<f4", 32) + linear("o", 32, 32, done.data("attended", "<f4", 32))
    n = rms(x, done.data("ffn_norm", "<f4", 32))
    f = np.maximum(linear("gate", 96, 32, n), 0) ** 2 * linear("up", 96, 32, n)
    n = rms(f, done.data("down_norm", "<f4", 96))
    assert np.allclose(done.memory("x", "<f4", 32), x + linear("down", 32, 96, n), rtol=1e-4, atol=1e-4)
    assert f"zero activations into W_down: {(quantised(n)[0] == 0).sum()} of 96" in done.output
    weights = np.concatenate([done.ternary(f"w_{m}", r, c).ravel() for m, r, c in
                              (("o", 32, 32), ("gate", 96, 32), ("up", 96, 32), ("down", 32, 96))])
    assert f"ternary weights: {weights.size} of them zero: {(weights == 0).sum()}" in done.output


def test_aim_gemv_is_numpys_float16(run):
    """Every product and every sum rounded to float16, lane by lane; then the lanes folded."""
    done = run("pim_aim_gemv")
    matrix = np.lib.stride_tricks.sliding_window_view(done.data("pattern", "<f2", 4096 + 1024), 1024)[:4096]
    x, lanes = done.data("input", "<f2", 1024), np.zeros((4096, 16), np.float16)
    for start in range(0, 1024, 16):
        lanes = lanes + matrix[:, start:start + 16] * x[start:start + 16]
    for half in (8, 4, 2, 1):
        lanes = lanes[:, :half] + lanes[:, half:]
    assert lanes.dtype == np.float16
    assert np.array_equal(done.memory("output", "<f2", 4096), lanes[:, 0])
    products = matrix.astype(np.float64) * x.astype(np.float64)
    roundings = 1 + 64 + 4                                          # that an element goes through
    assert np.all(np.abs(lanes[:, 0] - products.sum(1)) < roundings * 2.0**-11 * np.abs(products).sum(1) / 4)


def test_attention_head(run):
    done = run("attention_head")
    q = done.data("queries", "<f4", 4, 16)[2].astype(np.float64)
    k, v = (done.data(name, "<f4", 8, 2, 16)[:, 1].astype(np.float64) for name in ("keys", "values"))
    assert np.array_equal(done.memory("transposed", "<f4", 32, 8)[16:], k.T)
    assert not done.memory("transposed", "<f4", 32, 8)[:16].any(), "the other head of the cache is not set"
    scores = k @ q / 4
    best = np.argsort(-scores)[:3]
    assert np.allclose(done.memory("scores", "<f4", 8), scores, rtol=1e-6)
    assert list(done.memory("best", "<u4", 3)) == list(best)
    whole, few = softmax(scores) @ v, softmax(scores[best]) @ v[best]
    assert np.allclose(done.memory("context", "<f4", 16), whole, rtol=1e-5)
    assert np.allclose(done.memory("few", "<f4", 16), few, rtol=1e-5)
    assert "\n".join(f"{name}: {' '.join(thousandths(x[:4]))}\ncache bytes: {2 * 64 * n}" for name, x, n in (
        ("context", whole, 8), ("context of 3 tokens", few, 3))) in done.output


def test_tphs_head_fetches_once_for_four_tokens(run):
    done = run("tphs_head")
    x, weights = (done.data(name, "<f4", rows, 32).astype(np.float64) for name, rows in (("x", 4), ("weights", 16)))
    k, v = (done.data(name, "<f4", 8, 2, 16)[:, 1].astype(np.float64) for name in ("keys", "values"))
    expected = np.stack([softmax(k[:5 + token] @ (weights @ x[token]) / 4) @ v[:5 + token] for token in range(4)])
    for name in ("first", "second"):
        assert np.allclose(done.memory(name, "<f4", 4, 16), expected, rtol=1e-4, atol=1e-6)
    fetched = [2 * 64 * sum(range(5, 9)), 2 * 64 * 8]
    assert [f"cache bytes fetched: {count}" in done.output for count in fetched] == [True, True]
    assert done.output.endswith("bits that differ: 0\n")


def test_crf_gemv_is_numpys_float16(run):
    """An accumulator's lanes take 16 inputs at a time, every product and every sum rounded to float16; fp32 adds up the lanes."""
    done = run("pim_crf_gemv")
    matrix = np.lib.stride_tricks.sliding_window_view(done.data("pattern", "<f2", 64 + 256), 256)[:64]
    x, lanes = done.data("input", "<f2", 256), np.zeros((64, 16), np.float16)
    for start in range(0, 256, 16):
        lanes = lanes + matrix[:, start:start + 16] * x[start:start + 16]
    assert lanes.dtype == np.float16
    assert np.array_equal(done.memory("partial", "<f2", 64, 16), lanes)
    milli = np.rint(lanes.astype(np.float64).sum(1) * 1000)
    assert np.all(np.abs(done.memory("output", "<i4", 64) - milli) <= 1)
    assert f"y[0] = {milli[0] / 1000:.3f}" in done.output
    products = matrix.astype(np.float64) * x.astype(np.float64)
    assert np.all(np.abs(milli / 1000 - products.sum(1)) < 20 * 2.0**-11 * np.abs(products).sum(1))


def test_cim_tile_is_packed_and_multiplied_as_it_says(run):
    done = run("cim_tile")
    dense = np.array([[0, 5, 0, -3, 7, 0, 0, 0], [1, 0, 0, 2, 0, -4, 6, 0]])
    packed = sparse.named("nm:2:4").pack(dense, "i8")
    assert done.data("values", "u1", 8).tolist() == packed.values.tolist()
    assert done.data("places", "u1", 2).tolist() == packed.meta.tolist()
    vectors = np.stack([done.data(name, "i1", 8).astype(int) for name in ("first", "second")])
    products = dense @ vectors.T                                                    # (rows, vectors)
    assert f"together {products[0, 0]}\n" in done.output
    for name, column in (("first", 0), ("second", 1)):
        assert f"{name} vector: {products[0, column]} {products[1, column]} columns" in done.output
    values, (places, columns) = packed.values.view("i1").astype(int), (np.array([1, 3, 0, 1]), np.array([0, 0, 4, 4]))
    assert done.memory("by_hand", "<i4", 4).tolist() == (values[:4] * vectors[0][columns + places]).tolist()


def test_sparse_gemv_is_packed_as_the_layouts_say(run):
    done = run("sparse_gemv")
    dense = np.array([[0, 5, 0, -3, 0, 0, 0, 9, 7, 0, -2, 0, 0, 0, 0, 0], [1, 0, 0, 2, 0, -4, 6, 0, 0, 0, 0, 0, 3, 0, 0, -1]])
    for name, values, meta in (("nm:2:4", "values_2_of_4", "places_2_of_4"), ("bm", "values_masked", "mask")):
        packed = sparse.named(name).pack(dense, "i8")
        assert done.data(values, "u1", packed.values.size).tolist() == packed.values.tolist()
        assert done.data(meta, "u1", packed.meta.size).tolist() == packed.meta.tolist()
    sums = dense @ done.data("input", "i1", 16).astype(int)
    assert done.memory("sums", "<i4", 2).tolist() == sums.tolist()
    products = int(np.count_nonzero(dense))
    assert done.output.count(f"{sums[0]} {sums[1]} values ") == 2
    assert done.output.count(f"of metadata 4 products {products} left out {dense.size - products}") == 2


def test_sparse_conv_by_hand_and_by_instruction(run):
    done = run("sparse_conv")
    weights = np.array([[0, 5, 0, -3], [0, 0, 9, 0], [2, 0, 0, 1]])
    packed = sparse.RunLength(2).pack(weights.reshape(1, -1), "i8")
    assert done.data("stream", "u1", packed.values.size).tolist() == packed.values.tolist()
    sums = (done.data("image", "i1", 16).astype(int).reshape(4, 4) + 1) @ weights.T + [10, -20, 0]
    expected = np.floor(sums / 2 + 0.5).astype(int).reshape(-1)
    assert done.memory("by_hand", "i1", 12).tolist() == done.memory("by_unit", "i1", 12).tolist() == expected.tolist()
    assert done.output.count(" ".join(map(str, expected))) == 2
    assert "products 20 left out 28 bytes 15" in done.output
