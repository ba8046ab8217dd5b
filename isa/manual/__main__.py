"""`python -m isa.manual DIRECTORY` writes the pages of the manual."""

import sys
from pathlib import Path

from isa.manual import write

if len(sys.argv) != 2:
    sys.exit("usage: python -m isa.manual DIRECTORY")
write(Path(sys.argv[1]))
