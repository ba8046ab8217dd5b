"""int8 networks: programs against an interpreter of the files, on both engines; memory, refusals, images, commands."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from arena_interpreter import infer

from compiler.errors import ModelError, RoomError
from compiler.frontends import load
from compiler.networks.graph import Graph
from compiler.networks.meaning import Executor
from compiler.networks.program import compile_network
from compiler.networks.reading import read_network
from compiler.networks.running import Inference, read_images
from compiler.networks.saved import load_saved, save
from emulator.machine import Machine
from isa import sparse
from isa.preset import load_preset, preset_of
from isa.program import Program, ProgramError
from isa.reference import ReferenceMachine
from isa.sparse.layout import Packed

ROOT = Path(__file__).parents[2]
TINY = ROOT / "programs/networks"
DATA = ROOT.parent / "shared/data/tinyformer"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the data of TinyFormer is not beside the repository")

sys.path.insert(0, str(TINY))
from make import Writer, tiny  # noqa: E402


def smaller(region, size):
    """The microcontroller with less memory."""
    data = load_preset("stm32f746").file.model_dump(exclude_none=True)
    data["name"], data["region"][region]["size"]["value"] = "small", size
    return preset_of(data)


def images_of(network, count, seed=3):
    return np.random.default_rng(seed).integers(-128, 128, (count, int(np.prod(network.image)))).astype(np.int8)


def logits(network, images, engine=Machine, dense=False):
    run = Inference(compile_network(network, dense=dense), images, engine)
    assert run.run().reason == "exit"
    return run


def test_the_shipped_network_is_what_its_script_writes(tmp_path):
    tiny().save(tmp_path)
    assert (tmp_path / "network.json").read_text() == (TINY / "network.json").read_text()
    ours, theirs = np.load(tmp_path / "model.npz"), np.load(TINY / "model.npz")
    assert ours.files == theirs.files and all(np.array_equal(ours[name], theirs[name]) for name in ours.files)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_networks_of_all_operations(tmp_path, seed):
    tiny(seed).save(tmp_path)
    network = read_network(tmp_path)
    images = images_of(network, 2, seed)
    expected = [infer(tmp_path, image, 4) for image in images]
    for engine, dense in ((Machine, False), (Machine, True), (ReferenceMachine, False)):
        run = logits(network, images, engine, dense)
        assert run.logits == expected
        assert run.classes == [row.index(max(row)) for row in expected]
    assert not [name for name in logits(network, images).machine.handed_over if name != "ecall"]


def test_operations_that_stand_alone(tmp_path):
    """A product without softmax behind it, softmax alone, a transpose that no product takes, an addition shifted left."""
    w = Writer(4, (4, 4, 6))
    rows = w.linear(16, 6, 12, input_offset=5)
    turned = w.turn(16, 3, 4)
    w.add("softmax", 192, rows=48, columns=4, multiplier=1 << 30, shift=23, least_difference=-40)
    soft = w.at
    w.add("matmul", 256, **{"from": [turned, turned]}, transposed_right=True, batch=1, rows=16, inner=4, columns=16, offset=[-3, 7],
          output_offset=-9, **w.scales(4))
    w.add("matmul", 64, **{"from": [w.at, turned]}, transposed_right=False, batch=1, rows=16, inner=16, columns=4, offset=[0, 0],
          output_offset=0, **w.scales(16))
    product = w.at
    w.add("copy", 64, **{"from": soft}, bytes=64)
    w.add("add", 64, **{"from": [product, w.at]}, elements=64, offset=[2, 128], multiplier=[1 << 30, 1518500250], shift=[-1, 0],
          output_offset=3, output_multiplier=1 << 30, output_shift=-18, left_shift=20)
    w.turn(16, 4)
    w.linear(1, 64, 5)
    assert rows
    w.save(tmp_path)
    network = read_network(tmp_path)
    images = images_of(network, 2)
    kinds = [node.kind for node in Graph(network).nodes]
    assert {"matmul", "softmax", "transpose", "add"} <= set(kinds)
    for engine in (Machine, ReferenceMachine):
        assert logits(network, images, engine).logits == [infer(tmp_path, image, 5) for image in images]


def test_sparse_depthwise_weights_of_both_layouts(tmp_path):
    """A stream of layout hwc goes tap by tap; the instruction reads it channel by channel."""
    w = Writer(6, (5, 5, 12))
    w.add("depthwise_conv", 300, layout="hwc", **{"in": [5, 5, 12]}, out=[5, 5, 12], kernel=[3, 3], stride=[1, 1], padding=[1, 1],
          input_offset=3, output_offset=0, **w.weights((3, 3, 12), 4), bias=w.bias(12), **w.scales(9, 12))
    w.conv((5, 5, 12), 12, 3, depthwise=True, block=3)
    w.linear(1, 300, 7)
    w.save(tmp_path)
    network = read_network(tmp_path)
    images = images_of(network, 2)
    expected = [Executor(Graph(network), image).all().tolist() for image in images]
    streams = dict(np.load(tmp_path / "model.npz"))
    dense = sparse.RunLength(4)
    packed = Packed("i8", 1, 108, streams["weight_0"].view("u1"), np.zeros(0, "u1"), np.array([0, streams["weight_0"].size], "u4"))
    np.savez(tmp_path / "model.npz", **streams | {"weight_0": dense.unpack(packed).reshape(-1).astype("i1")})
    data = json.loads((tmp_path / "network.json").read_text())
    data["ops"][0].pop("block")
    (tmp_path / "network.json").write_text(json.dumps(data))
    assert expected == logits(read_network(tmp_path), images).logits            # as with dense weights
    for engine in (Machine, ReferenceMachine):
        run = logits(network, images, engine)
        assert run.logits == expected and run.machine.counters["sp.macs_skipped"]


def test_a_layer_with_channels_first_between_layers_with_channels_last(tmp_path):
    """Both transposes are needed, and have names of their own."""
    def both(data):
        data["ops"][0]["layout"] = "chw"
    network = read_network(changed(tmp_path, both))
    names = [node.name for node in Graph(network).nodes]
    assert names[:3] == ["op0_transpose", "op0_conv", "op0_transpose_2"] and len(set(names)) == len(names)
    images = images_of(network, 1)
    assert logits(network, images).logits == [infer(tmp_path, image, 4) for image in images]


def test_products_that_look_like_attention(tmp_path):
    """Scores of which the next product takes a part are no attention, head by head."""
    network = read_network(changed(tmp_path, setting("inner", 2, 17)))
    assert "attention" not in {node.kind for node in Graph(network).nodes}
    images = images_of(network, 1)
    assert logits(network, images).logits == [infer(tmp_path, image, 4) for image in images]


@needs_data
def test_tinyformer_within_a_microcontroller():
    network, expected = read_network(DATA), json.loads((DATA / "expected.json").read_text())["logits"]
    run = logits(network, read_images(DATA / "images.npz", network))
    assert run.logits == expected and run.classes == list(range(10))
    counters = run.machine.counters
    assert counters["vec.macs"] + counters["sp.macs"] + counters["sp.macs_skipped"] == 10 * 158_797_312
    assert counters["sp.macs"] + counters["sp.macs_skipped"] == 10 * 67_067_904
    assert counters["sp.macs"] == 10 * 24_795_712
    memory = run.compiled.as_json()
    assert memory["flash_bytes"] <= 1 << 20 and memory["ram_bytes"] <= 320 << 10
    assert set(run.machine.handed_over) == {"ecall"}
    assert infer(DATA, read_images(DATA / "images.npz", network)[3], 10) == expected[3]
    reference = logits(network, read_images(DATA / "images.npz", network)[:1], ReferenceMachine)
    assert reference.logits == expected[:1]


# ------------------------------------------------------------------------------------------------ refusals


def test_what_does_not_fit_is_refused_with_what_would():
    network = read_network(TINY)
    with pytest.raises(RoomError) as error:
        compile_network(network, smaller("sram", 2048))
    assert "ops[6]: 2,432 bytes of activations; expected at most 2,048, the sram of small" in str(error.value)
    assert "at this depthwise_conv the largest are " in str(error.value)
    assert "a machine with sram.size = 4,096 would do" in str(error.value)
    with pytest.raises(RoomError) as error:
        compile_network(network, smaller("flash", 4096))
    assert "bytes of code and constants; expected at most 4,096, the flash of small" in str(error.value)
    assert "the largest are ops[" in str(error.value) and "a machine with flash.size = 8,192 would do" in str(error.value)
    with pytest.raises(ModelError, match="machine hpim has no flash"):
        compile_network(network, "hpim")


def changed(tmp_path, change, arrays=None):
    """The shipped network with a change."""
    data = json.loads((TINY / "network.json").read_text())
    change(data)
    (tmp_path / "network.json").write_text(json.dumps(data))
    tensors = dict(np.load(TINY / "model.npz"))
    if arrays:
        arrays(tensors)
    np.savez(tmp_path / "model.npz", **tensors)
    return tmp_path


def setting(key, value, op=0):
    return lambda data: data["ops"][op].__setitem__(key, value)


@pytest.mark.parametrize(("change", "message"), [
    (setting("op", "convv"), "ops[0].op: 'convv'; expected one of conv, depthwise_conv, linear"),
    (lambda data: data["ops"][0].pop("multiplier"),
     "ops[0].multiplier: missing; expected it, for an int8 network has all its scales"),
    (lambda data: data["ops"][0].pop("kernel"), "ops[0].kernel: missing; expected a value"),
    (setting("dilation", 2), "ops[0].dilation: a key that is none; expected keys of conv: from, to"),
    (setting("weight", "weight_99"), "ops[0].weight: 'weight_99'; expected a tensor of model.npz: weight_0"),
    (setting("kernel", [5, 3]), "ops[0].out: [8, 8, 16]; expected 6 for lines, with this kernel, stride and padding"),
    (setting("kernel", [3]), "ops[0].kernel: [3]; expected 2 numbers"),
    (setting("layout", "nchw"), "ops[0].layout: 'nchw'; expected hwc or chw"),
    (setting("input_offset", 300), "ops[0].input_offset: 300; expected -128..128"),
    (setting("multiplier", -5), "ops[0].multiplier: -5..-5; expected 0..2147483647"),
    (setting("to", 1 << 20), "ops[0].to: 1024 bytes at 1048576; expected bytes of the arena, which has "),
    (setting("from", 5000, 1), "ops[1].from: 1024 bytes at 5000; expected bytes of one earlier result, or of the image"),
    (setting("block", 300, 3), "ops[3].block: 300; expected 1..255"),
    (setting("clamp", [-300, 127]), "ops[0].clamp: [-300, 127]; expected the least and the greatest result, -128..127"),
    (setting("clamp", [5, 4]), "ops[0].clamp: [5, 4]; expected the least and the greatest result, -128..127"),
    (setting("padding", [1, 1, 1]), "ops[0].padding: [1, 1, 1]; expected a number, or 2 or 4"),
    (setting("padding", [1, 1, 1, -1]), "ops[0].padding: [1, 1, 1, -1]; expected 0 or more"),
    (setting("padding", [2, 0], 1), "ops[1].out: [4, 4]; expected 6 for lines, with this kernel, stride and padding"),
    (lambda data: data["ops"][1].update(padding=2, out=[6, 6]),
     "ops[1].padding: 2; expected less than the kernel, [2, 2]: a window has a pixel of the image"),
    (lambda data: data.update(rounding="once"), "rounding: a key that is none; expected one of arena_bytes, input_at, output_at, "),
    (lambda data: data.update(input_at=1 << 20),
     "input_at: an image of 192 bytes at 1048576; expected bytes of the arena, which has "),
    (lambda data: data.update(output_at=data["input_at"]), "output_at: bytes of the image; expected results of an operation"),
    (setting("block", 5, 3), "ops[3].weight: a malformed stream: "),
    (setting("axes", [0, 1, 3, 2], 2), "ops[2].axes: [0, 1, 3, 2] of [1, 16, 16, 1]; expected [0, 2, 1, 3] of [1, ...]"),
    (lambda data: data.update(ops=[]), "ops: []; expected a list of operations"),
    (lambda data: data.pop("input_at"), "input_at: missing; expected a number, 0 or more"),
    (lambda data: data.update(output_at=1 << 20),
     "output_at: 4 bytes at 1048576; expected bytes of one earlier result, or of the image")])
def test_a_network_that_is_wrong_is_refused_with_its_place(tmp_path, change, message):
    with pytest.raises(ModelError) as error:
        Graph(read_network(changed(tmp_path, change)))
    assert message in str(error.value)


@pytest.mark.parametrize(("arrays", "message"), [
    (lambda t: t.update(weight_0=t["weight_0"][:-1]), "ops[0].weight: 431 numbers; expected 432; with `block` a stream"),
    (lambda t: t.update(weight_0=t["weight_0"].astype("f4")), "ops[0].weight: weight_0, of float32; expected integers"),
    (lambda t: t.update(bias_0=t["bias_0"].astype("i8") + (1 << 33)), "ops[0].bias: 8589932"),
    (lambda t: t.update({name: t[name].astype("i2") + 300 for name in t if name.startswith("weight") and len(t[name]) == 16}),
     ".weight: int16; expected int8"),
    (lambda t: t.update(mult_0=t["mult_0"][:3]), "ops[0].multiplier: 3 numbers; expected 1 or 16, one for each output"),
    (lambda t: t.update(weight_3=t["weight_3"][:-1]), "ops[3].weight: a malformed stream: the stream of row 0 ends inside a block"),
    (lambda t: t.update(weight_3=np.concatenate([t["weight_3"], np.array([-1, 5, 5], "i1")])), "beyond the last, 511")])
def test_tensors_that_are_wrong_are_refused(tmp_path, arrays, message):
    with pytest.raises(ModelError) as error:
        read_network(changed(tmp_path, lambda data: None, arrays))
    assert message in str(error.value)


def test_files_that_are_none(tmp_path):
    (tmp_path / "network.json").write_text("{")
    shutil.copy(TINY / "model.npz", tmp_path)
    with pytest.raises(ModelError, match=r"a directory without network.json; expected a network\nhint: slimulator generate"):
        read_network(Path(__file__).parents[2] / "programs" / "demo" / "model")
    with pytest.raises(ModelError, match=r"no JSON.*; expected a network.json, its directory, or a .tflite file"):
        read_network(tmp_path)
    (tmp_path / "network.json").write_text("[]")
    with pytest.raises(ModelError, match="a list or a value; expected an object with arena_bytes"):
        read_network(tmp_path)
    (tmp_path / "model.npz").write_bytes(b"PK\3\4")
    with pytest.raises(ModelError, match="no arrays of NumPy"):
        read_network(tmp_path)
    (tmp_path / "model.npz").unlink()
    with pytest.raises(FileNotFoundError):
        read_network(tmp_path)


# ------------------------------------------------------------------------------------------------ images


def test_images_of_all_kinds_of_files(tmp_path):
    pytest.importorskip("PIL")
    from PIL import Image
    network = read_network(TINY)
    images = images_of(network, 2)
    np.save(tmp_path / "flat.npy", images)
    np.save(tmp_path / "one.npy", images[0].reshape(8, 8, 3))
    np.savez(tmp_path / "many.npz", images=images.reshape(2, 8, 8, 3))
    Image.fromarray((images[0].reshape(8, 8, 3).astype(int) + 128).astype("u1")).save(tmp_path / "one.png")
    for name, count in (("flat.npy", 2), ("one.npy", 1), ("many.npz", 2), ("one.png", 1)):
        assert np.array_equal(read_images(tmp_path / name, network), images[:count]), name


@pytest.mark.parametrize(("name", "make", "message"), [
    ("a.npy", lambda path: np.save(path, np.zeros((2, 9, 9, 3), "i1")), "an array (2, 9, 9, 3); expected int8 images of 8 x 8 x 3"),
    ("a.npy", lambda path: np.save(path, np.zeros((2, 192), "f4")),
     "an array of float32; expected int8 images of 8 x 8 x 3: (n, 8, 8, 3)"),
    ("a.npy", lambda path: np.save(path, np.zeros((0, 192), "i1")), "an array (0, 192); expected int8 images"),
    ("a.npz", lambda path: np.savez(path, image=np.zeros(192, "i1")),
     "images: missing; expected an array of this name; the file has image"),
    ("a.npz", lambda path: path.write_bytes(b"PK"), "no arrays of NumPy")])
def test_images_that_are_wrong(tmp_path, name, make, message):
    make(tmp_path / name)
    with pytest.raises(ModelError) as error:
        read_images(tmp_path / name, read_network(TINY))
    assert message in str(error.value)


def test_a_directory_is_no_image_and_no_model(tmp_path):
    with pytest.raises(IsADirectoryError):
        read_images(tmp_path, read_network(TINY))
    with pytest.raises(ModelError, match=r"no config.json(.|\n)*hint: an int8 network: slimulator infer runs it"):
        load(TINY)


def test_without_pillow_a_picture_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ModelError, match=r"no .npz and no .npy file(.|\n)*pip install 'slimulator\[pictures\]'"):
        read_images(tmp_path / "a.png", read_network(TINY))


def test_pictures_that_are_wrong(tmp_path):
    pytest.importorskip("PIL")
    from PIL import Image
    network = read_network(TINY)
    Image.new("RGB", (9, 8)).save(tmp_path / "a.png")
    with pytest.raises(ModelError, match="a picture of 9 x 8 pixels; expected 8 x 8 pixels of 3 channels"):
        read_images(tmp_path / "a.png", network)
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(ModelError, match="no picture that Pillow can read"):
        read_images(tmp_path / "b.png", network)
    for mode in ("RGBA", "LA", "L", "1", "I;16"):
        Image.new(mode, (8, 8)).save(tmp_path / "c.png")
        with pytest.raises(ModelError, match=rf"a picture of mode {mode}; expected RGB(.|\n)*convert\(\"RGB\"\)"):
            read_images(tmp_path / "c.png", network)
    Image.new("P", (8, 8)).save(tmp_path / "d.png", transparency=0)
    with pytest.raises(ModelError, match="a picture with transparent pixels; expected RGB"):
        read_images(tmp_path / "d.png", network)
    Image.fromarray((images_of(network, 1).reshape(8, 8, 3).astype(int) + 128).astype("u1")).save(tmp_path / "e.png")
    whole = (tmp_path / "e.png").read_bytes()
    for size in (20, 40, 60):
        (tmp_path / "e.png").write_bytes(whole[:size])
        with pytest.raises(ModelError, match=r"a damaged picture|no picture"):
            read_images(tmp_path / "e.png", network)


# ------------------------------------------------------------------------------------------------ commands


def test_infer(command, tmp_path):
    status, out, err = command("infer", TINY, TINY / "images.npz", "--by", "operation", "--json", tmp_path / "r.json")
    result = json.loads((tmp_path / "r.json").read_text())
    images = np.load(TINY / "images.npz")["images"]
    assert status == 0 and result["logits"] == [infer(TINY, image, 4) for image in images]
    assert out.splitlines()[0] == f"image 0: class {result['classes'][0]}, logits {' '.join(map(str, result['logits'][0]))}"
    assert result["memory"]["ram_bytes"] == result["memory"]["value_bytes"] + result["memory"]["stack_bytes"]
    assert "time on stm32f746" in err and "op17_attention" in err
    cycles = sum(part["cycles"] for part in result["by"]["operation"].values())
    assert cycles <= result["time"]["cycles"]
    status, out, _ = command("infer", TINY, TINY / "images.npz", "--dense", "--engine", "reference", "--quiet", "--no-time")
    assert (status, out.split()) == (0, [str(number) for number in result["classes"]])


def test_a_network_as_a_program_file(command, tmp_path):
    """infer of the file says what infer of the network says; compile, run and infer refuse what is none."""
    program, network, images = tmp_path / "tiny.elf", tmp_path / "net", TINY / "images.npz"
    shutil.copytree(TINY, network)
    status, _, err = command("compile", network, "-o", program)
    assert status == 0 and f"{program}: a network for machine stm32f746" in err and "flash         7,796 of 1,048,576 bytes" in err
    shutil.rmtree(network)
    results = []
    for given in (TINY, program):
        assert command("infer", given, images, "--by", "operation", "--json", tmp_path / "r.json")[0] == 0
        results.append(json.loads((tmp_path / "r.json").read_text()))
    for result in results:
        del result["network"], result["seconds"]
    assert results[0] == results[1] and results[1]["by"]["operation"]["op17_attention"]
    assert command("run", program, "--quiet")[0] == 0              # no images
    for option in (("--dense",), ("--machine", "stm32f746")):
        status, _, err = command("infer", program, images, *option)
        assert status == 2 and "is a program: --machine and --dense are for what is compiled" in err
    status, _, err = command("compile", TINY, "-o", program, "--weights", "i8")
    assert status == 2 and "is an int8 network: of the options -o and --machine are for it" in err
    shutil.copytree(TINY, network)
    status, _, err = command("compile", network, "-o", network / "model.npz")
    assert status == 2 and "model.npz is a file that is read" in err
    assert command("compile", TINY, "-o", tmp_path / "b.elf", "--machine", "hpim")[0] == 1 and not (tmp_path / "b.elf").exists()


def test_program_files_that_are_of_no_network(command, tmp_path):
    (tmp_path / "a.s").write_text("li a7, 93\necall\n")
    assert command("asm", tmp_path / "a.s", "-o", tmp_path / "a.elf")[0] == 0
    status, _, err = command("infer", tmp_path / "a.elf", TINY / "images.npz")
    assert status == 1 and "it was not compiled from a network" in err and "slimulator compile NETWORK -o FILE.elf makes one" in err
    compiled = compile_network(read_network(TINY))
    save(compiled, tmp_path / "b.elf")
    for change in ({"schema": 99}, {"image": [8, 8]}, {"outputs": 0}, {"memory": None}):
        program = Program.load(tmp_path / "b.elf")
        program.meta["network"] |= change
        program.save(tmp_path / "c.elf")
        with pytest.raises(ProgramError, match="its metadata of a network is of another version"):
            load_saved(tmp_path / "c.elf")


def test_verify(command):
    status, out, _ = command("verify", TINY)
    assert status == 0
    assert out.count("pass") == len(Graph(read_network(TINY)).nodes) + 2 and "op17_attention" in out
    status, _, err = command("verify", TINY, "--weights", "i8")
    assert status == 2 and "is an int8 network: of the options --machine, --engine and --json are for it" in err


def test_a_wrong_instruction_is_found(command, monkeypatch):
    from compiler.networks import lowering
    monkeypatch.setattr(lowering, "packed_bounds", lambda clamp: 0x0A00)
    status, out, _ = command("verify", TINY)
    assert status == 1 and "FAIL         op0_conv" in out


def test_infer_says_what_is_wrong(command, tmp_path):
    assert command("infer", tmp_path, TINY / "images.npz")[0] == 1
    np.save(tmp_path / "a.npy", np.zeros((1, 5), "i1"))
    status, out, err = command("infer", TINY, tmp_path / "a.npy", "--json", tmp_path / "r.json")
    assert (status, out) == (1, "") and "expected int8 images of 8 x 8 x 3" in err and not (tmp_path / "r.json").exists()
    _, _, err = command("infer", TINY, tmp_path / "a.npy", "--no-time", "--what-if", "vec=2")
    assert "--no-time cannot be combined with --what-if" in err
