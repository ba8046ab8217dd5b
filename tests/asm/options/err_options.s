# Options that ask for something else are refused: nothing is ignored silently.
    .option relax                   # error: .option relax is not supported # hint: no linker
    .option rvc                     # error: .option rvc is not supported # hint: compressed
    .option pic                     # error: .option pic is not supported # hint: -fno-pic
    .option no-csr-check            # error: .option no-csr-check is not supported # hint: always checked
    .option arch, +c                # error: .option arch, +c is not supported: the core has i, m, zicntr, zicsr, zifencei, zmmul, not c
    .option arch, +m, +v            # error: .option arch, +v is not supported: the core has
    .option arch, -m                # error: .option arch, -m is not supported: m is always there
    .option arch, rv64gc            # error: rv64 is followed by i # hint: leave it out
    .option arch, rv64im_zba1p0     # error: not zba
    .option arch, +zve32x           # error: not zve32x
    .option arch, rv64im_zve64x1p0  # error: not zve64x
    .option arch, rv32im            # error: expected +NAME, -NAME or rv64im...
    .option arch, +                 # error: .option arch, + is not supported: expected +NAME
    .option arch                    # error: .option arch without a name: expected +NAME, -NAME or rv64im...
    .option archaic                 # error: .option archaic is not supported
    .option norvc, 1                # error: .option norvc takes nothing more
    .option push me                 # error: .option push me is not supported
    .option                         # error: .option without a word; expected one of norelax, norvc
    .option arch,                   # error: .option arch without a name: expected +NAME, -NAME or rv64im...
    .option arch, +                 # error: expected +NAME, -NAME or rv64im..., in lower case
    .option arch, +m,               # error: .option arch without a name
    .option arch, rv64              # error: expected +NAME, -NAME or rv64im...
    .option arch, rv64mi            # error: rv64 is followed by i, the base instructions
    .option arch, rv64im_           # error: expected +NAME, -NAME or rv64im...
    .option arch, rv64im_2p0        # error: expected +NAME, -NAME or rv64im...
    .option arch, -C                # error: in lower case
    .option arch, -é                # error: .option arch, -é is not supported
    .option arch, +m2p              # error: not m2p
    .option arch, +zicsr_zmmul      # error: expected +NAME
    .option push,                   # error: .option push takes nothing more
