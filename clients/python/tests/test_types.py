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


def test_the_strict_type_checker_of_editors_finds_nothing() -> None:
    root = Path(__file__).parent.parent
    pyright = root.parent.parent / "tests/clients/node_modules/pyright/index.js"
    if not pyright.exists():
        pytest.skip("its npm package is not installed: make tools")
    command = ["node", str(pyright), "--pythonpath", sys.executable]
    check = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert check.returncode == 0, check.stdout + check.stderr
