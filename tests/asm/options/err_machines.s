# A machine that there is not, or a file that holds none.
    .machine                        # error: no machine preset ''; expected one of
    .machine slim-lama              # error: no machine preset 'slim-lama'; expected one of # hint: did you mean 'slim-llama'?
    .machine "slim                  # error: no machine preset '"slim
    .machine slim, hpim             # error: no machine preset 'slim, hpim'
    .machine none.toml              # error: cannot read none.toml: No such file or directory
