"""What the macros hold: the words of state cim.held, and which states instructions can have left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

NOTHING, TILE, BLOCKS = 0, 1, 2                                 # word KIND
KIND, FORM, ROWS, COLS, NUMBER, NONZERO, WORDS = range(7)       # words of a macro
TEXT = ("what each macro holds, 6 words. 0: 0 nothing, 1 a tile, 2 blocks. 1: cim.nm of the tile, cim.block of the blocks. 2: rows "
        "of the matrix, blocks loaded. 3: its columns, cim.map. 4: number of the tile, 0. 5: its weights that are not 0, 0")


def sound(state: Mapping[str, Any], parameter: Callable[[str], int]) -> bool:
    """Can instructions have left this state?"""
    vectors, length = int(state["cim.built_vectors"][0]), int(state["cim.length"][0])
    if max(vectors, 1) * max(length, 1) > parameter("cim.activations"):
        return False
    macros, rows, columns = (parameter(f"cim.{name}") for name in ("macros", "rows", "columns"))
    cells, places = (state[f"cim.{name}"].reshape(macros, columns, rows) for name in ("cells", "places"))
    return all(_tile_is_sound(held, cells[macro], places[macro]) if held[KIND] == TILE else not places[macro].any() and (
                   _blocks_are_sound(held, rows, columns) if held[KIND] == BLOCKS else held[KIND] == NOTHING)
               for macro, held in enumerate(state["cim.held"].reshape(macros, WORDS).tolist()))


def _tile_is_sound(held: list[int], cells: Any, places: Any) -> bool:
    """cells, places (columns, cells of a column). Of the cells as many are not 0 as is said, all of them where the matrix has
    columns; places of a group rise, in the part of the matrix that is there."""
    (columns, rows), n, m = places.shape, held[FORM] & 0xFF, held[FORM] >> 8
    if not 1 <= n <= min(m, rows) or m > 16 or not held[ROWS] or not held[COLS]:
        return False
    per_column, groups = rows // n, -(-held[COLS] // m)
    i, j = divmod(held[NUMBER], -(-groups // per_column))
    if i * columns >= held[ROWS]:
        return False
    inside = np.s_[:held[ROWS] - i * columns, :min(per_column, groups - j * per_column) * n]
    slots = np.arange(cells[inside].shape[1])
    column = (j * per_column + slots // n) * m + (slots % n if n == m else places[inside])
    if not np.count_nonzero(cells) == np.count_nonzero(cells[inside] * (column < held[COLS])) == held[NONZERO]:
        return False
    used = places[inside].reshape(-1, n)
    return not places.any() if n == m else bool((used < m).all() and (used[:, 1:] > used[:, :-1]).all())


def _blocks_are_sound(held: list[int], rows: int, columns: int) -> bool:
    """Square macros, no more blocks than they have slots."""
    return (rows == columns and 1 <= held[FORM] <= rows and 1 <= held[COLS] <= 2
            and held[ROWS] <= (rows // held[FORM]) ** held[COLS])
