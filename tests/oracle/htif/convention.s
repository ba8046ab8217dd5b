# A program as the public RISC-V tests are (riscv-tests, environment "p"): gp holds the number of the test that runs; a trap vector
# writes gp to tohost in two halves, again and again, when the program says ecall; 1 is a pass, 2 * number + 1 a failure.
# What sets the machine up may trap: then mtvec leads past it. FAILING is the number of the test whose expectation is wrong, 0: none.

        .section .text.start, "ax"
        .globl  _start
_start: j       reset
        .balign 4
vector: csrr    t5, mcause
        li      t6, 8                   # ecall from user mode
        beq     t5, t6, report
        li      t6, 11                  # ecall from machine mode
        beq     t5, t6, report
        ori     gp, gp, 1337            # any other trap
report: sw      gp, tohost, t5
        sw      zero, tohost + 4, t5
        j       report

        .macro  attempt instructions:vararg
        la      t0, after\@
        csrw    mtvec, t0
        \instructions
        .balign 4
after\@:
        .endm

reset:  csrr    a0, mhartid
        bnez    a0, .
        attempt csrwi satp, 0
        li      t1, -1 >> 10            # one region of memory, all rights
        attempt csrw pmpaddr0, t1
        li      t1, 0x1F
        attempt csrw pmpcfg0, t1
        attempt csrwi medeleg, 0
        csrwi   mie, 0
        li      gp, 0
        la      t0, vector
        csrw    mtvec, t0
        csrwi   mstatus, 0              # on to user mode, where there is one
        la      t0, program
        csrw    mepc, t0
        mret

        .macro  check number, register, value
        li      gp, \number
        li      t2, \value
        .if     FAILING == \number
        addi    t2, t2, 1
        .endif
        bne     \register, t2, fail
        .endm

program:
        li      a0, 0x7FFFFFFF
        addiw   a1, a0, 1
        check   2, a1, -0x80000000
        li      a2, -1
        mulhu   a3, a2, a2
        check   3, a3, -2
        la      a4, number
        lw      a5, 1(a4)
        check   40, a5, 0x05040302
        .if     FAILING == 1337
        .word   0                       # a trap that nobody expects
        .endif
        fence
        li      gp, 1
        ecall
fail:   fence
        slli    gp, gp, 1
        ori     gp, gp, 1
        ecall
        unimp

        .data
number: .byte   1, 2, 3, 4, 5
