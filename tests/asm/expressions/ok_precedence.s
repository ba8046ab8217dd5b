# C's operators and their precedence.
    .data
    .equ    two, 2
    .dword  1 + two * 3             # = 0x0000000000000007
    .byte   (1 + 2) * 3             # = 0x09
    .byte   1 << 2 + 1              # = 0x08
    .byte   7 & 3 == 3              # = 0x01
    .byte   1 | 6 & 4 ^ 2           # = 0x07
    .byte   -7 / 2, -7 % 2, 7 / -2  # = 0xfd 0xff 0xfd
    .byte   ~0, !0, !5, - - 4       # = 0xff 0x01 0x00 0x04
    .byte   1 < 2, 2 <= 1, 1 != 2, 1 <> 1   # = 0x01 0x00 0x01 0x00
    .byte   1 && 0 || 2             # = 0x01
    .byte   0x1F, 0b101, 017, 'a'   # = 0x1f 0x05 0x0f 0x61
    .half   later - here, . - here, here - .    # = 0x0003 0xfffc 0x0002
    .equ    here, first
first:
    .byte   1, 2, 3                 # = 0x01 0x02 0x03
later:
    .word   later                   # = 0x80000025
