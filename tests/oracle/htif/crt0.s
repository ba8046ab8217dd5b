# Entry of a C program: stack, global pointer, the thread's variables; main's value becomes the exit code.
        .section .text.start, "ax"
        .globl  _start
_start: .option push
        .option norelax
        la      gp, __global_pointer$
        .option pop
        la      sp, __stack
        la      tp, __thread
        li      a0, 0
        li      a1, 0
        call    main
        call    leave

# void write_text(const char *text, unsigned long bytes)
        .text
        .globl  write_text
write_text:
        mv      a2, a0
        add     a1, a1, a0
        mv      a3, ra
0:      beq     a2, a1, 1f
        lbu     a0, 0(a2)
        addi    a2, a2, 1
        call    put_character
        j       0b
1:      jr      a3
