"""Machine code: all that rests on numba's private parts, on LLVM or on the host's processor.

    block.py            the words of memory through which a machine and its compiled code see each other
    machine_code.py     loads, stores and calls by address, which numba lacks
    emitting.py         what code that is emitted by hand takes from numba's private parts
    inlining.py         how a function becomes a part of those that call it
    object_code.py      a Python function to an object file
    objects.py          object files that are kept, and linked without numba
    features.py         the SIMD instructions of this host
"""
