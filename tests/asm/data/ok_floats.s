# As GNU as has them: every bit of a NaN but its sign is set.
    .data
    .float  -0.0, 0, -nan, +nan, -(nan)         # = 0x80000000 0x00000000 0xffffffff 0x7fffffff 0xffffffff
    .double nan, -nan, -0.0                     # = 0x7fffffffffffffff 0xffffffffffffffff 0x8000000000000000
    .double inf, -inf                           # = 0x7ff0000000000000 0xfff0000000000000
