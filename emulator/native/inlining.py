"""How a compiled function becomes a part of those that call it. Three ways, with three effects in machine code:

    @inline         compiled by itself for the types that it is called with, then always merged into the caller's code. A call
                    costs nothing.
    @specialised    its text is put in place of each call, before types are known. So constants among the arguments choose
                    branches, what they do not choose is not even compiled, and an argument may be a function or a type of its
                    own at each call.
    @njit           compiled by itself; whether a call is merged is up to LLVM. For what is long, or seldom called.
"""

from __future__ import annotations

from typing import Any

from numba import njit

inline: Any = njit(forceinline=True)
specialised: Any = njit(inline="always")
