"""Text from outside: on its way to a person's screen, or into the source of a program.

A name in a file, a source line, a message may hold anything. On a terminal an escape sequence moves the cursor, changes what
was printed before, or sets the clipboard; in a source a line feed ends a comment, and what follows is assembled. `printable` and
`quoted` are the ways in which such text reaches a message and a string operand.
"""

from __future__ import annotations

import os
import re

# Control characters of ASCII and of ISO 8859, what breaks lines or turns the direction of text in Unicode, and halves of
# surrogate pairs (file names that are not UTF-8), which no stream can encode.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_UNSAFE = re.compile(f'["\\\\]|{CONTROL.pattern}')           # what a string operand can hold only escaped
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str, keep: str = "") -> str:
    """`text` with each control character as an escape, \\x1b or \\u202e, except those in `keep`; everything else unchanged."""
    return CONTROL.sub(lambda match: match[0] if match[0] in keep else escape(match[0]), text)


def escape(character: str) -> str:
    """A control character as it is written in a string: \\n, \\x1b, \\u202e."""
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def shortened(text: str, most: int) -> str:
    """`text` with its middle left out where it is longer than `most` characters."""
    half = (most - 5) // 2
    return text if len(text) <= most else f"{text[:half]} ... {text[-half:]}"


def counted(count: int, noun: str, form: str = "") -> str:
    """A number of things: "1 document", "2 documents". `form` is the format of the number: "," for 1,234."""
    return f"{count:{form}} {noun}{'s' * (count != 1)}"


def quoted(name: str) -> str:
    """A name from outside, of a file or the like, as a string operand: one that reads back as the same bytes, whatever it holds."""
    return '"' + _UNSAFE.sub(lambda match: "".join(f"\\{byte:03o}" for byte in os.fsencode(match[0])), name) + '"'
