"""Model checkpoints to programs.

Will hold: frontends, the float graph, passes (quantise, sparsify), lowering per unit, memory plan, verify and generate. Imports
isa and asm; emulator only in verify and generate.
"""
