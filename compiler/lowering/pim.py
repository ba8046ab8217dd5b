"""What the pim unit does: products in the banks, by macro forms.

    accumulators = 0;  for each tile: its part of x to the global buffers of its channels;  all banks multiply;  for each tile: sums
"""

from __future__ import annotations

from collections.abc import Collection

from compiler.graph import Op
from compiler.lowering.emit import LAYER_ROW, Source, number, offset
from compiler.lowering.lower import Lowering, lowers
from compiler.placing.bank_placement import SIZES, Banked, Placement
from isa.units.pim.banks import Organisation

_PART_BYTES = {"i8": 4, "f16": 2}
_MASK_BITS = 64


def scratch(placement: Placement) -> dict[str, int]:
    """Bytes of scratch that products in the banks need, by name: the zeros that accumulators start from."""
    return {"zeros": 4 * placement.banks.channels * placement.banks.banks}


def start(c: Lowering, banks: Organisation) -> None:
    """Make the zeros. They stay while the program runs."""
    c.emit.op("vec.fill.32", c.at("zeros"), "zero", number(banks.channels * banks.banks), writes=("zeros",),
              comment="what accumulators start from")


@lowers("gemv.banks.i8", "gemv.banks.f16")
def gemv_banks(c: Lowering, op: Op) -> None:
    """One turn after the other. Rows longer than a row of a bank take several steps, which add to the same accumulators."""
    e, result, x, banked = c.emit, op.outputs[0], op.inputs[0], c.banked(op.weights[0])
    tiles = range(banked.tiles)
    for turn in range(banked.turns):
        every = [channel for tile in tiles for channel in banked.of_tile(tile, turn)]
        _select(c, banked, every)
        e.op(f"pim.wr_bias.{banked.format}", c.at("zeros"), reads=("zeros",))
        for depth in range(banked.depth):
            commands, row = banked.commands_of(depth), banked.row + turn * banked.depth + depth
            if turn == 0 or banked.depth > 1:           # else the buffers have it already
                for tile in tiles:
                    _select(c, banked, banked.of_tile(tile, turn))
                    e.op("pim.wr_gb", c.at(x, tile * banked.tile * SIZES[banked.format] + depth * banked.banks.row_bytes),
                         number(commands), reads=(x,))
            _select(c, banked, every)
            e.op(f"pim.mac_abk.{banked.format}", number(commands), _row(op.weights[0], row),
                 comment=f"{banked.role}: {len(every)} channels from {min(every)} on")
        for tile in tiles:
            _select(c, banked, banked.of_tile(tile, turn))
            first = tile * banked.places + turn * banked.across * banked.banks.banks
            e.op(f"pim.rd_mac.{banked.format}", c.at(result, first * _PART_BYTES[banked.format]), writes=(result,))


def _select(c: Lowering, banked: Banked, channels: Collection[int]) -> None:
    """Select the channels that the next instructions work on."""
    mask = sum(1 << channel for channel in channels)
    for number_of in range(-(-banked.banks.channels // _MASK_BITS)):
        c.emit.csr(f"pim.channel_mask{number_of or ''}", mask >> (_MASK_BITS * number_of) & ((1 << _MASK_BITS) - 1))


def _row(role: str, row: int) -> Source:
    return offset(LAYER_ROW, row) if role.startswith("layer.") else number(row)
