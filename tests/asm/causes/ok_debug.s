# What gcc -g writes: its sections are no part of the program, and nothing in them has to be known.
        .file   1 "x.c"
        .text
.Ltext0:
        .loc    1 3 1 view .LVU1
        nop                             # = 0x00000013
        .section .debug_info,"",@progbits
        .4byte  .Lend - .Ltext0
        .8byte  .Ltext0, nowhere
        .uleb128 .LVU1
        .uleb128 .Lend - .Ltext0
        .byte   0x1
named:  .sleb128 -500
        .section .debug_str,"MS",@progbits,1
        .string "x"
        .section .data.leb
        .uleb128 0, 127, 128, 300       # = 0x00 0x7f 0x0180 0x02ac
        .sleb128 -1, 63, 64, -64, -65   # = 0x7f 0x3f 0x00c0 0x40 0x7fbf
        .uleb128 2f - 1f                # = 0x80 0x01
1:      .zero   128
2:
        .text
.Lend:
