"""The types of the package hold, as a user's type checker sees them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def test_the_strict_type_checker_finds_nothing(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    root = Path(__file__).parent.parent
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path)]
    check = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert check.returncode == 0, check.stdout + check.stderr
