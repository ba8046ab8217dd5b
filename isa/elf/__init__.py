"""The program file: a static ELF executable. writer.py writes it, reader.py reads it back, dwarf.py has its source lines."""
