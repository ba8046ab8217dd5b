    .macro  one a                   # the definition
    addi    a0, a0, \a              # error: 5000 is out of range # note: err_macros.s:4:5: note: in the expansion of macro `one`
    .endm
    one     5000
    one     1, 2                    # error: macro `one` takes 1 argument, 2 given # note: err_macros.s:1:5: note: macro `one` is defined here
    .macro  one b                   # error: macro `one` is defined twice # note: first definition
    .endm
    .macro  need a:req
    .endm
    need                            # error: needs an argument for `a`
    .macro  loop                    # never ends
    loop                            # error: more than 100 levels
    .endm
    loop
    onne    1                       # error: unknown instruction `onne` # hint: did you mean `one`?
    .endm                           # error: .endm without .macro
    .purgem nothing                 # error: there is no macro `nothing`
    .macro  dup a, a                # error: parameter `a` appears twice
    .endm
    .exitm                          # error: .exitm outside a macro
    .macro  open                    # error: unterminated .macro: its .endm is missing
    nop
