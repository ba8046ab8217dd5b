# Options that ask for what is so anyway. They change nothing.
    .option push
    .option norelax
    .option norvc
    .option nopic
    .option csr-check
    .option arch, -c
    .option arch, +m, -zba, -zve32x
    .option arch, +zicsr2p0
    .option arch, rv64im_zicsr_zifencei
    .option arch, rv64i2p1_m2p0_zicntr
    .option arch, rv64im2_zicsr2p0_zmmul1p0, -zve32x1p0, -zvl128b
    nop                             # = 0x00000013
    .option pop
