"""The pass that leaves neurons alone: up and down work only for those whose activation is not zero.

    sparsify(graph, model) -> graph

A neuron of relu or relu2 that is not positive adds nothing to the result of its layer, so its row of `up` and its column of
`down` are not read. The activation makes the list of active neurons; `up` leaves zero for the others. If the matrices have codes,
the result is that of the dense graph bit by bit: integer sums have no order. Floats are summed neuron by neuron, not through
lanes. In other models (silu, gelu) neurons of small magnitude may be left alone, which costs accuracy: those below the threshold
that calibration (calibrate.py) has found for the wanted sparsity. The running program can still change the sparsity.

Source: SLIM, arXiv 2507.09201, section 3; Mirzadeh et al., "ReLU Strikes Back", arXiv 2310.04564.
"""

from __future__ import annotations

from dataclasses import replace

from compiler.errors import ModelError
from compiler.graph import Graph, Op, Value, check
from compiler.model.model import Model

EXACT = ("relu", "relu2")           # activations that are zero for what is not positive
BY_NEURON = "down"                  # the matrix that the program has column by column
BY_ROWS = ("up", BY_NEURON)         # the matrices of which only the rows of active neurons are read: they are not decoded


def sparsify(graph: Graph, model: Model, sparsity: float | None = None) -> Graph:
    """The graph with feed-forward layers by active neurons. Raises ModelError where that has no meaning.

    sparsity  None: active is what is above 0, in models with relu or relu2. A number: the share of neurons to leave alone, by the
              model's thresholds
    """
    c = graph.config
    if sparsity is None and c.activation not in EXACT:
        raise ModelError(model.path, "--ffn-sparsity", got=f"a model with {c.activation}, whose neurons are never zero",
                         expected="one with relu or relu2", hint="--ffn-sparsity 0.5 --calibrate TEXT skips those that are small")
    check_layers(graph, model)
    graph.values |= {"active": Value("index", (c.hidden,))}
    if sparsity is not None:
        graph.weights["layer.thresholds"] = model.tensor("layers.0.thresholds").shape
    return check(graph.in_layers(lambda ops, layer: _sparse(graph, ops, model, layer, sparsity)))


def check_layers(graph: Graph, model: Model) -> None:
    """Raise ModelError for layers in which no neuron can be left alone."""
    c = graph.config
    if c.monarch:
        raise ModelError(model.path, "--ffn-sparsity", got="block-diagonal matrices",
                         expected="dense ones, which have a row for each neuron")
    if c.side_rank:
        raise ModelError(model.path, "--ffn-sparsity", got="a low-rank repair beside each matrix", hint="--prune without +lowrank",
                         expected="matrices alone: a repair has no row for each neuron")
    if c.widths:
        raise ModelError(model.path, "--ffn-sparsity", got="layers with different numbers of neurons",
                         expected="the same in all layers")


def _sparse(graph: Graph, ops: list[Op], model: Model, layer: int, sparsity: float | None) -> list[Op]:
    """The operations of a layer, working for active neurons alone."""
    c, down = graph.config, model.tensor(f"layers.{layer}.{BY_NEURON}")
    if any(op.kind == "gemv.decoded" and op.weights[0].removeprefix("layer.") in BY_ROWS for op in ops):
        raise ModelError(model.path, "--ffn-sparsity", got="--activations f32 with integer weights",
                         expected="int8 activations: rows of active neurons are not decoded", hint="or --weights f16")
    if down.group not in (0, down.shape[1]):
        raise ModelError(model.path, "--ffn-sparsity", got=f"down in {down.stored}",
                         expected="one scale for the matrix or for a row",
                         hint=f'sums over neurons have no groups: name it in a recipe, "layers.*.down" = "{down.format}:row"')
    if down.format.planes:
        raise ModelError(model.path, "--ffn-sparsity", got=f"down in {down.stored}",
                         expected="a format of which single columns are multiplied",
                         hint='lut.xnor takes whole rows of bit planes: name it in a recipe, "layers.*.down" = "i4"')
    activation = next(at for at, op in enumerate(ops) if op.kind == c.activation)
    first_of_up = next(at for at, op in enumerate(ops) if op.weights == ("layer.up",))
    last_of_up = first_of_up + (c.gated and "up" in c.biases)
    active = Op("active", ("active",), ops[activation].outputs)
    if sparsity is not None:
        active = replace(active, kind="active.above", weights=("layer.thresholds",), attributes={"sparsity": sparsity})
    result: list[Op] = []
    for at, op in enumerate(ops):
        if at == activation:
            result += [op, active, *(map(_only_active, ops[first_of_up:last_of_up + 1]) if c.gated else ())]
        elif not (c.gated and first_of_up <= at <= last_of_up):
            result.append(_only_active(op) if op.weights == ("layer.down",) else op)
    return result


def _only_active(op: Op) -> Op:
    kinds = {"layer.up": {"gemv": "gemv.active", "gemv.i8": "gemv.i8.active"},
             "layer.down": {"gemv": "macT.active", "gemv.i8": "macT.i8.active"}}
    if not op.weights or op.weights[0] not in kinds:
        return op
    return replace(op, kind=kinds[op.weights[0]][op.kind], inputs=(*op.inputs, "active"))
