"""What a Slim program may say and what it means.

Instruction rows with their reference meaning, formats, registers, CSRs, counters, number formats, exact arithmetic, machine
presets, the program file, the reference engine, the manual. Imports nothing from asm, emulator or compiler.
"""
