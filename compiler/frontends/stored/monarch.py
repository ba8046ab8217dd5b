"""Block-diagonal matrices: config.json has `"monarch": {"block": B}`; instead of NAME.weight there are NAME.right and NAME.left.

Both are floats [I, J, B, B, B]: I x J squares, in each B blocks of B x B. model/monarch.py says what they are multiplied with.
"""

from __future__ import annotations

from dataclasses import replace

from compiler.frontends.stored.files import Files
from compiler.frontends.stored.floats import FLOATS, float_tensor
from compiler.model import monarch

UNSAID = 'config.json has no "monarch": {"block": B}, as block-diagonal matrices need it'


def stage_tensor(files: Files, name: str, role: str, shape: tuple[int, ...], block: int) -> monarch.StageTensor:
    """The matrix of a stage, of this shape. Raises ModelError for a tensor that is missing or has another type or shape."""
    stage = role.rpartition(".")[2]
    squares = monarch.squares_of(stage, shape, block)
    stored = files.take(name, FLOATS, squares.blocks_shape, why=f"the blocks of {role}, as monarch.block in config.json says")
    blocks = replace(float_tensor(stored), shape=(squares.between, block))
    return monarch.stage_tensor(blocks, squares, stage)
