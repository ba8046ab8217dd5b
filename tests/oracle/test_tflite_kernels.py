"""TFLite files against the reference kernels of ai-edge-litert: every operator, all results to the bit; factors where results are
near a half, softmax of many rows."""

import zlib

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert.interpreter")

from ai_edge_litert import interpreter as litert
from tflite_cases import CASES, EXPECTED, Net, images

from compiler.networks.graph import Graph
from compiler.networks.meaning import Executor
from compiler.networks.reading import read_network

pytestmark = pytest.mark.oracle
CODES = np.arange(-128, 128, dtype="i1")


def kernels(model, given, result, inputs):
    """What the reference kernels give, int8; of fp32 at both ends the codes."""
    interpreter = litert.Interpreter(model_content=model.bytes([given], [result]),
                                     experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    (reads,), (writes,) = interpreter.get_input_details(), interpreter.get_output_details()
    results = []
    for image in inputs:
        codes = image.reshape(reads["shape"])
        interpreter.set_tensor(reads["index"], codes if reads["dtype"] == np.int8 else (codes.astype("f4") - 3) * np.float32(0.05))
        interpreter.invoke()
        got = interpreter.get_tensor(writes["index"]).reshape(-1)
        results.append(got if got.dtype == np.int8 else np.rint(got / np.float32(0.09) + 4).astype("i1"))
    return np.stack(results)


def ours(model, given, result, inputs, path):
    graph = Graph(read_network(model.save(path / "a.tflite", [given], [result])))
    return np.stack([Executor(graph, image.reshape(-1)).all() for image in inputs])


@pytest.mark.parametrize("name", CASES)
def test_every_operator(name, tmp_path):
    """Also that the numbers which tests/compiler/test_tflite.py holds the machine to are those of the kernels."""
    got = kernels(*CASES[name](), images(name))
    assert zlib.crc32(got.tobytes()) == EXPECTED[name]
    assert np.array_equal(ours(*CASES[name](), images(name), tmp_path), got)


def compared(net, image, path):
    wanted, got = kernels(net, net.given, net.x, [image]), ours(net, net.given, net.x, [image], path)
    assert np.array_equal(got, wanted), f"{(got != wanted).sum()} of {got.size}"


@pytest.mark.parametrize("scales", [(0.05, 0.01, 0.05), (0.05, 0.02, 0.1), (0.09, 0.01, 0.09), (0.1, 0.25, 0.5),
                                    (0.037, 0.0071, 0.055)])
def test_results_near_a_half(scales, tmp_path):
    """Where decimal scales make sums a half, the last bit of a factor and the kind of rounding decide."""
    x, w, y = scales
    sums = np.arange(-1000, 1001, dtype="i4") * 5
    for name in ("FULLY_CONNECTED", "CONV_2D"):
        net = Net(*((1,) if name == "FULLY_CONNECTED" else (1, 1, 1)), scale=x, zero=0)
        shape = (2001, 1) if name == "FULLY_CONNECTED" else (2001, 1, 1, 1)
        options = {"StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1} if name == "CONV_2D" else {}
        weights = net.tensor(shape, np.zeros(shape, "i1"), scale=w)
        net.then(name, weights, net.tensor((2001,), sums, scale=x * w), shape=(*net.shape()[:-1], 2001), scale=y, zero=0,
                 options="Conv2DOptions" if options else "FullyConnectedOptions", **options)
        compared(net, np.zeros(1, "i1"), tmp_path)
    for name in ("MUL", "ADD", "SUB"):
        net = Net(256, 256, scale=x, zero=0)
        net.then(name, net.tensor((256,), CODES, scale=w, zero=0), shape=net.shape(), scale=y, zero=0,
                 options=f"{name.capitalize()}Options", FusedActivationFunction=0)
        compared(net, np.repeat(CODES, 256), tmp_path)
    net = Net(256, 1, scale=x, zero=0)
    net.product(net.tensor((1, 256), CODES.reshape(1, 256), scale=w, zero=0), 256, scale=y, zero=0)
    compared(net, CODES, tmp_path)
    for name in ("RELU", "RELU6", "QUANTIZE"):
        net = Net(256, scale=x, zero=0)
        compared(net.then(name, shape=net.shape(), scale=y, zero=-1), CODES, tmp_path)
    for axis in (1, 2):
        net = Net(60, 12, scale=x, zero=4).mean(axis, keep=False, scale=y, zero=-7)
        compared(net, np.random.default_rng(axis).integers(-128, 128, 720).astype("i1"), tmp_path)


def test_softmax_of_many_rows(tmp_path):
    """The kernel computes with fp32 or with integers, as it was built; so far no result is another one."""
    rng = np.random.default_rng(1)
    for scale in (0.01, 0.07, 0.3, 1.2):
        for columns in (2, 50):
            net = Net(400, columns, scale=scale).softmax()
            image = np.clip(rng.normal(0, 40, 400 * columns), -128, 127).astype("i1")
            compared(net, image, tmp_path)
