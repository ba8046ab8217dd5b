"""Malformed bytes as the trap of an instruction that reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isa.sparse.layout import Malformed
from isa.traps import Cause, Trap


def sound(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of a layout returns. Trap for what is malformed; mtval: the number that is wrong."""
    try:
        return function(*arguments)
    except Malformed as error:
        wrong = error
    raise Trap(Cause.ILLEGAL_OPERAND, wrong.value, f"malformed metadata: {wrong}")
