# Sections entered, left and entered again; flags; alignment carried from contents; data that points across sections.
        .section .rodata
        .balign 8
limit:  .dword  0x123456789abcdef0
message:
        .ascii  "sections\n"
message_end:
        .equ    message_size, . - message

        .text
        .globl  _start
_start: la      a0, message
        li      a1, message_size
        la      a2, counters
        lw      a3, counters
        sw      a3, 8(a2)
        ld      a4, limit
        call    helper
        tail    finish

        .data
        .balign 16
counters:
        .word   1, 2, 3, 4
pointers:
        .dword  message, counters, helper, finish, late
        .dword  message_end - message, finish - _start

        .section .text.cold, "ax"
finish: li      a7, 93
        li      a0, 0
        ecall
        .balign 16
cold_end:
        nop

        .text
helper: addi    sp, sp, -16
        sd      ra, 8(sp)
        beqz    a0, finish              # another section: inverted branch and jump
        bnez    a0, 1f
        j       finish
1:      ld      ra, 8(sp)
        addi    sp, sp, 16
        ret

        .section .rodata
        .byte   0xaa
        .balign 4
late:   .word   late - limit

        .section .tables, "aw"
        .p2align 6
table:  .rept   8
        .half   (. - table) / 2
        .endr

        .bss
        .balign 64
buffer: .zero   256
buffer_end:

        .data
        .dword  buffer, buffer_end, table
        .byte   1
