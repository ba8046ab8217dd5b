# Halves of addresses: absolute through %hi and %lo, relative to pc through %pcrel_hi and %pcrel_lo.
        .equ    scratchpad, 0x10000000
        .equ    odd, 0x12345fff
        .equ    half, 0x10000800
        .text
_start: lui     a0, %hi(scratchpad)
        addi    a0, a0, %lo(scratchpad)
        lui     a1, %hi(odd)
        addiw   a1, a1, %lo(odd)
        lui     a2, %hi(half)
        lw      a3, %lo(half)(a2)
        lw      a3, %lo(half + 4)(a2)
        sd      a3, %lo(half + 8)(a2)
        jalr    ra, %lo(half)(a2)
        lui     a2, %hi(half - 1)
        addi    a2, a2, %lo(half - 1)
        li      a4, scratchpad + 0x123
        li      a5, odd - half
        lui     a6, %hi(tile)
        addi    a6, a6, %lo(tile)
        lui     a7, %hi(tile_end + 0x7ff)
        lw      a7, %lo(tile_end + 0x7ff)(a7)
        la      a6, tile_end
        sd      a7, tile, a6

1:      auipc   t0, %pcrel_hi(near)
        addi    t0, t0, %pcrel_lo(1b)
2:      auipc   t1, %pcrel_hi(far)
        ld      t2, %pcrel_lo(2b)(t1)
        nop
        sd      t2, %pcrel_lo(2b)(t1)
anchor: auipc   t3, %pcrel_hi(far + 16)
        lbu     t3, %pcrel_lo(anchor)(t3)
        addi    t4, t3, %pcrel_lo(anchor)
back:   auipc   t5, %pcrel_hi(_start)
        jalr    zero, %pcrel_lo(back)(t5)
3:      auipc   t6, %pcrel_hi(near + 0x7ff)
        addi    t6, t6, %pcrel_lo(3b)
4:      auipc   t6, %pcrel_hi(near - 0x800)
        addi    t6, t6, %pcrel_lo(4b)

        la      a0, near
        la      a0, far + 0x800
        lla     a0, far - 1
        lw      a0, far
        sw      a0, far + 4, t0
        call    near
        call    t0, near
        tail    near
        jump    near, t1
        jal     near
        jal     t0, near
        j       near
        auipc   a0, 0
        auipc   a0, 0xfffff
near:   ret

        .section .sram, "aw"
        .zero   0x804
tile:   .word   1, 2, 3
tile_end:

        .data
        .zero   0x12345
        .balign 8
far:    .dword  1, 2, 3
        .dword  near - _start, far
