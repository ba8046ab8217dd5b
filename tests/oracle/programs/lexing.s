# comments in all styles, separators, odd spacing, escapes
        .text ; nop ; nop           # three statements
_start: nop                         # a comment of this kind
        /* one */ addi a0, /* two */ a0, 1 /* three
        lines
        of comment */
        nop; label_one: nop; label_two: nop
	addi	a0	,	a1	,	-	1
  addi a0,a1,+1
        ADD     = 5
        addi    a0, a1, ADD
        lw      a0, 4 ( sp )
        lw      a0, ADD*4+4(sp)
        lw      a0, (ADD*4)(sp)
        lw      a0, -(ADD)(sp)
        li      a0, 'A'
        li      a1, '#'
        li      a2, '\n'
        li      a3, '\\'
        li      a4, ';'
        li      a5, 0XaB + 0B11 + 010
        lui     a0, 1 << 19
        csrrw   a0 , mscratch , a1
        fence   rw , w
        .data
        .ascii  "# not a comment", "// nor this", "/* nor this */" ; .byte 1
        .asciz  "quote \" backslash \\ tab \t newline \n bell \007 nul \0 octal \101\1012 hex \x41"
        .string "é漢字", ""
        .byte   'a', ' ', '"', '\'', 'z' + 1
        .byte   1,2 , 3	,4
