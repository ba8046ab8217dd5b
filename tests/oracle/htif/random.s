# The frame of a random program (tests/support/random_rv64.py, which writes `program`, `initial` and `buffer`).
#
# The program owns ra..t4 but for s0 (the middle of `buffer`) and s1 (its loop counter). t5 and t6 are scratch; on a fetch from
# where there is no memory the handler goes on at t5. At the end every register, CSR, trap and a hash of the buffer is printed.

        .equ    MPP, 0x1800
        .equ    STATUS, MPP | 0x88      # and MPIE, MIE: mstatus has more fields on machines with more modes
        .equ    MOST_TRAPS, 1024
        .equ    TRAP_BYTES, 32

        .section .text.start, "ax"
        .globl  _start
_start: la      t0, handler
        csrw    mtvec, t0
        la      t0, traps
        la      t1, next_trap
        sd      t0, 0(t1)
        la      t6, initial
        .irp    number, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
        ld      x\number, 8 * \number(t6)
        .endr
        la      s0, buffer + 2048
        tail    program

# What trapped goes to the log; then the instruction behind it. t0 and t1 are given back.
# mtval is made 0 where it is not the same on every machine: ebreak (0 or the pc), and a jal or branch to a misaligned target (the
# target; QEMU 7.2 has the pc of an instruction before).
        .balign 4
handler:
        la      t6, spare
        sd      t0, 0(t6)
        sd      t1, 8(t6)
        csrr    t0, mcause
        addi    t1, t0, -3
        beqz    t1, 1f
        bnez    t0, 2f
        csrr    t1, mepc
        lbu     t1, 0(t1)
        addi    t1, t1, -0xE7           # jalr with an odd rd
        beqz    t1, 2f
        addi    t1, t1, 0xE7 - 0x67     # jalr with an even rd
        beqz    t1, 2f
1:      csrwi   mtval, 0
2:      ld      t1, 16(t6)
        sd      t0, 24(t1)
        csrr    t0, mepc
        sd      t0, 0(t1)
        csrr    t0, mtval
        sd      t0, 8(t1)
        csrr    t0, mstatus
        sd      t0, 16(t1)
        ld      t0, 24(t1)
        addi    t1, t1, TRAP_BYTES
        sd      t1, 16(t6)
        addi    t0, t0, -1
        beqz    t0, 3f
        csrr    t0, mepc
        addi    t0, t0, 4
        csrw    mepc, t0
        j       4f
3:      csrw    mepc, t5
4:      ld      t0, 0(t6)
        ld      t1, 8(t6)
        mret

        .globl  finish
finish: la      t6, registers
        .irp    number, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
        sd      x\number, 8 * \number - 8(t6)
        .endr
        csrr    t1, mstatus
        andi    t1, t1, STATUS & ~MPP   # mret sets MPP to the least mode there is; QEMU 7.2 to user mode though there is none
        sd      t1, 240(t6)
        csrr    t1, mscratch
        sd      t1, 248(t6)
        csrr    t1, mepc
        sd      t1, 256(t6)
        csrr    t1, mcause
        sd      t1, 264(t6)
        csrr    t1, mtval
        sd      t1, 272(t6)
        csrr    t1, misa
        sd      t1, 280(t6)

        la      s2, registers           # lines 0..35: x1..x30, mstatus, mscratch, mepc, mcause, mtval, misa
        addi    s3, s2, 36 * 8
1:      ld      a0, 0(s2)
        call    line
        addi    s2, s2, 8
        bltu    s2, s3, 1b

        la      s2, buffer              # line 36: the buffer's hash, FNV-1a by words
        li      s3, 4096
        add     s3, s3, s2
        li      s4, 0xCBF29CE484222325
        li      s5, 0x100000001B3
1:      ld      a0, 0(s2)
        xor     s4, s4, a0
        mul     s4, s4, s5
        srli    a0, s4, 29
        xor     s4, s4, a0
        addi    s2, s2, 8
        bltu    s2, s3, 1b
        mv      a0, s4
        call    line

        la      s2, traps               # from line 37 on: mepc, mtval, mstatus, mcause of each trap
        ld      s3, next_trap
        li      s6, STATUS
1:      bgeu    s2, s3, 2f
        ld      a0, 0(s2)
        call    line
        ld      a0, 8(s2)
        call    line
        ld      a0, 16(s2)
        and     a0, a0, s6
        call    line
        ld      a0, 24(s2)
        call    line
        addi    s2, s2, TRAP_BYTES
        j       1b
2:      andi    a0, s4, 0x3F
        tail    leave

# Prints a0 in hexadecimal and a new line. Changes a0..a5; short, for most of what is executed is this.
line:   la      a1, tohost
        la      a2, digits
        li      a3, 0x0101000000000000
        li      a4, 60
1:      srl     a5, a0, a4
        bnez    a5, 2f
        addi    a4, a4, -4
        bgtz    a4, 1b
2:      srl     a5, a0, a4
        andi    a5, a5, 15
        add     a5, a5, a2
        lbu     a5, 0(a5)
        or      a5, a5, a3
        sd      a5, 0(a1)
3:      ld      a5, 0(a1)
        bnez    a5, 3b
        addi    a4, a4, -4
        bgez    a4, 2b
        ori     a0, a3, '\n'
        sd      a0, 0(a1)
4:      ld      a0, 0(a1)
        bnez    a0, 4b
        ret

        .data
digits: .ascii  "0123456789abcdef"
        .bss
        .balign 8
spare:  .zero   16
next_trap:
        .zero   8
registers:
        .zero   36 * 8
traps:  .zero   MOST_TRAPS * TRAP_BYTES
