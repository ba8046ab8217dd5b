# watched: runs ; every 2; stops ; watch
# A store to tohost asks for a system call whose block lies in code: the device writes the result there, and the fast engine went
# on with what it had decoded before.
# at full speed: the fast engine differs from the reference in
#   result: RunResult(reason='exit', exit_code=144, instructions=47, trap=None) instead of RunResult(reason='limit', exit_code=0, instructions=38, trap=None)
        .section .text
_start:
        la      s4, x
        la      s5, sums
        la      s6, weights
        la      s7, _start
        la      s8, 0x2000000
        la      s9, tohost
        li      t0, 8
        csrw    vec.cols, t0
        li      t0, 8
        csrw    vec.head_dim, t0
        li      t0, 4
        csrw    thr.levels, t0
        li      t0, 16
        csrw    fetch.row_bytes, t0
        la      a0, codes
        la      a1, scales
        li      a2, 16
        lut.build.i8 a0, a1, a2
        li      a0, 1
        sync.signal.vec a0
        la      t0, handler
        csrw    mtvec, t0
L0:
        sw      t0, 0(s8)
L1:
L2:
L3:
L4:
L5:
L6:
L7:
L8:
        la      a0, sums
        la      a1, weights
        li      a2, 1
        lut.macT.b1 a0, a1, a2
L9:
L10:
        csrw    mtvec, zero
        li      a7, 93
        ecall
        .balign 4
handler:
        csrrw   t6, mscratch, t6
        csrr    t6, mepc
        addi    t6, t6, 4
        csrw    mepc, t6
        csrrw   t6, mscratch, t6
        mret
nops:
        nop
        nop
        .equ    tohost, 0x2000000
        .section .sram
        .balign 16
x:
        .rept   12
        .word   0x0
        .endr
        .section .sram
        .balign 16
y:
        .rept   12
        .word   0x0
        .endr
        .section .sram
        .balign 16
z:
        .rept   12
        .word   0x0
        .endr
        .section .sram
        .balign 16
sums:
        .rept   12
        .word   0x0
        .endr
        .section .sram
        .balign 16
codes:
        .rept   12
        .byte   0
        .endr
        .section .flash
        .balign 16
weights:
        .rept   12
        .byte   0
        .endr
        .section .sram
        .balign 16
mask:
        .rept   12
        .byte   0
        .endr
        .section .sram
        .balign 16
index:
        .rept   12
        .word   0
        .endr
        .section .sram
        .balign 16
scales:
        .rept   12
        .word   0x0
        .endr
        .section .data
        .balign 8
call:
        .dword  64, 1, codes, 3
        .section .flash.code, "ax"
        .balign 4
in_flash:
        addi    a0, a0, 1
        ret
