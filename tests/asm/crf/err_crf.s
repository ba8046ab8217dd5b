# What is no instruction of a micro-program, at the operand that is wrong.
    .data
    .crf                                                # error: .crf needs an instruction # hint: one of nop, add
    .crf    mack grf_b[0], grf_a[0], even_bank           # error: unknown micro-program instruction `mack` # hint: `mac`
    .crf    mac grf_a[0], grf_a[0], even_bank           # error: grf_a cannot be the destination of mac; expected grf_b
    .crf    mac grf_b[0], srf_m[0], even_bank           # error: srf_m cannot be source 0 of mac; expected even_bank or odd_bank or grf_a or grf_b
    .crf    mul grf_b[0], grf_a[0], a_out[0]            # error: a_out cannot be source 1 of mul
    .crf    mac grf_b[0], grf_a[0]                      # error: mac takes 3 operands, 2 given # hint: `.crf mac dst, src0, src1`
    .crf    mac grf_b[0], grf_a[8], even_bank           # error: grf_a[8], source 0 of mac; expected an index 0..7
    .crf    mac grf_b[0], grf_a[16], even_bank          # error: src0 index 16 does not fit 0..15
    .crf    mac grf_b, grf_a[0], even_bank              # error: grf_b needs an index
    .crf    mac grf_b[0], grf_a[0], even_bank[1]        # error: even_bank has no index
    .crf    mac grf_b[0], gfr_a[0], even_bank           # error: unknown operand `gfr_a[0]` # hint: `grf_a`
    .crf    mac grf_b[0], grf_a[0], even_bank, relu     # error: mac has no relu; mov and fill have
    .crf    mad grf_b[0], grf_a[0], srf_m[1], srf_a[2]  # error: index 2 of the fourth operand; the word has one index for the third and the fourth, 1
    .crf    fill grf_a[0], even_bank, aam               # error: fill has no aam; it repeats eight times
    .crf    mov even_bank, odd_bank                     # error: mov between two banks; expected a register on one side
    .crf    fill srf_m[0], even_bank                    # error: srf_m cannot be the destination of fill
    .crf    fill even_bank, grf_b[0]                    # error: even_bank cannot be the destination of fill; expected grf_a or grf_b
    .crf    fill grf_a[0], grf_b[0]                     # error: grf_b cannot be source 0 of fill; expected even_bank or odd_bank
    .crf    jump 1                                      # error: jump takes 2 operands, 1 given # hint: `.crf jump COUNT, OFFSET`
    .crf    jump 131072, 1                              # error: count 131072 does not fit 0..131071
    .crf    jump 1, 2048                                # error: offset 2048 of jump; expected 0..32: the CRF has 32 entries
    .crf    jump 7, 33                                  # error: offset 33 of jump; expected 0..32
    .crf    jump x, 1                                   # error: `x` where jump expects a number
    .crf    nop 2048                                    # error: count 2048 does not fit 0..2047
    .crf    exit 1                                      # error: exit takes 0 operands, 1 given # hint: `.crf exit`
    .bss
    .crf    exit                                        # error: holds only zeros
