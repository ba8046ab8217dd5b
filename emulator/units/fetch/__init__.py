"""fetch: bytes between memories.

    moves.py        copies, rows by index list            unpack.py       rows of chunks, by packets of their numbers
    packets.py      the packets of a row
"""

from emulator.units.fetch import moves, unpack  # noqa: F401
