    .macro  three value, count=2, rest:vararg
    .byte   \value                  # = 0x03
    .byte   \count                  # = 0x02
    .endm
    three   3
    .macro  text words
    .ascii  "\words"                # = 0x61 0x20 0x62
    .endm
    text    "a b"
    .macro  unique
here\@:
    .byte   here\@ - here\@         # = 0x00
    .endm
    unique
    unique
    .macro  load register, address:req
    l\()w   \register, \address     # = 0x00452503
    .endm
    .balign 4
    load    a0, 4(a0)
    load    address=4(a0), register=a0
    .macro  outer n
    .macro  inner\n
    .byte   \n                      # = 0x09
    .endm
    .endm
    outer   9
    inner9
    .macro  down n
    .if \n
    .byte   0x55                    # = 0x55
    down    "(\n - 1)"
    .endif
    .endm
    down    3
    .macro  early
    .exitm
    .word   nothing
    .endm
    early
    .macro  all items:vararg
    .byte   \items                  # = 0x01 0x02 0x03
    .endm
    all     1, 2, 3
    .purgem all
