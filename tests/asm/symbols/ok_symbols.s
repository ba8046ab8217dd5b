# .set may change, .equ may look ahead, local labels repeat.
    .data
    .set    i, 1
    .word   i                       # = 0x00000001
    i = i + 1
    .word   i                       # = 0x00000002
    .equ    size, end - begin
    .word   size                    # = 0x00000008
begin:
    .word   1, 2                    # = 0x00000001 0x00000002
end:
    .text
1:  j       1f                      # = 0x0040006f
1:  j       1b                      # = 0x0000006f
    li      a0, size                # = 0x00800513
    .weak   perhaps
    .globl  begin
    .type   begin, @object
    .size   begin, size
