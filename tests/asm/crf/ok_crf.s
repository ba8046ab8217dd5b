# Words of a micro-program. The expected bits are put together by hand from the table of Samsung's fields: opcode 31:28, dst 27:25,
# src0 24:22, src1 21:19, src2 18:16, AAM 15, ReLU 12, indices 11:8, 7:4, 3:0; JUMP count 27:11, offset 10:0; NOP count 10:0.
    .data
    .crf    nop 0                                       # = 0x00000000
    .crf    nop 7                                       # = 0x00000007
    .crf    nop 0x7ff                                   # = 0x000007ff
    .crf    exit                                        # = 0xf0000000
    .crf    jump 7, 2                                   # = 0xe0003802
    .crf    jump 0x1ffff, 0x20                          # = 0xeffff820
    .crf    mac grf_b[0], grf_a[0], even_bank, aam      # = 0x3b108000
    .crf    MAC GRF_B[0], GRF_A[0], ODD_BANK, AAM       # = 0x3b188000
    .crf    mac grf_b[7], even_bank, srf_m[3]           # = 0x3ab00703
    .crf    add grf_a[1], grf_a[2], even_bank           # = 0x19100120
    .crf    add grf_b[7], srf_a[5], srf_m[6]            # = 0x1bf00756
    .crf    mul grf_a[0], grf_b[4], srf_m[1]            # = 0x29700041
    .crf    mad grf_a[3], even_bank, srf_m[2], srf_a[2] # = 0x48b70302
    .crf    mad grf_a[3], grf_b[1], even_bank, srf_a[5] # = 0x49570315
    .crf    mov odd_bank, grf_b[6]                      # = 0x87400060
    .crf    mov grf_a[6], even_bank, relu               # = 0x88801600
    .crf    mov srf_m[0], grf_a[1]                      # = 0x8d000010
    .crf    fill grf_a[0], even_bank                    # = 0x98800000
    .crf    fill grf_b[0], odd_bank, relu               # = 0x9ac01000
    .crf    mac  grf_b [ 1 ] , grf_a[ 2 ],even_bank     # = 0x3b100120
