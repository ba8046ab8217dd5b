# Hello: the smallest useful program. It writes a line through the environment and exits.
#
# Shows: sections, symbols, `la`, and the services `write` (64) and `exit` (93).
#
# Expected output:
#   Hello from the Slim machine!

    .section .rodata
message:
    .ascii  "Hello from the Slim machine!\n"
    .equ    length, . - message

    .section .text
    .globl  _start
_start:
    li      a0, 1                   # file 1: the console
    la      a1, message
    li      a2, length
    li      a7, 64                  # write
    ecall

    li      a0, 0                   # exit code
    li      a7, 93                  # exit
    ecall
