# `la`, loads and stores reach any region: beyond 2 GiB the address is built as a constant.
    .section .flash
weights:
    .word   7                   # = 0x00000007
    .section .hbm
cache:
    .word   8                   # = 0x00000008
    .text
_start:
    la      a0, weights         # = 0x0010051b 0x02451513
    lw      a1, weights         # = 0x0010059b 0x02459593 0x0005a583
    la      a0, cache           # = 0x0010051b 0x02551513
    la      a0, _start          # = 0x00000517 0xfe450513
