        .option pic                     # error: .option pic is not supported # hint: -fno-pic
        call    f@plt
f:      tail    f@plt + 8
        call    f@got                   # error: unexpected `@got`: only @plt can follow a name
