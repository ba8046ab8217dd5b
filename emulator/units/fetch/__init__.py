"""fetch: bytes between memories.

    moves.py        copies, rows by index list            unpack.py       rows of chunks, by packets of their numbers
"""

from emulator.units.fetch import moves, unpack  # noqa: F401
