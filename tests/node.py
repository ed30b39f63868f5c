"""What npm brings for these tests, at the versions of package-lock.json; see tests/apt-parts.sh."""

from __future__ import annotations

from pathlib import Path

NODE = Path(__file__).parents[1] / ".node"
