"""TFLite files: networks of every operator on the machine, against what ai-edge-litert's reference kernels gave; refusals.

tests/oracle/test_tflite_kernels.py compares with the kernels themselves.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from tflite_cases import CASES, EXPECTED, RELU, Net, images, sparse_linear
from tflite_files import Model

from compiler.errors import ModelError, RoomError
from compiler.frontends import load
from compiler.networks import tflite_scales
from compiler.networks.graph import Graph
from compiler.networks.meaning import Executor
from compiler.networks.program import compile_network
from compiler.networks.reading import read_network
from compiler.networks.running import Inference, read_images
from compiler.networks.tflite import OPERATORS
from compiler.networks.tflite_file import Level, Sparsity, Tensor
from compiler.networks.tflite_sparse import dense
from emulator.machine import Machine
from isa.reference import ReferenceMachine


def network_of(name, tmp_path):
    model, given, result = CASES[name]()
    return read_network(model.save(tmp_path / f"{name}.tflite", [given], [result]))


def results(network, inputs, engine=Machine, dense=False):
    run = Inference(compile_network(network, dense=dense), inputs.reshape(len(inputs), -1), engine)
    assert run.run().reason == "exit"
    return run, np.array(run.logits, "i1")


@pytest.mark.parametrize("name", CASES)
def test_the_machine_gives_what_the_reference_kernels_gave(name, tmp_path):
    network, inputs = network_of(name, tmp_path), images(name)
    run, got = results(network, inputs)
    assert zlib.crc32(got.tobytes()) == EXPECTED[name]
    assert set(run.machine.handed_over) <= {"ecall"}
    assert np.array_equal(Executor(run.compiled.graph, inputs[0].reshape(-1)).all(), got[0])


@pytest.mark.parametrize("name", ["attention", "average_pools", "convolutions_in_groups", "parts", "sparse_weights"])
def test_the_reference_engine_and_dense_weights_give_the_same(name, tmp_path):
    network, inputs = network_of(name, tmp_path), images(name)[:1]
    (run, fast), (reference, slow) = results(network, inputs), results(network, inputs, ReferenceMachine)
    assert np.array_equal(fast, slow) and run.machine.counters == reference.machine.counters
    assert np.array_equal(results(network, inputs, dense=True)[1], fast)
    if name == "sparse_weights":
        assert run.machine.counters["sp.macs_skipped"] > 2 * run.machine.counters["sp.macs"]


def test_attention_goes_head_by_head_without_transposes(tmp_path):
    kinds = [node.kind for node in Graph(network_of("attention", tmp_path)).nodes]
    assert "attention" in kinds and not {"softmax", "matmul", "transpose"} & set(kinds)


# ------------------------------------------------------------------------------------------------ scales, sparse tensors


def test_factors_of_scales():
    """0.75 and 1.5 by hand; limits as quantization_util.cc has them."""
    assert tflite_scales.integer(0.75) == (3 << 29, 0) and tflite_scales.integer(1.5) == (3 << 29, 1)
    assert tflite_scales.integer(1 - 2.0 ** -40) == (1 << 30, 1)
    assert tflite_scales.integer(2.0 ** -40) == (0, 0) and tflite_scales.integer(0.0) == (0, 0)
    assert tflite_scales.integer(2.0 ** 40) == ((1 << 31) - 1, 30)
    assert tflite_scales.bounds("RELU6", np.float32(0.1), -10) == [-10, 50]
    assert tflite_scales.bounds("RELU_N1_TO_1", np.float32(0.4), 0) == [-3, 3]          # 2.5 away from zero
    assert tflite_scales.bounds("RELU6", np.float32(0.01), 100) == [100, 127]
    assert tflite_scales.of_mean(np.float32(1), np.float32(1), 12) == ((1 << 33) // 12, -2)
    assert tflite_scales.of_softmax(np.float32(0.5), 1.0) == (1 << 30, 26, -31)


def sparse_tensor(shape, data, order, blocks, levels):
    return Tensor(0, "w", shape, "INT8", np.ones(1, "f4"), np.zeros(1, "i8"), 0, np.array(data, "i1"),
                  Sparsity(order, blocks, levels))


def csr(segments, indices):
    return Level(0, np.array(segments), np.array(indices))


def test_sparse_tensors_by_hand():
    """Rows of indices, columns of indices, blocks of 2 x 2, a level of indices under one of indices."""
    rows = dense(sparse_tensor((3, 4), [5, 6, 7], [0, 1], [], [Level(3), csr([0, 1, 1, 3], [2, 0, 3])]))
    assert rows.tolist() == [[0, 0, 5, 0], [0, 0, 0, 0], [6, 0, 0, 7]]
    columns = dense(sparse_tensor((3, 4), [5, 6, 7], [1, 0], [], [Level(4), csr([0, 1, 1, 1, 3], [1, 0, 2])]))
    assert columns.tolist() == [[0, 0, 0, 6], [5, 0, 0, 0], [0, 0, 0, 7]]
    blocks = dense(sparse_tensor((4, 4), range(1, 9), [0, 1, 2, 3], [0, 1],
                                 [Level(2), csr([0, 1, 2], [1, 0]), Level(2), Level(2)]))
    assert blocks.tolist() == [[0, 0, 1, 2], [0, 0, 3, 4], [5, 6, 0, 0], [7, 8, 0, 0]]
    both = dense(sparse_tensor((3, 4), [5, 6], [0, 1], [], [csr([0, 1], [2]), csr([0, 2], [1, 3])]))
    assert both.tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 5, 0, 6]]


@pytest.mark.parametrize(("data", "order", "levels", "message"), [
    ([5], [0, 1], [Level(3), csr([0, 1, 1, 3], [2, 0, 3])], "1 elements are stored; expected 3"),
    ([5, 6, 7], [0, 0], [Level(3), csr([0, 1, 1, 3], [2, 0, 3])], "a sparsity with order"),
    ([5, 6, 7], [0, 1], [Level(3), csr([0, 1, 3], [2, 0, 3])], "segments of its sparsity that do not divide its indices"),
    ([5, 6, 7], [0, 1], [Level(3), csr([0, 1, 1, 4], [2, 0, 3])], "segments of its sparsity that do not divide its indices"),
    ([5, 6, 7], [0, 1], [Level(3), csr([0, 1, 1, 3], [2, 0, 4])], "an index of its sparsity that is outside its shape"),
    ([5, 6, 7], [0, 1], [Level(1 << 40), csr([0, 1, 1, 3], [2, 0, 4])], "a dimension of 1099511627776 in its sparsity")])
def test_sparse_tensors_that_are_wrong(data, order, levels, message):
    with pytest.raises(ValueError, match=message):
        dense(sparse_tensor((3, 4), data, order, [], levels))


# ------------------------------------------------------------------------------------------------ refusals


def refused(net, tmp_path, given=None, result=None):
    path = net.save(tmp_path / "a.tflite", [net.given] if given is None else given, [net.x] if result is None else result)
    with pytest.raises(ModelError) as error:
        read_network(path)
    return str(error.value)


def unknown(net):
    net.then("HARD_SWISH", shape=net.shape())


def no_dilation(net):
    net.conv(4)
    net.ops[-1][4]["DilationWFactor"] = 0


def far_dilation(net):
    net.conv(4)
    net.ops[-1][4]["DilationHFactor"] = 1 << 20


def unquantised(net):
    net.conv(4)
    net.tensors[net.x]["scale"] = None


def fp32(net):
    net.then("RELU", shape=net.shape())
    net.tensors[net.x]["type"] = "float32"


def asymmetric_weights(net):
    net.conv(4)
    net.tensors[net.ops[-1][1][1]]["zero"] = 3


def uneven_groups(net):
    net.conv(4, groups=3)


def short_bias(net):
    net.conv(4)
    bias = net.tensors[net.ops[-1][1][2]]
    bias["shape"], bias["data"] = (3,), bias["data"][:3]


def short_weights(net):
    net.conv(4)
    weights = net.tensors[net.ops[-1][1][1]]
    weights["data"] = weights["data"][:3]


def tanh(net):
    net.conv(4, activation=4)


def another_size(net):
    net.conv(4)
    net.tensors[net.x]["shape"] = (1, 6, 8, 4)


def computed_weights(net):
    net.conv(4)
    net.tensors[net.ops[-1][1][1]]["data"] = None


def repeated(net):
    small = net.mean(1, 2).x
    net.x = net.given
    net.with_tensor("ADD", small)


def other_scale(net):
    net.pool("MAX", (2, 2), (1, 1))
    net.tensors[net.x]["scale"] = 0.7


def no_order(net):
    net.conv(4).conv(4)
    net.ops.reverse()


def negative_scale(net):
    net.conv(4)
    net.tensors[net.x]["scale"] = -0.1


def no_inputs(net):
    net.linear(4)
    net.tensors[net.ops[-1][1][1]]["shape"] = (4, 0)


def two_means(net):
    net.mean(1, 3)


@pytest.mark.parametrize(("change", "message"), [
    (unknown, "operator 0 (HARD_SWISH): an operator that is not supported; expected one of CONV_2D, DEPTHWISE_CONV_2D, "),
    (no_dilation, "operator 0 (CONV_2D): dilation factors 1 and 0; expected 1 or more, and at most 16777216 weights"),
    (far_dilation, "operator 0 (CONV_2D): dilation factors 1048576 and 1; expected 1 or more, and at most 16777216 weights"),
    (unquantised, "outputs: tensor 3 (tensor_3) has no scales; expected one scale and one zero point: its quantisation"),
    (fp32, "outputs: tensor 1 (tensor_1) is FLOAT32; expected INT8: a network whose weights and values are all quantised"),
    (asymmetric_weights, "operator 0 (CONV_2D): tensor 1 (tensor_1) with a zero point of 3; expected 0 for weights"),
    (uneven_groups, "tensor 1 (tensor_1) of shape [4, 3, 3, 2], for 6 channels and 4 results; expected [results, lines, pixels, "),
    (short_bias, "operator 0 (CONV_2D): a bias of 3 numbers; expected 4, one for each output"),
    (short_weights, "operator 0 (CONV_2D): tensor 1 (tensor_1): 162 elements; expected 216; expected a tensor of the shape "),
    (tanh, "operator 0 (CONV_2D): the fused activation TANH; expected one of NONE, RELU, RELU6, RELU_N1_TO_1"),
    (another_size, "operator 0 (CONV_2D): tensor 3 (tensor_3) of shape [1, 6, 8, 4]; expected 7 lines"),
    (computed_weights, "operator 0 (CONV_2D): tensor 1 (tensor_1), INT8, computed; expected a constant INT8"),
    (repeated, "of shape [1, 1, 1, 6], for [1, 7, 8, 6]; expected the shape of the result: only constants are repeated"),
    (other_scale, "operator 0 (MAX_POOL_2D): tensor 0 (tensor_0) and tensor 1 (tensor_1) have different scales"),
    (no_order, "operator 0 (CONV_2D): tensor 3 (tensor_3) is read before it is made; expected operators in order"),
    (negative_scale, "has a scale of -0.10000000149011612 and a zero point of -11; expected scales 1e-12 to 1e+12, zero "),
    (no_inputs, "operator 0 (FULLY_CONNECTED): tensor 1 (tensor_1) of shape [4, 0], for [1, 7, 8, 6] and [1, 7, 8, 4]; expected"),
    (two_means, "operator 0 (MEAN): a mean over [1, 3] of [1, 7, 8, 6]; expected dimensions side by side")])
def test_what_is_not_supported_is_refused_by_name(change, message, tmp_path):
    net = Net(7, 8, 6)
    change(net)
    assert message in refused(net, tmp_path)


def test_files_that_are_wrong(tmp_path, monkeypatch):
    net = Net(7, 8, 6).conv(4)
    assert "inputs: 2 inputs; expected one: images" in refused(net, tmp_path, given=[0, 0])
    assert "outputs: 0 outputs; expected one: logits" in refused(net, tmp_path, result=[])
    assert "inputs: tensor 0 (tensor_0) of shape [2, 5]; expected [1, ...]" in refused(batched(), tmp_path)
    assert "outputs: tensor 0 (tensor_0) is made by no operator" in refused(net, tmp_path, result=[0])
    content = net.bytes([net.given], [net.x])
    path = tmp_path / "a.tflite"
    for wrong, message in ((b"", "no TFLite file"), (content[8:], "no TFLite file"),
                           (content[:4] + b"TFL3" + b"\xff" * 60, "a damaged TFLite file"),
                           (content[:300], "a damaged TFLite file")):
        path.write_bytes(wrong)
        with pytest.raises(ModelError, match=message):
            read_network(path)
    path.write_bytes(content)
    monkeypatch.setitem(__import__("sys").modules, "tflite", None)
    with pytest.raises(ModelError, match=r"the package tflite reads: it is missing(.|\n)*pip install 'slimulator\[tflite\]'"):
        read_network(path)


def batched():
    net = Net(5)
    net.tensors[net.given]["shape"] = (2, 5)
    return net.then("RELU", shape=(2, 5))


def test_bytes_that_change_at_random_never_end_in_a_traceback(tmp_path):
    net = sparse_linear(Net(9, 8).linear(8, activation=RELU), 4, 2)
    content, rng, path = net.bytes([net.given], [net.x]), np.random.default_rng(1), tmp_path / "a.tflite"
    refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        for place in rng.integers(8, len(content), 3):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            compile_network(read_network(path))
        except (ModelError, RoomError):
            refused += 1
    assert 0 < refused < 150


# ------------------------------------------------------------------------------------------------ commands


def test_infer_and_verify(command, tmp_path):
    model, given, result = CASES["attention"]()
    path = model.save(tmp_path / "attention.tflite", [given], [result])
    np.save(tmp_path / "images.npy", images("attention"))
    status, out, err = command("infer", path, tmp_path / "images.npy", "--json", tmp_path / "r.json", "--by", "operation")
    got = json.loads((tmp_path / "r.json").read_text())
    assert status == 0 and zlib.crc32(np.array(got["logits"], "i1").tobytes()) == EXPECTED["attention"]
    assert "op11_attention" in err or "attention" in err
    status, out, _ = command("verify", path)
    assert status == 0 and "FAIL" not in out and out.splitlines()[-1].startswith("pass         logits")


def test_images_have_the_shape_of_the_input_or_are_flat(tmp_path):
    network, inputs = network_of("attention", tmp_path), images("attention")
    for shape in ((3, 9, 12), (3, 1, 9, 12), (3, 108)):
        np.save(tmp_path / "a.npy", inputs.reshape(shape))
        assert np.array_equal(read_images(tmp_path / "a.npy", network), inputs.reshape(3, -1))
    np.save(tmp_path / "a.npy", inputs.reshape(3, 12, 9))
    with pytest.raises(ModelError, match=r"an array \(3, 12, 9\); expected int8 images of 1 x 9 x 12"):
        read_images(tmp_path / "a.npy", network)


def test_a_file_that_does_not_fit_names_its_operator(tmp_path):
    net = Net(64, 64, 16)
    net.conv(64).conv(32)
    network = read_network(net.save(tmp_path / "a.tflite", [net.given], [net.x]))
    with pytest.raises(RoomError, match=r"operator [01] \(CONV_2D\): [0-9,]+ bytes of activations; expected at most 323,584"):
        compile_network(network)


def test_the_page_lists_the_operators():
    page = (Path(__file__).parents[2] / "docs/tinyformer.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `") and line.split("`")[1].isupper()]
    listed = {name for row in rows for name in row.replace("`", "").replace(",", " ").split()}
    assert listed == set(OPERATORS)


def test_a_network_is_no_language_model(tmp_path):
    net = Net(4).linear(3)
    path = net.save(tmp_path / "a.tflite", [net.given], [net.x])
    with pytest.raises(ModelError, match=r"an int8 network; expected a language model(.|\n)*slimulator infer runs it"):
        load(path)


def test_an_empty_model(tmp_path):
    model = Model()
    x = model.tensor((1, 4), scale=0.1)
    path = model.save(tmp_path / "a.tflite", [x], [x])
    with pytest.raises(ModelError, match="is made by no operator"):
        read_network(path)
