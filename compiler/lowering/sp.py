"""What the sparse unit does: products with matrices that are stored without their zeros."""

from __future__ import annotations

from contextlib import nullcontext

from compiler.graph import Op
from compiler.lowering.emit import Source, number
from compiler.lowering.lower import ONE, Lowering, lowers
from compiler.lowering.tiles import Ends, Size, Varied, rows_near
from compiler.passes.sparse_weights import SparseTensor
from compiler.placing.weights import Placed
from isa.sparse import Bitmask, NOfM, RByC


@lowers("gemv.sparse", "gemv.i8.sparse")
def product(c: Lowering, op: Op) -> None:
    """In code for chunks the unit takes the vectors of several tokens: of all, if it holds them, before a loop over tiles."""
    e, result, role, placed, inputs = c.emit, op.outputs[0], op.weights[0], c.tensor(op.weights[0]), op.inputs
    layout = placed.layout
    assert layout is not None, f"{role} is dense"
    mnemonic, most = f"sp.gemv.{layout.kind}.{placed.format}", c.vectors("sp", placed.shape[1], placed.role)
    whole = most >= c.tokens
    row_bytes = placed.uniform_row_bytes
    values, meta, ends = (0, 0, 0) if row_bytes else _bytes_of_all(c, role)
    most_bytes, most_columns = placed.run_most
    each: Size = (Varied(c.weight(role, "starts"), most_bytes, placed.values_size, values, rows=layout.together)
                  if placed.starts else row_bytes)
    beside: list[tuple[Source, Size]] = [(c.weight(role, "meta"), Varied("", 2 * most_columns, placed.meta_bytes, meta, 2)
                                          if placed.offset_bytes else placed.meta_bytes // placed.rows)]
    if placed.scale_count:
        beside.append((c.weight(role, "scales"), placed.row_scale_bytes))
    if placed.offset_bytes:
        beside.append((c.weight(role, "offsets"), Ends(layout.runs(placed.rows), ends)))
    names = ["sp.meta", *["sp.scales"] * bool(placed.scale_count), *["sp.offsets"] * bool(placed.offset_bytes)]
    e.order("sp", inputs if c.chunk else (), (result,))
    with c.each(most) if whole else nullcontext(number(1)) as tokens:
        if whole:
            _build(c, placed, inputs, tokens)
        alike = [size for _, size in beside if isinstance(size, int)]
        most_rows = 0 if whole or not row_bytes else rows_near(row_bytes, *alike)
        with (c.tiles("sp", c.weight(role), placed.rows, each, (c.results(result), 4), beside=beside, result=result,
                      most=most_rows) as tile, nullcontext(tokens) if whole else c.each(most) as tokens):
            if not whole:
                c.built = ""
                _build(c, placed, inputs, tokens)
            match layout:
                case NOfM(n, m):
                    e.csr("sp.nm", n | m << 8)
                case Bitmask(block):
                    e.csr("sp.block", block)
                case RByC(block_rows, block):
                    e.csr("sp.block_rows", block_rows)
                    e.csr("sp.block", block)
            for name, address in zip(names, tile.beside, strict=True):
                e.csr(name, e.register(address) if not isinstance(address, str) else address)
            if placed.scale_count:
                e.csr("sp.scale_group", placed.scale_group)
            e.op(mnemonic, c.result(tile.to[0]), tile.at, tile.rows, writes=(result,))
            rows = tile.rows if isinstance(tile.rows, str) else int(tile.rows.value)
            if known := row_bytes + sum(alike):
                e.profile.stored(rows, known, mnemonic)
            e.profile.together(values + meta + ends)
            if once := 4 * bool(placed.offset_bytes) + 4 * bool(placed.scale_count and not placed.row_scale_bytes):
                e.profile.stored(1, once, mnemonic)


def _bytes_of_all(c: Lowering, role: str) -> tuple[int, int, int]:
    """Bytes of what differs from row to row in the matrices of all layers with this code: values, metadata and offsets, of these
    all but the first."""
    tensors = [c.layout.model.tensor(f"layers.{layer}.{role.removeprefix('layer.')}") for layer in c.graph.bodies[c.body].layers]
    sparse = [tensor for tensor in tensors if isinstance(tensor, SparseTensor)]
    listed = [tensor for tensor in sparse if tensor.layout.has_offsets]
    return (sum(tensor.value_bytes for tensor in sparse), sum(tensor.meta_bytes for tensor in listed),
            sum(4 * tensor.layout.runs(tensor.matrix[0]) for tensor in listed))


def _build(c: Lowering, placed: Placed, inputs: tuple[str, ...], tokens: Source) -> None:
    """Load the vectors of so many tokens into the unit, unless they are loaded: codes and scales, or f32."""
    if (built := f"sp {inputs[0]}") == c.built:
        return
    e, cols = c.emit, number(placed.shape[1])
    if tokens != ONE:
        assert isinstance(tokens, str)              # the number of tokens is in a register wherever it may not be 1
        e.csr("sp.vectors", tokens)
    if len(inputs) == 2:
        e.csr("sp.scale_group", 0)
        e.op("sp.build.i8", *map(c.at, inputs), cols, reads=inputs)
    else:
        e.op("sp.build.f32", c.at(inputs[0]), cols, reads=inputs)
    if tokens != ONE:
        e.csr("sp.vectors", 0)
    c.built = built
