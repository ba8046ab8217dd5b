# Symbols named like registers, CSRs and instructions: where a symbol can stand, the name is a symbol's.
        .data
a0:     .word   a0, t1 + 4
        .dword  zero - a0, gp, .-a0
t1:     .word   1
gp:     .half   2
fp:     .half   t1 - gp
x5:     .byte   (t1 - a0)
        .byte   .-x5
mstatus: .dword time, add, ret
time:   .dword  mstatus
        .lcomm  s2, 4
        .set    s3, 5
        .equiv  s4, s3 + 1
s5 = . - a0
        .globl  t1
        .local  gp
        .type   t1, @object
        .size   t1, 4

        .text
zero:   lla     a5, t1
        la      a5, a0
        la      zero, x5 + 1
        lui     a0, %hi(s3)
        addi    a0, a0, %lo(s3)
        lw      a0, %lo(s4 + 4)(a0)
ra:     auipc   t1, %pcrel_hi(gp)
        lw      t1, %pcrel_lo(ra)(t1)
        ld      t1, t1
        lw      t1, 4 + t1
        sw      t1, t1, t1
        lw      t1, (t1)
        add     t1, t1, t1
        addi    a0, a0, 4 + s3
        addi    a0, a0, -s3
        addi    a0, a0, (s3)
        lw      a0, 4 + s4(a1)
        slli    a0, a0, s3
        csrr    a0, s3
        csrw    s3, a0
        csrwi   s3, s4
        csrr    a0, mstatus
sp:     call    sp
        call    t0, ra
        tail    t3
        call    t3@plt
        jump    t3, t0
        jal     t1, t3
        jal     t3
        j       t3 + 4
        jalr    t3
        jr      t3
        beq     t3, t1, t3
        bnez    t3, t3
        bgt     a0, a1, a2
a2:     lla     a0, time
        lla     a0, add
add:    add     a0, a0, a0
t3:     ret
ret:    call    add
        .if     s3 == 5
        .zero   s3 - 1
        .endif
        .ifdef  t6
        .word   0xbad
        .endif
        .balign 4
        .macro  load name
        lla     a0, \name
        .endm
        load    t1
