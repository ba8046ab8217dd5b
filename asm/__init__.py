"""Text to program and back: the assembler, the disassembler, listings and diagnostics."""

from asm.assembler import assemble, assemble_with_listing
from asm.assembly import Assembly, Frame, ListingLine
from asm.diagnostics import AssemblyError, Diagnostic, Note, Span
from asm.disassembler import disassemble

__all__ = ["Assembly", "AssemblyError", "Diagnostic", "Frame", "ListingLine", "Note", "Span", "assemble", "assemble_with_listing",
           "disassemble"]
