"""The limit on what a source may grow to: one budget for all that macros, repetitions, includes and fills make of it.

A few lines can ask for more than any machine holds: a macro that calls itself twice, repetitions inside repetitions, a file that is
included again and again, strings that double. Lines in a file cost nothing here. What is made from them costs units, in proportion
to memory and time. So a source of any size is assembled, and one that would never end stops within seconds.
"""

from __future__ import annotations

import re

from asm.diagnostics import SourceError

UNITS = 10_000_000          # a repeated line costs one, a repeated line with an expression about ten
MOST_BYTES = 1 << 40        # of all sections together; more fits no memory
MOST_WRITTEN = 1 << 31      # bytes in the program file that are copies: of a pattern, of a file's contents that are there already
# Definitions that are worked out again because a name in them got another value: altogether, and more for each name there is.
MOST_WALKS, WALKS_OF_A_NAME = 1_000_000, 16
# Units of a statement with an expression, a fragment whose size the layout finds, a line with parameters, an expansion,
# a file that is opened, a machine preset that is read.
STATEMENT, FRAGMENT, LINE, CALL, FILE, PRESET = 8, 55, 130, 24, 500, 20_000
BYTE = 5                    # bytes of text or data that cost a unit, as a power of two


_PARTED = re.compile(r"[-+*/%&|^<>=!~(,]")      # between terms and operands: a term takes about as long as six characters


class Exhausted(SourceError):
    """The budget is spent. The run ends with this message, at the place that spent the last units."""


class Budget:
    """What is left of a run's budget."""

    def __init__(self) -> None:
        self.units = UNITS

    def spend(self, units: int) -> None:
        """Pay for work and memory. Raises Exhausted."""
        self.units -= units
        if self.units < 0:
            raise Exhausted("the source becomes too large here: macros, repetitions and repeated includes generate too much text",
                            hint=f"the limit is {UNITS // 1_000_000} million plain lines, a tenth of that with expressions, a "
                                 "hundredth with arguments; put large data into a file (.incbin)")

    def statement(self, operands: str) -> None:
        """Pay for a statement that has to be worked out. Raises Exhausted."""
        self.spend(STATEMENT + len(operands) + 6 * len(_PARTED.findall(operands)))
