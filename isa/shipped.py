"""Where the example programs, their library and the demo model lie: in a checkout at the top, in an installed wheel inside
slimulator/.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = next((path for path in (ROOT / "slimulator/programs", ROOT / "programs") if path.is_dir()), ROOT / "programs")
DEMO = PROGRAMS / "demo" / "model"
