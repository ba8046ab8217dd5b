    .include "part.inc"
    .byte   from_part               # = 0x2a
    .incbin "bytes.bin"             # = 0x61 0x62 0x63 0x64
    .incbin "bytes.bin", 1          # = 0x62 0x63 0x64
    .incbin "bytes.bin", 1, 2       # = 0x62 0x63
    .meta   "meta.json"
    .meta   "more.json"             # the later one's members count
