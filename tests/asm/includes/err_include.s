    .include "missing.inc"          # error: file not found: missing.inc # hint: searched in
    .include missing                # error: .include needs a file name in double quotes
    .include "err_include.s"        # error: recursive include
    .incbin "missing.bin"           # error: file not found: missing.bin
    .incbin "bytes.bin", 5          # error: 5 is out of range for the offset in
    .incbin "bytes.bin", 1, 4       # error: 4 is out of range for the length in
