# Macros with positional, named and default arguments, \@, nesting, recursion, and repetition that depends on symbols.
        .equ    WORD_BYTES, 4
        .set    level, 0

        .macro  push register
        addi    sp, sp, -8
        sd      \register, 0(sp)
        .endm

        .macro  pop register
        ld      \register, 0(sp)
        addi    sp, sp, 8
        .endm

        .macro  load_scaled target, base, index, scratch=t6, shift=2
        slli    \scratch, \index, \shift
        add     \scratch, \scratch, \base
        .if     \shift == 3
        ld      \target, 0(\scratch)
        .elseif \shift == 2
        lw      \target, 0(\scratch)
        .else
        lbu     \target, (\scratch)
        .endif
        .endm

        .macro  countdown register, from
        li      \register, \from
loop_\@:
        addi    \register, \register, -1
        bnez    \register, loop_\@
        .endm

        .macro  table first, last
        .word   \first
        .if     \last - \first
        table   (\first + 1), \last
        .endif
        .endm

        .macro  field name, bytes
        .equ    \name, offset
        .set    offset, offset + \bytes
        .endm

        .macro  twice first, second
        countdown \first, 3
        countdown \second, 0x12345
        .endm

        .set    offset, 0
        field   header_magic, WORD_BYTES
        field   header_size, 8
        field   header_rows, 2 * WORD_BYTES
        field   header_end, 0

        .text
_start: push    ra
        push    s0
        load_scaled a0, a1, a2
        load_scaled a0, a1, a2, t0
        load_scaled a0, a1, a2, t0, 3
        load_scaled a0, a1, a2, shift=0
        load_scaled index=s2, base=s3, target=s4, scratch=t1
        twice   t0, t1
        twice   t2, t3
        .rept   5
        addi    a0, a0, level
        .set    level, level + 1
        .if     level > 3
        xori    a0, a0, -1
        .endif
        .endr
        .rept   2
        .rept   3
        sll     a1, a1, a2
        .endr
        srl     a1, a1, a2
        .endr
        pop     s0
        pop     ra
        lw      a0, header_size(a1)
        lw      a0, header_rows(a1)
        addi    a1, a1, header_end
        ret

        .data
        table   1, 9
        table   3, 3
        .dword  header_magic, header_size, header_rows, header_end, level
        .rept   3
        .byte   1
        .balign 4
        .endr
