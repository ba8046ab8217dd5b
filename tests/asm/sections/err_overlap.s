    .text
    nop
    .section .a, "aw"
    .address 0x90000000
    .fill   64, 1, 1
    .section .b, "aw"               # only its name
    .address 0x90000020             # error: section .b at 0x90000020 overlaps section .a # note: section .a is from 0x90000000 to 0x90000040
    .fill   64, 1, 1
    .section .c, "aw"
    .address 0x40000000             # error: where there is no memory # hint: dram 0x80000000
    .byte   1
    .section .hbm                   # error: section .hbm does not fit region hbm: it ends at
    .zero   1 << 36
