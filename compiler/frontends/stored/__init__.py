"""How the weights of a Hugging Face directory lie in its files.

    files.py                tensors by name, and which of them are used
    matrices.py             matrices of numbers in files: in rows or columns, a few bits to a number
    integers.py             a tensor of such numbers with scales and zero points: codes of the model
    floats.py               plain floats
    sparse.py               bitmasks, and torch's compressed rows (CSR, BSR)
    masks.py                masks beside dense weights
    monarch.py              the blocks of block-diagonal matrices
    storage.py              what a quantization_config says of all this: a record, and one for each quant_method in
    bitnet.py, compressed_tensors.py, gptq.py, awq.py; methods.py finds it

A tensor that is made here reads and checks its numbers when rows of it are asked for. Names, types and shapes are checked before.
"""
