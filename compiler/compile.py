"""From a checkpoint to a program: the passes, then the plans and the code that fit the machine, or what would fit.

    compiled = compile_model(load("stories260K.bin"), machine="slim", recipe=read_recipe("t2"))
    compiled.save(Path("story.elf"))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from compiler.compiled import Compiled, Progress
from compiler.errors import ModelError, RoomError, one_of
from compiler.formats.layouts import AUTO, OFF, Able
from compiler.formats.recipe import Recipe, read_recipe
from compiler.lowering import cim, starc, think
from compiler.lowering.active import scratch as scratch_of_active
from compiler.lowering.chunks import scratch as scratch_of_chunks
from compiler.lowering.cuts import scratch as scratch_of_cuts
from compiler.lowering.cuts import values as values_of_cuts
from compiler.lowering.data import MOST_STOPS
from compiler.lowering.decoded import check_decoded, matrices
from compiler.lowering.decoded import scratch as scratch_of_decoded
from compiler.lowering.heads import scratch as scratch_of_heads
from compiler.lowering.lut_parts import NIBBLES
from compiler.lowering.lut_parts import scratch as scratch_of_parts
from compiler.lowering.objects import has_objects
from compiler.lowering.objects import scratch as scratch_of_objects
from compiler.lowering.reuse import scratch as scratch_of_reuse
from compiler.lowering.sampling import Room, missing
from compiler.lowering.sampling import scratch as scratch_of_sampling
from compiler.lowering.sampling_tiles import SIZES
from compiler.lowering.search import Choice, choices, scarce
from compiler.lowering.turns import SCRATCH as SCRATCH_OF_TURNS
from compiler.model.model import Model
from compiler.model.tensors import Tensor
from compiler.passes.activation_parts import PARTS, with_parts
from compiler.passes.calibrate import with_thresholds
from compiler.passes.dataflow import TPHS, by_head, check_dataflow, is_by_head
from compiler.passes.kv_cache import KV_FORMATS, with_caches
from compiler.passes.pack import can_pack, pack_chunks
from compiler.passes.predict import by_objects, with_predictor
from compiler.passes.prune_tokens import PLACES, PROMPT_ENDS, WAITING, PruneTokens, cut_prompts
from compiler.passes.quantise import quantise
from compiler.passes.reuse import can_reuse, reuse_outputs
from compiler.passes.select import Caches, with_selection
from compiler.passes.sparse_weights import Wanted
from compiler.passes.sparsify import BY_NEURON, BY_ROWS, sparsify
from compiler.placing.memory_plan import CHUNK_LOGITS, PART, MemoryPlan, plan_memory
from compiler.placing.near_caches import NAME, OPTION, keep_near
from compiler.placing.objects import POWER, ROLES
from compiler.placing.weights import WeightLayout, plan_weights
from compiler.targets import Target, target_of
from isa import sparse as sparse_layouts
from isa.hints import nearest
from isa.preset import Preset, load_preset, presets_with
from isa.regions import DRAM, SRAM
from isa.sparse import SparseLayout

EMBEDDING_FORMATS = ("f32", "f16", "bf16", "i8")
ACTIVATIONS = ("i8", *PARTS, "f32")
MOST_SEQUENCES = 64             # that run side by side
ROOM_FOR_CODE = 1 << 18         # bytes that logits of a chunk leave free: it is not known yet how long the code is
LONGEST_CONTEXT = 2048          # positions, unless more are asked for: caches and tables grow with them

A = TypeVar("A")
R = TypeVar("R")


@dataclass(frozen=True)
class Calibrated:
    """A share of neurons to leave alone, and the tokens of a text on which thresholds for it are found; `progress` is called with
    those that are done, and all. `predictor`: the format in which a predictor of the neurons is fitted; "": there is none.
    `in_page`: how many of their objects share a page of flash, one of placing.objects.IN_PAGE."""

    share: float
    tokens: Sequence[int] = ()
    progress: Progress | None = None
    predictor: str = ""
    in_page: str = POWER


def check_sequences(sequences: int | None) -> None:
    """Raises ModelError for a number of texts that no program has side by side."""
    if sequences is not None and not 2 <= sequences <= MOST_SEQUENCES:
        raise ModelError("", "--sequences", got=str(sequences), expected=f"2 to {MOST_SEQUENCES} texts side by side")


def compile_model(model: Model, *, machine: Preset | str = "slim", recipe: Recipe | None = None,
                  context: int | None = None, kv: Caches | str = "f32", chunk: int | None = None, sequences: int | None = None,
                  activations: str | None = None, sparsity: Calibrated | float | str | None = None) -> Compiled:
    """Compile a model for a machine. Raises ModelError for what does not fit.

    recipe       formats and sparse layouts of weights; None: as the checkpoint has them, and zeros are not stored where that saves
    context      the largest number of positions
    kv           format of keys and values, one of KV_FORMATS; or Caches, with what each token looks at, and in which order
    chunk        tokens of a prompt that go through a layer together, 1: one after the other; None: as the scratchpad has room
    sequences    how many run side by side; None: one
    activations  format of what integer weights are multiplied by, one of ACTIVATIONS; None: i8
    sparsity     feed-forward layers compute only active neurons. "exact": those that are not zero. A number: all but this share,
                 by thresholds of the model; or Calibrated, by thresholds that are found now
    """
    preset = load_preset(machine) if isinstance(machine, str) else machine
    kind = target_of(preset)
    if context and context > model.config.context:
        raise ModelError(model.path, "--context", got=str(context),
                         expected=f"at most the {model.config.context} that the model supports")
    if len(model.config.stop) > MOST_STOPS:
        raise ModelError(model.path, "tokens that end a text (eos_token_id)", got=str(len(model.config.stop)),
                         expected=f"at most {MOST_STOPS}: programs have no room for more")
    check_sequences(sequences)
    if sequences and chunk is not None and chunk < sequences:
        raise ModelError("", "--chunk", got=str(chunk), expected=f"at least {sequences}: a chunk has a token of each sequence")
    if activations not in (None, *ACTIVATIONS):
        raise ModelError("", "--activations", got=repr(activations), expected=one_of(ACTIVATIONS))
    caches = kv if isinstance(kv, Caches) else Caches(kv)
    kv, select = caches.format, caches.select
    if caches.dataflow:
        check_dataflow(caches.dataflow, chunk)
        if select and caches.dataflow == TPHS:
            raise ModelError("", "--kv-select", got=f"--dataflow {TPHS}", expected="one of them",
                             hint=f"--kv-select needs the attention unit, {TPHS} attends on the vector unit")
    if kv not in KV_FORMATS:
        raise ModelError("", "--kv", got=repr(kv), expected=one_of(KV_FORMATS), hint=nearest(kv, KV_FORMATS))
    if recipe and recipe.reuse:
        for option, given, why in (("--ffn-sparsity", sparsity is not None, "rows of active neurons are read one by one"),
                                   ("--activations f32", activations == "f32", "sums of centres are integers, codes are decoded"),
                                   (f"--activations {activations}", activations in PARTS, "sums of centres are those of 8 bits")):
            if given:
                raise ModelError("", "--reuse", got=option, expected="one of them", hint=why)
    if activations in PARTS:
        for option, given, why in (("--ffn-sparsity", sparsity is not None, "rows of active neurons are multiplied by 8 bits"),
                                   (f"--dataflow {TPHS}", caches.dataflow == TPHS, "products by head are those of 8 bits")):
            if given:
                raise ModelError("", f"--activations {activations}", got=option, expected="one of them", hint=why)
    if recipe and recipe.pack:
        for option, given, why in (("--ffn-sparsity", sparsity is not None, "rows of active neurons are read one by one"),
                                   ("--activations f32", activations == "f32", "codes are decoded where they lie"),
                                   ("--reuse", recipe.reuse > 0, "centres and differences are no rows of chunks"),
                                   (f"--dataflow {TPHS}", caches.dataflow == TPHS, "no packet begins with the rows of a head")):
            if given:
                raise ModelError("", "--pack", got=option, expected="one of them", hint=why)
        if cim.is_there(preset):
            raise ModelError("", f"machine {preset.name}", got="macros, and --pack", expected="a machine that fetches weights",
                             hint="matrices stand in macros, which multiply them there")
    positions = context or min(model.config.context, LONGEST_CONTEXT)
    if select:
        select.check_context(positions)
    cuts = _cuts(model, preset, positions)
    for option, given, why in ((f"--kv-select {select}", bool(select), "blocks are scored by all keys of the layer before"),
                               (f"--dataflow {TPHS}", caches.dataflow == TPHS, "the query of a token is never whole")):
        if given and cuts:
            raise ModelError("", "--prune-tokens", got=option, expected="one of them", hint=why)
    if caches.near:
        _check_near(caches, model, kind, f"machine {preset.name}", sequences)
    predictor = sparsity.predictor if isinstance(sparsity, Calibrated) else ""
    by_rows = ROLES if predictor else BY_ROWS

    def wanted(recipe: Recipe) -> Wanted:
        """The sparse layouts that a recipe asks for, as far as the machine and other options allow them. Raises ModelError."""
        def layout(role: str, tensor: Tensor) -> SparseLayout | Able | None:
            """What a recipe says for a matrix; None where nothing but AUTO was said and something forbids it."""
            name, able = recipe.layout_of(role), kind.sparse(preset, tensor.format.name)
            asked = None if name in (AUTO, OFF) else sparse_layouts.named(name)
            forbidden = next((why for why, holds in (
                (able.otherwise, asked is not None and not able.allows(asked)),
                ("codes are decoded", activations == "f32" and tensor.format.has_codes),
                ("it is stored as centres and differences (--reuse)", recipe.reuse > 0 and can_reuse(tensor)),
                ("it is stored as packed chunks (--pack)", bool(recipe.pack) and can_pack(tensor, recipe.pack)),
                ("rows of active neurons are read one by one", sparsity is not None and role.endswith(by_rows))) if holds), "")
            if forbidden and asked:
                raise ModelError(recipe.file, f"sparse layout of {role}", got=f"{name}: {forbidden}", expected="dense",
                                 hint="--sparse auto stores zeros where it must, --sparse off everywhere")
            return None if forbidden or name == OFF else asked or able

        return layout

    def made(recipe: Recipe | None, kv: str) -> Target:
        """The machine as the target of the model with these formats."""
        recipe = recipe or Recipe()
        quantised, graph = quantise(model, recipe, activations, wanted(recipe))
        if recipe.reuse:
            quantised, graph = reuse_outputs(quantised, graph, recipe.reuse, preset, recipe.progress)
        if recipe.pack:
            quantised = pack_chunks(quantised, graph, recipe.pack, preset)
        attention = kind.attention(preset, model.config, kv)
        if select and not kind.chooses(preset, attention):
            raise ModelError("", f"machine {preset.name}", got=f"--kv-select {select}", hint="--machine slim",
                             expected="units attn, thr, vec and fetch that reach caches and scratchpad, and have room for all "
                                      "heads")
        if select or cuts or caches.near:                   # they look at keys that have a row for each position
            attention = replace(attention, transposed=False)
        graph = with_caches(graph, kv, attention)
        if select:
            graph = with_selection(graph, select, model.path)
        if caches.dataflow == TPHS:
            graph = by_head(graph, f"machine {preset.name}")
        if sparsity is not None:
            found = Calibrated(sparsity) if isinstance(sparsity, float) else sparsity
            share = found.share if isinstance(found, Calibrated) else None
            sought = f"layers.0.{'predict_in' if predictor else 'thresholds'}"
            if isinstance(found, Calibrated) and sought not in quantised.tensors:
                quantised = (with_predictor(quantised, graph, found.tokens, predictor, found.progress) if predictor else
                             with_thresholds(quantised, graph, found.tokens, found.progress))
            graph = by_objects(graph, quantised, found.share) if predictor and isinstance(found, Calibrated) else sparsify(
                graph, quantised, share)
        graph = kind.with_products(preset, graph, quantised)
        if activations in PARTS:
            graph = with_parts(graph, quantised, preset, activations)
        if cuts:
            graph = cut_prompts(graph, model.prune_tokens or PruneTokens(), cuts, positions)
        target = kind(preset, quantised, graph, int8=activations != "f32")
        if isinstance(sparsity, Calibrated):
            target.in_page = sparsity.in_page
        target.pairs = recipe.pairs
        if target.pairs and not preset.has_unit("lut"):
            raise ModelError("", target.place, got="codes of codebooks in pairs", expected="a lut unit, which looks them up",
                             hint="--machine slim, or the format without :pairs")
        if caches.dataflow == TPHS and target.reached:
            raise ModelError("", target.place, got=f"--dataflow {TPHS}, and units that read keys and values where they lie",
                             expected="a machine that copies them to its scratchpad first", hint="--machine slim-llama")
        target.check_units()
        return target

    target = made(recipe, kv)
    try:
        return _lowered(target, positions, chunk, sequences, caches.near)
    except RoomError as error:
        if sequences is not None and (
                fits := _most_that_fits(lambda count: _lowered(target, positions, chunk, count, caches.near), sequences)) > 1:
            said = f"{fits} texts side by side fit: compile --sequences {fits}, or a batch of so many prompts"
            error.hint = "; ".join(filter(None, (error.hint, said)))
            raise
        if chunk is not None and (fits := _most_that_fits(
                lambda tokens: _lowered(target, positions, tokens, sequences, caches.near), chunk)):
            error.hint = "; ".join(filter(None, (error.hint, f"--chunk {fits} fits")))
            raise
        fits = _most_that_fits(lambda context: _lowered(target, context, chunk, sequences, caches.near), positions)
        found = [f"--context {fits} fits"] * bool(fits)
        # Else thresholds, centres or chunks are found again.
        others = sparsity in (None, "exact") and not (recipe and (recipe.reuse or recipe.pack))
        if others:
            ternary = recipe if error.solved else read_recipe("t2")
            found += _options_that_fit(
                lambda weights, cache: _lowered(made(weights, cache), positions, chunk, sequences, caches.near),
                recipe, kv, ternary)
        if not found and not error.solved:
            found = ["no shorter --context" + ", --kv or --weights" * others + " makes it fit"]
        error.hint = "; ".join(filter(None, (error.hint, *found)))
        raise


def _cuts(model: Model, machine: Preset, positions: int) -> Sequence[tuple[int, int]]:
    """(layer, budget) of each cut of a prompt. Raises ModelError for what cannot be combined with cuts."""
    if model.prune_tokens is None:
        return ()
    if not machine.has_unit("thr") or "thr" not in machine.region(SRAM).ports:
        raise ModelError("", "--prune-tokens", got=f"machine {machine.name}, which has no thr unit that reaches the scratchpad",
                         expected="one: it ranks blocks of tokens", hint=presets_with(("thr",)))
    return model.prune_tokens.cuts(model.config, positions)


def _check_near(caches: Caches, model: Model, kind: type[Target], place: str, sequences: int | None) -> None:
    """Raise ModelError for what keys and values near the units cannot be combined with."""
    for got, expected, hint in (
            (f"{sequences} texts side by side" if sequences else "", "one text", "each has keys and values of its own"),
            (f"--kv-select {caches.select}" if caches.select else "", "one of them", "it chooses what to read where it lies"),
            (f"--dataflow {TPHS}" if caches.dataflow == TPHS else "", "one of them", "it fetches keys and values of a head itself"),
            (f"a model whose attention looks at the last {model.config.window} positions" if model.config.window else "",
             "one that looks at all", "of a layer all positions come near"),
            (f"{place}, which keeps keys and values in {kind.caches.region}" if kind.caches.region != DRAM else "",
             f"one that keeps them in {DRAM}", "--machine slim")):
        if got:
            raise ModelError("", OPTION, got=got, expected=expected, hint=hint)


def _options_that_fit(lowered: Callable[[Recipe | None, str], Compiled], recipe: Recipe | None, kv: str,
                      ternary: Recipe | None) -> list[str]:
    """Options with which a model fits: of each the widest format that does, of both together only if neither is enough.

    `ternary`: the recipe with which --weights t2 is tried; the one that there is: it is not tried.
    """
    def fits(weights: Recipe | None, cache: str) -> bool:
        try:
            lowered(weights, cache)
        except ModelError:
            return False
        return True

    caches, others = KV_FORMATS[KV_FORMATS.index(kv) + 1:], [ternary] * (ternary != recipe)
    found = [f"--kv {cache} fits" for cache in caches if fits(recipe, cache)][:1]
    found += ["--weights t2 fits" for weights in others if fits(weights, kv)]
    return found or [f"--weights t2 --kv {cache} fits" for weights in others for cache in caches if fits(weights, cache)][:1]


def _most_that_fits(lowered: Callable[[int], Compiled], fails: int) -> int:
    """The largest number with which a model fits that does not fit with the number `fails`; 0 if there is none."""
    fits = 0
    while fails - fits > 1:                 # a smaller number needs less room, so halving finds it
        middle = (fits + fails) // 2
        try:
            lowered(middle)
            fits = middle
        except RoomError:
            fails = middle
    return fits


def _lowered(target: Target, positions: int, chunk: int | None, sequences: int | None, near: int | None = None) -> Compiled:
    """The program for a number of positions. Raises ModelError, RoomError for what has no room."""
    model, graph, machine = target.model, target.graph, target.machine
    groups, sparse = [body.layers for body in graph.bodies], "active" in graph.values
    predicted = has_objects(graph)
    layout = plan_weights(model, positions, groups, (BY_NEURON,) if sparse else (), target.elsewhere, ROLES if predicted else (),
                          fetched=not target.reached, pairs=target.pairs)
    decoded = matrices(graph, layout)
    for placed in decoded:
        check_decoded(machine, placed)
    embedding = layout.once["embedding"]
    if embedding.format.name not in EMBEDDING_FORMATS:
        raise ModelError(model.path, "embedding", got=f"weights in {embedding.format}",
                         expected="one of " + ", ".join(EMBEDDING_FORMATS),
                         hint="its rows are read one at a time: choose its format in a recipe")
    narrow = [table.row_bytes for role in ("embedding", "positions")
              if (table := layout.once.get(role)) and table.format.name != "f32"]
    rows = {"embedded_row": max(narrow)} if narrow else {}
    in_parts = matrices(graph, layout, ("gemv.i8", "gemv.i8.heads", "gemv.i8.active"))
    rows |= scratch_of_decoded(machine, decoded) | scratch_of_parts(machine, in_parts)
    for made_of, nibbles in NIBBLES.items():
        rows |= scratch_of_parts(machine, matrices(graph, layout, (made_of,)), nibbles)
    rows |= scratch_of_chunks(layout)
    rows |= scratch_of_reuse(matrices(graph, layout, ("gemv.i8.reuse",)))
    if sparse and not predicted:
        rows |= scratch_of_active(model.config.hidden, model.config.dim)
    rows |= target.scratch() | think.scratch(graph) | starc.scratch(graph, positions)
    by_heads = is_by_head(graph)

    waits = {WAITING, PLACES} if graph.cuts else set()

    def planned(room: Room, tokens: int | None, turns: bool) -> MemoryPlan:
        more = dict[str, int]()
        if predicted:
            objects, dim = target.objects(layout), model.config.dim
            halves, one = (scratch_of_objects(machine, objects, dim, halves=two) for two in (True, False))
            turns = turns and "objects_here" in halves
            more = halves | SCRATCH_OF_TURNS if turns else one
        away = (room.outside & graph.values.keys()) | waits

        def with_room_for(more: dict[str, int]) -> MemoryPlan:
            return plan_memory(graph, positions, machine, rows | more, reached=target.reached, outside=away, chunk=tokens,
                               sequences=sequences or 1, turns=turns)

        if near:
            narrower = KV_FORMATS[-1] if graph.values["keys"].format != KV_FORMATS[-1] else ""
            hint = "a shorter --context" + f", or --kv {narrower}" * bool(narrower)
            more |= {NAME: (kept := keep_near(with_room_for(more), model.config.layers, near, hint)).size}
        if by_heads:                                    # frames come first: scores are for no more tokens than a chunk has
            most = with_room_for(more | scratch_of_heads(machine, graph, positions, 1)).chunk
            more |= scratch_of_heads(machine, graph, positions, most)
        memory = with_room_for(more)
        if target.reached and ((sparse and not turns) or "chunk_table" in rows):
            memory.fill()
        if by_heads and memory.chunk == 1:
            raise RoomError("", target.place, region=SRAM, got="room for the frame of one token",
                            expected=f"of two: --dataflow {TPHS} is for tokens that go through a layer together")
        inside, outside = scratch_of_sampling(machine, model.config.vocab, room)
        memory.outside |= outside
        if graph.cuts and sequences:
            memory.outside[PROMPT_ENDS] = 4 * model.config.dim * sequences
        always = (*target.kept, *(NAME,) * bool(near))
        memory.add(inside, beside=("logits", *always, *think.kept(graph), *starc.kept(graph)))
        if near:
            memory.near = kept
        if graph.cuts:
            memory.add(scratch_of_cuts(graph, memory), beside=(*values_of_cuts(graph), *always))
        _place_chunk_logits(target, layout, memory)
        return memory

    def lowered(way: tuple[int | None, bool]) -> Compiled:
        found, refused = list[Choice](), list[RoomError]()
        for rooms in _rooms(target):
            try:
                room, memory = _first_with_room(rooms, lambda room: (room, planned(room, *way)))
                target.check(layout, memory)
                found += choices(target, layout, memory, room)
            except RoomError as error:
                if error.region != SRAM:
                    raise
                refused.append(error)
            if found and (target.reached or not scarce(memory)):
                break                                   # else those with more outside have room for more weights
        if not found:
            raise refused[-1]
        best, *others = sorted(found, key=lambda choice: choice.score)
        return Compiled(best, others)

    sizes = [chunk] if chunk is not None or by_heads else [sequences or 1] if target.by_token else [None, sequences or 1]
    turns = [True, False] if sequences and target.objects_apart and not (by_heads or graph.cuts) else [False]
    return _first_with_room([(size, turn) for turn in turns for size in sizes], lowered)


def _place_chunk_logits(target: Target, layout: WeightLayout, memory: MemoryPlan) -> None:
    """Room outside the scratchpad for the logits of the tokens of a chunk, or of half of them, a quarter ...: of two at least."""
    stands = any(op.kind == cim.KIND for op in target.graph.finish) and cim.Macros.of(memory.machine, target.graph, layout).stay
    if PART not in memory.slots or stands:                  # a matrix that stands in macros is not read
        return
    shown, outside = memory.chunk, memory.outside
    while shown > 1:
        size = 4 * target.model.config.vocab * shown
        memory.outside = outside | {CHUNK_LOGITS: size + ROOM_FOR_CODE}
        try:
            target.check(layout, memory)
            memory.outside[CHUNK_LOGITS], memory.shown = size, shown
            return
        except RoomError:
            shown //= 2
    memory.outside = outside


def _first_with_room(choices: Sequence[A], made: Callable[[A], R]) -> R:
    """What is made of the first choice for which the scratchpad has room. Raises the RoomError of the last choice, or one about
    another memory: later choices take more of that."""
    for choice in choices[:-1]:
        try:
            return made(choice)
        except RoomError as error:
            if error.region != SRAM:
                raise
    return made(choices[-1])


def _rooms(target: Target) -> list[list[Room]]:
    """Where sampling may keep its numbers, from what needs most of the scratchpad to what needs least. The first of each list that
    the scratchpad has room for is the best one."""
    units, vocab = {unit for unit in ("vec", "thr", "fetch") if target.machine.has_unit(unit)}, target.model.config.vocab
    reached = target.reached and units <= target.machine.region(target.outside.region).ports
    tiles = [0] if reached else [tile for tile in SIZES if tile < 2 * vocab or tile == SIZES[-1]]
    outside = frozenset(("sorted", "order")[:1 if missing(target.machine) else 2])
    return [[Room()], *([Room(names, tile) for tile in tiles] for names in (outside, outside | {"logits"}))]
