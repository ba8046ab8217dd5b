# .irp, .irpc, :req, :vararg, .exitm, .purgem, recursion over what is left of a list, conditions on text.
        .macro  save first:req, rest:vararg
        sd      \first, slot*8(sp)
        .set    slot, slot + 1
        .ifnb   \rest
        save    \rest
        .endif
        .endm

        .macro  checked value, limit=16
        .ifge   \value - \limit
        .word   -1
        .exitm
        .endif
        .word   \value
        .endm

        .macro  kind name
        .ifc    \name, load
        lw      a0, 0(a1)
        .endif
        .ifnc   \name, load
        sw      a0, 0(a1)
        .endif
        .ifb    \name
        nop
        .endif
        .endm

        .macro  label_of prefix, number
\prefix\()_\number\()_end:
        .word   \number
        .endm

        .text
_start: .set    slot, 0
        addi    sp, sp, -48
        save    ra, s0, s1, s2, s3
        .irp    register, t0, t1, t2, a0
        li      \register, 0
        .endr
        .irp    register, s0, s1
        .irp    value, 1, 2
        addi    \register, \register, \value
        .endr
        .endr
        .irpc   digit, 0357
        xori    a\digit\(), a\digit, 0x\digit\digit
        .endr
        kind    load
        kind    store
        kind    ""
        ret

        .macro  temporary
        li      a0, 1
        .endm
        temporary
        .purgem temporary
        .macro  temporary
        li      a0, 2
        .endm
        temporary

        .data
        checked 3
        checked 16
        checked 99, 100
        label_of row, 7
        .dword  row_7_end
        .ifeq   slot - 5
        .byte   5
        .endif
        .ifne   slot
        .byte   6
        .endif
        .ifgt   slot
        .byte   7
        .endif
        .iflt   slot
        .byte   8
        .endif
        .ifle   slot - 5
        .byte   9
        .endif
        .irp    text, "one", "two words", three
        .asciz  "\text"
        .endr
        .rept   0
        .byte   0xee
        .endr
