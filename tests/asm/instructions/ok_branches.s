# A branch that does not reach becomes the inverted branch over a jump, as with GNU as.
start:
    beq     a0, a1, far         # = 0x00b51463 0x0080106f
    bltz    a0, near            # = 0x00054263
near:
    .zero   4096
far:
    nop                         # = 0x00000013
    bnez    a0, near            # = 0x00050463 0xff9fe06f
    bne     a0, a1, far         # = 0xfeb51ae3
