    .data
    .byte   -1, 255                 # = 0xff 0xff
    .half   0x1234, -2              # = 0x1234 0xfffe
    .2byte  1                       # = 0x0001
    .word   0xdeadbeef, -1          # = 0xdeadbeef 0xffffffff
    .dword  0xffffffffffffffff      # = 0xffffffffffffffff
    .float  1.0, -0.5, 1e10, inf, -inf, nan     # = 0x3f800000 0xbf000000 0x501502f9 0x7f800000 0xff800000 0x7fffffff
    .float  0.1, 16777217, 1e-45, 3.4028235e38  # = 0x3dcccccd 0x4b800000 0x00000001 0x7f7fffff
    .double 0.1, -2                 # = 0x3fb999999999999a 0xc000000000000000
    .ascii  "a\n\x41\101\\"         # = 0x61 0x0a 0x41 0x41 0x5c
    .asciz  "b" "c"                 # = 0x62 0x63 0x00
    .string "é"                     # = 0xc3 0xa9 0x00
    .zero   3                       # = 0x00 0x00 0x00
    .zero   2, 7                    # = 0x07 0x07
    .fill   2, 2, 0x102             # = 0x0102 0x0102
    .balign 8
    .byte   1                       # = 0x01
    .p2align 2, 0xff                # = 0xff 0xff 0xff
    .byte   2                       # = 0x02
    .balign 8,, 2
    .byte   3                       # = 0x03
    .org    120
    .byte   4                       # = 0x04
