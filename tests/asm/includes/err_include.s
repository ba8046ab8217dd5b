    .include "missing.inc"          # error: file not found: missing.inc # hint: includes; -I DIR adds a directory
    .include missing                # error: .include needs a file name in double quotes
    .include "err_include.s"        # error: recursive include
    .incbin "missing.bin"           # error: file not found: missing.bin
    .incbin "."                     # error: cannot read .: a directory or a device; expected a file
    .incbin "/dev/zero"             # error: cannot read /dev/zero: a directory or a device; expected a file
    .incbin "bytes.bin", 5          # error: 5 is out of range for the offset in
    .incbin "bytes.bin", 1, 4       # error: 4 is out of range for the length in
    .meta   meta                    # error: .meta needs a file name in double quotes
    .meta                           # error: .meta takes 1 operand, 0 given
    .meta   "missing.json"          # error: file not found: missing.json
    .meta   "part.inc"              # error: part.inc is not JSON: Expecting value
    .meta   "bytes.bin"             # error: is not JSON
    .meta   "list.json"             # error: list.json holds list; expected a JSON object
    .meta   "nan.json"              # error: nan.json is not JSON: Out of range float values
