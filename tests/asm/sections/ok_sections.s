    .section .sram
buffer: .zero   16
    .section .bss
zeros:  .skip   4096 * 4096
    .section .rodata
    .word   buffer                  # = 0x10000000
    .section .data
    .word   data                    # = 0x80002010
    .pushsection .rodata
    .word   zeros                   # = 0x80003000
    .popsection
    .dword  weights                 # = 0x0000001000000000
    .word   . - 12 - data + 12      # = 0xfffffffc
data:
    .section .flash.weights, "a", @progbits
weights:
    .word   1                       # = 0x00000001
    .section .here, "aw"
    .address 0x90000000
place:
    .word   place                   # = 0x90000000
    .text
    nop                             # = 0x00000013
    .align  4
    nop                             # = 0x00000013
    .machine slim
