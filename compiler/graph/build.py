"""The float graph of a configuration, told in the order in which a token passes through the model."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

from compiler.errors import ModelError
from compiler.graph.checks import GraphError, check
from compiler.graph.ops import Graph, LayerBody, Op, Value, ValueShape
from compiler.model.model import Config, Model, layer_roles, roles


class _Builder:
    """Appends operations to the current list of a graph. Results are declared as they are written."""

    def __init__(self, c: Config) -> None:
        weights = {role: shape for role, shape in roles(c) if not role.startswith("layers.")}
        if c.tied:
            weights["head"] = weights["embedding"]
        layer = _shapes(c.of_layer(0))
        self.suffix, self.heads_suffix, self.weights = "", "", {**weights, **layer}
        self.graph = Graph(c, {"token": Value("index", ()), "position": Value("index", ())}, {**weights, **layer})
        self.ops = self.graph.start

    def body(self, layers: tuple[int, ...]) -> None:
        """Go on with the operations of these layers. Where they have other widths or heads than the first one, values of these
        sizes get names with a suffix."""
        first, c = self.graph.config.of_layer(0), self.graph.config.of_layer(layers[0])
        self.suffix = f"_{c.hidden}" if c.hidden != first.hidden else ""
        self.heads_suffix = f"_{c.heads}x{c.kv_heads}" if (c.heads, c.kv_heads) != (first.heads, first.kv_heads) else ""
        made = LayerBody(layers, weights=_shapes(c) if self.suffix or self.heads_suffix else {})
        self.graph.bodies.append(made)
        self.ops, self.weights = made.ops, {**self.graph.weights, **made.weights}

    def op(self, kind: str, result: str, *inputs: str, weight: str = "", shape: ValueShape | None = None, state: bool = False,
           **attributes: float) -> str:
        """One operation with an fp32 result, shaped like its first input unless a shape is given. Returns the result's name."""
        value = Value("f32", self.graph.values[inputs[0]].shape if shape is None else shape, state)
        assert self.graph.values.setdefault(result, value) == value, f"{result} has two shapes"
        self.ops.append(Op(kind, (result,), inputs, (weight,) if weight else (), attributes))
        return result

    def bias(self, result: str, role: str) -> str:
        """Its bias added to a result, if there is one for the role."""
        return self.op("bias", result, result, weight=f"{role}.bias") if f"{role}.bias" in self.weights else result

    def norm(self, result: str, x: str, role: str) -> str:
        c = self.graph.config
        return self.bias(self.op(c.norm, result, x, weight=role, eps=c.eps), role)

    def linear(self, result: str, x: tuple[str, ...], role: str) -> str:
        """A matrix of the model times x, which is fp32, or int8 codes and their scale.

        A block-diagonal one is two matrices. Thin ones beside it are two more, whose product is added.
        """
        name = role.removeprefix("layer.") + self.suffix + self.heads_suffix
        if role in self.weights:
            self._product(result, x, role)
        else:
            self._two_products(result, x, f"{name}_between", f"{role}.right", f"{role}.left")
        if f"{role}.side_in" in self.weights:
            self._two_products(f"{name}_side", x, f"{name}_side_in", f"{role}.side_in", f"{role}.side_out")
            self.op("add", result, result, f"{name}_side")
        return self.bias(result, role)

    def _two_products(self, result: str, x: tuple[str, ...], between: str, first: str, second: str) -> None:
        self._product(between, x, first)
        self._product(result, self.activations(between), second)

    def _product(self, result: str, x: tuple[str, ...], role: str) -> None:
        self.op("gemv" if len(x) == 1 else "gemv.i8", result, *x, weight=role, shape=self.weights[role][:1])

    def activations(self, x: str) -> tuple[str, ...]:
        """What the linears of a layer read for x: itself, or codes and scale if the model's activations are int8."""
        if not self.graph.config.int8_activations:
            return (x,)
        codes, scale = f"{x}_codes", f"{x}_scale"
        self.graph.values |= {codes: Value("i8", self.graph.values[x].shape), scale: Value("f32", (1,))}
        self.ops.append(Op("quantise", (codes, scale), (x,)))
        return codes, scale


def _shapes(c: Config) -> dict[str, tuple[int, ...]]:
    return {f"layer.{role}": shape for role, shape in layer_roles(c)}


def graph_of(model: Model) -> Graph:
    """The float graph of a model: one that a user has given it (a copy of that), else that of its configuration.

    Raises ModelError for a given graph of another configuration, or that breaks a rule (checks.py).
    """
    if model.graph is None:
        return build(model.config)
    if replace(model.graph.config, side_rank=model.config.side_rank, monarch=model.config.monarch) != model.config:
        raise ModelError(model.path, "graph", got="the graph of another model", expected="one from graph_of(model), changed")
    if model.config.side_rank or model.config.monarch:
        raise ModelError(model.path, "graph", got="a changed graph, and --prune with a repair, or --project",
                         expected="one of the two: these make a graph of their own")
    try:
        graph = check(deepcopy(model.graph))
    except GraphError as error:
        raise ModelError(model.path, "graph", got=str(error), expected="operations as compiler/graph/ops.py lists them") from None
    ops = [op for _, each in graph.named() for op in each]
    read = {"logits"} | {name for op in ops for name in op.inputs} | {name for name, value in graph.values.items() if value.state}
    if unread := [name for op in ops for name in op.outputs if name not in read]:
        raise ModelError(model.path, "graph", got=f"nothing reads {unread[0]}",
                         expected="results that are used: leave out what makes it")
    return graph


def build(c: Config) -> Graph:
    """The float graph of one token. Shapes stand with the operations; `print` shows them."""
    g = _Builder(c)

    # the token's row of the embedding, and where positions are learned, the position's row
    if c.embedding_dim:
        g.op("embedding", "embedded", "token", weight="embedding", shape=(c.embedding_dim,), offset=0)
        g.linear("x", ("embedded",), "project_in")
    else:
        g.op("embedding", "x", "token", weight="embedding", shape=(c.dim,), offset=0)
    if c.learned_positions is not None:
        g.op("embedding", "place", "position", weight="positions", shape=(c.dim,), offset=c.learned_positions)
        g.op("add", "x", "x", "place")

    alike: dict[Config, list[int]] = {}
    for layer in range(c.layers if c.widths or c.layer_heads else 1):
        alike.setdefault(c.of_layer(layer), []).append(layer)
    g.graph.bodies = []
    for own, of in alike.items():
        g.body(tuple(of) if len(alike) > 1 else tuple(range(c.layers)))
        _attention(g, own)
        _feed_forward(g, own)

    g.ops = g.graph.finish
    x = g.norm("final", "x", "final_norm") if c.final_norm else "x"
    if c.embedding_dim:
        x = g.linear("projected", (x,), "project_out")
    g.linear("logits", (x,), "head")
    return check(g.graph)


def _attention(g: _Builder, c: Config) -> None:
    """x = x + o(attention of the heads of q on the keys and values of all positions so far)."""
    x = g.activations(g.norm("attention_in", "x", "layer.attention_norm") if c.norm_first else "x")
    q, k, v, keys, values, scores, probabilities, context = (name + g.heads_suffix for name in (
        "q", "k", "v", "keys", "values", "scores", "probabilities", "context"))
    g.linear(q, x, "layer.q")                               # (heads * head_dim,)
    g.linear(k, x, "layer.k")                               # (kv_heads * head_dim,)
    g.linear(v, x, "layer.v")
    if c.qk_norm:
        g.op("rmsnorm", q, q, weight="layer.q_norm", eps=c.eps)
        g.op("rmsnorm", k, k, weight="layer.k_norm", eps=c.eps)
    if c.rope:
        g.op("rope", q, q, head_dim=c.head_dim, adjacent=c.rope.adjacent)
        g.op("rope", k, k, head_dim=c.head_dim, adjacent=c.rope.adjacent)

    g.op("append", keys, k, shape=("positions", c.kv_dim), state=True)
    g.op("append", values, v, shape=("positions", c.kv_dim), state=True)
    window = c.window or 0
    g.op("scale", q, q, factor=c.head_dim ** -0.5)
    g.op("scores", scores, q, keys, shape=(c.heads, "positions"), heads=c.heads, kv_heads=c.kv_heads, window=window)
    g.op("softmax", probabilities, scores)
    g.op("context", context, probabilities, values, shape=(c.q_dim,), heads=c.heads, kv_heads=c.kv_heads, window=window)

    if c.sub_norms:
        g.op("rmsnorm", context, context, weight="layer.attention_sub_norm", eps=c.eps)
    g.linear("attention", g.activations(context), "layer.o")
    g.op("add", "x", "x", "attention")
    if not c.norm_first:
        g.norm("x", "x", "layer.attention_norm")


def _feed_forward(g: _Builder, c: Config) -> None:
    """x = x + down(activation(gate(x)) * up(x)), or down(activation(up(x))) where there is no gate."""
    x = g.activations(g.norm("ffn_in", "x", "layer.ffn_norm") if c.norm_first else "x")
    gate, up, neurons = (name + g.suffix for name in ("gate", "up", "neurons"))
    if c.gated:
        g.linear(gate, x, "layer.gate")                     # (hidden,)
        g.linear(up, x, "layer.up")
        g.op(c.activation, gate, gate)
        g.op("mul", neurons, gate, up)
    else:
        g.linear(up, x, "layer.up")
        g.op(c.activation, neurons, up)

    if c.sub_norms:
        g.op("rmsnorm", neurons, neurons, weight="layer.ffn_sub_norm", eps=c.eps)
    g.linear("ffn", g.activations(neurons), "layer.down")     # (dim,)
    g.op("add", "x", "x", "ffn")
    if not c.norm_first:
        g.norm("x", "x", "layer.ffn_norm")
