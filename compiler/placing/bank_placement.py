"""Which matrix lies in which channels, banks and rows of a machine's PIM memory, and how its bytes get there.

    placement = place(model, banks, groups)     a Banked for each matrix whose format the banks compute with
    placement.write(stream)                     the memory image of the rows that are taken
    print(placement)                            the placement map

The rules are HPIM's (arXiv 2509.12993, from a third-party reading note), but for one. Matrices of queries, keys and values are
split by heads: each head has its own channels. If there are more channels than heads, they are split by columns too, tile beside
tile. Each bank of a channel holds one row of the matrix, because all banks of a channel are given the same activations. The note
splits other matrices by rows only. Here they may have tiles of columns too, where the channels then have less to do one after the
other: 5,120 rows in 4,096 banks would leave three of eight places empty. Where the note says nothing, this is assumed:

    a slice         has as many rows as a channel has banks; or fewer, if a head is then a whole number of slices
    a column tile   is at least one row of a bank: the rest of that row would stay empty
    a row of a bank belongs to one row of one matrix; the rest of it is padding, which is counted
    matrices        are placed by falling height, each in the neighbouring channels where it lies lowest

Layers follow each other. Layers of one body of the graph (a group) are laid out alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from compiler.errors import ModelError
from compiler.model.model import Model, layer_roles, roles
from compiler.model.tensors import Tensor
from isa.numbers import FORMATS
from isa.preset import Preset
from isa.units.pim.banks import COLUMN_BYTES, Organisation

BY_HEAD = ("q", "k", "v")
SIZES = {"f16": 2, "i8": 1}             # formats that the banks compute with, and bytes of an element


@dataclass(frozen=True)
class Banked:
    """A matrix in the banks. Slice s holds `height` rows from s * height on, one in each bank of a channel.

    across    slices side by side, each in its channel; the next ones lie in the rows behind
    tiles     of columns, side by side in further channels; each takes `commands` column commands
    channel   the first channel; row: the first row, counted from the start of the layer
    """

    role: str
    format: str
    shape: tuple[int, int]
    banks: Organisation
    height: int
    across: int
    tiles: int
    commands: int
    channel: int = 0
    row: int = 0

    @property
    def slices(self) -> int:
        return -(-self.shape[0] // self.height)

    @property
    def places(self) -> int:
        """Banks that are read out, for each tile."""
        return self.slices * self.banks.banks

    @property
    def turns(self) -> int:
        """How often all channels compute: the number of slices that lie behind each other."""
        return -(-self.slices // self.across)

    @property
    def depth(self) -> int:
        """Rows of a bank that a row of the matrix takes."""
        return -(-self.commands // self.banks.columns)

    @property
    def tile(self) -> int:
        """Elements of a tile's row."""
        return self.commands * COLUMN_BYTES // SIZES[self.format]

    @property
    def rows(self) -> int:
        """Rows of the banks that it takes in its channels."""
        return self.turns * self.depth

    @property
    def channels(self) -> range:
        return range(self.channel, self.channel + self.tiles * self.across)

    @property
    def capacity(self) -> int:
        """Bytes that it takes, padding included."""
        return len(self.channels) * self.rows * self.banks.banks * self.banks.row_bytes

    @property
    def size(self) -> int:
        """Bytes of the matrix."""
        return self.shape[0] * self.shape[1] * SIZES[self.format]

    def of_tile(self, tile: int, turn: int) -> range:
        """Channels of a tile that a turn has slices for."""
        first = self.channel + tile * self.across
        return range(first, first + min(self.across, self.slices - turn * self.across))

    def commands_of(self, depth: int) -> int:
        """Column commands in a tile's row number `depth` of a bank."""
        return min(self.banks.columns, self.commands - depth * self.banks.columns)


@dataclass
class Placement:
    """All matrices in the banks, by role (of a layer: "q"). Rows from `linear_row` on are free for other data.

    groups     the layers of each body of the graph
    int8       activations of integer weights are int8; if not, these weights are not in the banks
    bodies     the matrices of a layer of each body; `body_rows`: the rows it takes. The first layer begins at `layers_row`
    """

    model: Model
    banks: Organisation
    groups: Sequence[tuple[int, ...]]
    once: dict[str, Banked] = field(default_factory=dict)
    int8: bool = True
    layers_row: int = 0
    bodies: list[dict[str, Banked]] = field(default_factory=list)
    body_rows: list[int] = field(default_factory=list)

    @property
    def linear_row(self) -> int:
        return self.layers_row + sum(rows * len(layers) for rows, layers in zip(self.body_rows, self.groups, strict=True))

    @property
    def stripe(self) -> int:
        """Bytes of one row of all banks."""
        return self.banks.size // self.banks.rows

    @property
    def size(self) -> int:
        """Bytes of the image."""
        return self.linear_row * self.stripe

    def of(self, role: str, layer: int | None) -> Banked | None:
        """The matrix of a role of an operation ("layer.q" with its layer, "head"), None where it is not in the banks."""
        if not role.startswith("layer."):
            return self.once.get(role)
        return next(body for body, layers in zip(self.bodies, self.groups, strict=True) if layer in layers).get(role[6:])

    def matrices(self) -> Iterator[tuple[str, Banked, int]]:
        """(role in the model, where it lies, the row where its layer begins) of every matrix, layer after layer."""
        yield from ((role, banked, 0) for role, banked in self.once.items())
        body_of, base = {layer: body for body, layers in enumerate(self.groups) for layer in layers}, self.layers_row
        for layer in range(self.model.config.layers):
            yield from ((f"layers.{layer}.{role}", banked, base) for role, banked in self.bodies[body_of[layer]].items())
            base += self.body_rows[body_of[layer]]

    # -------------------------------------------------------------------------------------------- the image

    def write(self, stream: IO[bytes]) -> Iterator[tuple[int, int]]:
        """Write the image: each row of all channels in turn. Yields (bytes so far, all bytes). No row is empty."""
        parts: dict[int, list[_Part]] = {}
        for name, banked, base in self.matrices():
            for number in range(banked.rows):
                parts.setdefault(base + banked.row + number, []).append(_Part(banked, name, *divmod(number, banked.depth)))
        kept = dict[tuple[str, int], Any]()
        for row in range(self.linear_row):
            stripe = np.zeros((self.stripe // COLUMN_BYTES, COLUMN_BYTES), np.uint8)
            for part in parts[row]:
                self._fill(stripe, part, kept)
            stream.write(stripe.data)
            yield (row + 1) * self.stripe, self.size

    def _fill(self, stripe: npt.NDArray[np.uint8], part: _Part, kept: dict[tuple[str, int], Any]) -> None:
        """Put a part of a matrix into `stripe`, a row of all banks: (columns in the order of their addresses, 32 bytes)."""
        banked, turn = part.banked, part.turn
        at, most = self.banks.offsets, self.banks.columns * COLUMN_BYTES // SIZES[banked.format]
        rows = kept.pop((part.name, turn), None)
        if rows is None:
            rows = _elements(self.model.tensor(part.name), banked, turn)
        if part.depth + 1 < banked.depth:
            kept[part.name, turn] = rows
        for tile in range(banked.tiles):
            first = tile * banked.tile + part.depth * most
            piece = rows[:, first:min(first + most, (tile + 1) * banked.tile)]
            wide = np.zeros((len(rows), -(-piece.shape[1] * SIZES[banked.format] // COLUMN_BYTES) * COLUMN_BYTES), np.uint8)
            wide[:, :piece.shape[1] * SIZES[banked.format]] = np.ascontiguousarray(piece).view(np.uint8)
            numbers = np.arange(len(rows))
            channels = banked.of_tile(tile, turn).start + numbers // banked.height
            places = at["channel"][channels] + at["bank"][numbers % banked.height]
            columns = at["column"][:wide.shape[1] // COLUMN_BYTES]
            stripe[(places[:, None] + columns) // COLUMN_BYTES] = wide.reshape(len(rows), -1, COLUMN_BYTES)

    # -------------------------------------------------------------------------------------------- the map

    def rows_of(self, start: int, size: int) -> str:
        """The rows that `size` bytes take, `start` bytes behind the start of the region: "row 5", "rows 5..7"."""
        first, end = start // self.stripe, -(-(start + size) // self.stripe)
        return f"row{'s' * (end - first > 1)} {_span(first, end)}"

    def __str__(self) -> str:
        """The placement map, a line for each matrix. Of layers that are laid out alike it shows the first."""
        table = [("matrix", "shape", "", "channels", "tiles", "banks", "rows", "used")]
        shown = {"", *(f"layers.{layers[0]}" for layers in self.groups)}
        for name, m, base in self.matrices():
            *layer, role = name.split(".", 2)
            if ".".join(layer) in shown:
                table.append((role if len(self.groups) == 1 else name, f"{m.shape[0]} x {m.shape[1]}", m.format,
                              _span(m.channels.start, m.channels.stop), f"{m.tiles} x {m.commands} columns",
                              f"{m.height} of {self.banks.banks}", _span(base + m.row, base + m.row + m.rows),
                              f"{100 * m.size / m.capacity:.0f} %"))
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        used, taken = self.used
        layers = f"; {self.model.config.layers} layers, rows of each: {' or '.join(map(str, self.body_rows))}"
        return "\n".join([*("  ".join(map(str.ljust, row, widths)).rstrip() for row in table),
                          f"{used:,} bytes of weights in {taken:,} ({100 * used / max(1, taken):.0f} %) of {self.banks.channels} "
                          f"channels x {self.banks.banks} banks x {self.linear_row} of {self.banks.rows:,} rows{layers}"])

    @property
    def used(self) -> tuple[int, int]:
        """(bytes of the matrices, bytes that they take with padding), of all layers."""
        every = [m for _, m, _ in self.matrices()]
        return sum(m.size for m in every), sum(m.capacity for m in every)


@dataclass(frozen=True)
class _Part:
    """The part of a matrix that lies in one row of the banks: its turn, and which row of that turn (`depth`)."""

    banked: Banked
    name: str
    turn: int
    depth: int


def _span(first: int, end: int) -> str:
    return f"{first}..{end - 1}" if end - first > 1 else f"{first}"


def _elements(tensor: Tensor, banked: Banked, turn: int) -> Any:
    """The rows of the matrix of one turn, as int8 codes or the bits of fp16: (rows, cols)."""
    first = turn * banked.across * banked.height
    last = min(first + banked.across * banked.height, banked.shape[0])
    if banked.format == "i8":
        return tensor.codes(first, last).values
    return np.ascontiguousarray(FORMATS["f16"].pack(tensor.rows(first, last))).view(np.uint16).reshape(last - first, -1)


# ------------------------------------------------------------------------------------------------ planning


def format_in_banks(tensor: Tensor, role: str, *, int8: bool = True) -> str:
    """"i8" or "f16" where the banks compute with a matrix, "" where it has another float format, or codes while not `int8`.

    Raises ModelError for codes whose scales change along a row: the banks add up whole rows.
    """
    form = tensor.format
    if not form.has_codes:
        return form.name if form.name in SIZES else ""
    if not int8:
        return ""
    if tensor.group not in (0, tensor.shape[1]):
        raise ModelError(tensor.file, f"tensor {tensor.name}", got=f"{form} with a scale for each {tensor.group} columns",
                         expected="one scale for a row or for the matrix: banks add up whole rows",
                         hint=f"--weights {form}:row" if role.startswith("layers.") else f'in a recipe: head = "{form}:row"')
    return "i8"


def organisation(machine: Preset) -> Organisation:
    """The banks of a machine. Raises ModelError for a mapping that scatters the rows of a model's image."""
    banks = machine.banks
    assert banks is not None
    top = banks.pieces[-1]
    if (top.coordinate, top.size) != ("row", banks.rows):
        raise ModelError("", f"machine {machine.name}", got=f"the mapping {banks.mapping!r}",
                         expected="one with the whole row on top: a model's weights are one run of addresses")
    return banks


def place(model: Model, banks: Organisation, groups: Sequence[tuple[int, ...]], form: str = "", *,
          int8: bool = True) -> Placement:
    """Give every matrix that the banks compute with its place. Raises ModelError for scales that they cannot take.

    groups  layers whose matrices have the same formats
    form    the format of all matrices, if it is not to be their own
    int8    activations of integer weights are int8: the banks multiply these by nothing else
    """
    placement, c = Placement(model, banks, groups, int8=int8), model.config

    def shaped(name: str, role: str, head_dim: int = 0) -> dict[str, Banked]:
        its = form or format_in_banks(model.tensor(name), name, int8=int8)
        return {role: _shaped(role, its, model.tensor(name).shape, banks, head_dim)} if its else {}

    for layers in groups:                       # before the head: the hint for a layer's matrix is right for the head too
        body: dict[str, Banked] = {}
        for role, shape in layer_roles(c.of_layer(layers[0])):
            if len(shape) == 2:
                body |= shaped(f"layers.{layers[0]}.{role}", role, c.head_dim if role in BY_HEAD else 0)
        placed, rows = _side_by_side(body, banks)
        placement.bodies.append(placed)
        placement.body_rows.append(rows)
    once = [role for role, shape in roles(c) if not role.startswith("layers.") and len(shape) == 2
            and role not in ("embedding", "positions", "head")]
    outside: dict[str, Banked] = {}
    for role in (*once, "head"):
        outside |= shaped(role, role)
    placement.once, placement.layers_row = _side_by_side(outside, banks)
    return placement


def _shaped(role: str, form: str, shape: tuple[int, ...], banks: Organisation, head_dim: int) -> Banked:
    """How a matrix is split; with `head_dim`, between heads.

    Of all numbers of tiles the one with the fewest column commands in its channels, one behind the other; of these the one that
    opens the fewest rows, then the one with the fewest tiles.
    """
    rows, cols = shape
    commands = -(-cols * SIZES[form] // COLUMN_BYTES)
    height = banks.banks
    if head_dim and head_dim % (pieces := -(-head_dim // banks.banks)) == 0:
        height = head_dim // pieces

    def split(tiles: int) -> Banked:
        across, each = min(banks.channels // tiles, -(-rows // height)), -(-commands // tiles)
        return Banked(role, form, (rows, cols), banks, height, across, -(-commands // each), each)

    most = min(banks.channels, -(-commands // banks.columns))
    return min(map(split, range(1, most + 1)), key=lambda banked: (banked.turns * banked.commands, banked.rows, banked.tiles))


def _side_by_side(matrices: Mapping[str, Banked], banks: Organisation) -> tuple[dict[str, Banked], int]:
    """The matrices, placed, in the same order; and the number of rows that they take together."""
    free, placed = np.zeros(banks.channels, np.int64), dict(matrices)          # the first free row of each channel
    for role in sorted(matrices, key=lambda role: (-matrices[role].rows, -len(matrices[role].channels))):
        width = len(matrices[role].channels)
        tops = np.lib.stride_tricks.sliding_window_view(free, width).max(axis=1)
        channel = int(tops.argmin())
        placed[role] = replace(matrices[role], channel=channel, row=int(tops[channel]))
        free[channel:channel + width] = tops[channel] + placed[role].rows
    return placed, int(free.max())
