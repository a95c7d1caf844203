"""The wheel holds all that the program reads."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_everything_that_is_no_code_is_in_the_wheel_too(tmp_path: Path):
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", tmp_path, ROOT], check=True, cwd=tmp_path)

    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "thoth_watch"
    wanted = {
        f"thoth_watch/{path.relative_to(package)}"
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    units = ROOT / "systemd"
    wanted |= {
        f"thoth_watch/infrastructure/systemd/units/{path.relative_to(units)}"
        for path in units.rglob("*")
        if path.is_file()
    }
    assert wanted <= held
    assert not any(name.startswith(("tests/", "docs/")) for name in held)
