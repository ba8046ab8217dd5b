# All comment styles, and several statements in a line.
    nop                 // two slashes  # = 0x00000013
    nop /* inside */    # = 0x00000013
/* over
   lines */ nop         # = 0x00000013
    nop; nop ;nop       # = 0x00000013 0x00000013 0x00000013
a: b: c: nop            # = 0x00000013
    .ascii "# // /* ;"  # = 0x23 0x20 0x2f 0x2f 0x20 0x2f 0x2a 0x20 0x3b
    .byte '#', ';', '\'', '/', '\n'     # = 0x23 0x3b 0x27 0x2f 0x0a
