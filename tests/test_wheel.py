"""The wheel contains all files of the program, and the README's commands work with it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from thoth_watch.bootstrap import SAMPLES

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", folder, ROOT], check=True, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_contains_the_data_files(wheel: Path):
    names = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "thoth_watch"
    expected = {
        f"thoth_watch/{path.relative_to(package)}"
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    units = ROOT / "systemd"
    expected |= {
        f"thoth_watch/infrastructure/systemd/units/{path.relative_to(units)}"
        for path in units.rglob("*")
        if path.is_file()
    }
    assert expected <= names
    assert not any(name.startswith(("tests/", "docs/")) for name in names)


@pytest.mark.parametrize(
    "dependencies", ["borrowed", pytest.param("fetched", marks=pytest.mark.nightly)]
)
@pytest.mark.timeout(3600)
def test_the_readme_leads_from_a_wheel_to_a_report_in_under_ten_commands(
    wheel: Path, tmp_path: Path, dependencies: str
):
    """Run the quick start in a new environment; `fetched`: with dependencies from the registry."""
    start = (
        (ROOT / "README.md").read_text().partition("\n## Quick start\n")[2].partition("\n## ")[0]
    )
    (script,) = re.findall(r"^```sh\n(.*?)^```$", start, re.MULTILINE | re.DOTALL)
    assert len(script.splitlines()) + 1 < 10  # and the installation
    home = tmp_path / "environment"
    venv.create(home, with_pip=True)
    install = [home / "bin/pip", "install", "--quiet"]
    if dependencies == "borrowed":
        (site,) = home.glob("lib/python*/site-packages")
        (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        subprocess.run([*install, "--no-deps", wheel], check=True)
    else:
        constraints = ["-c", ROOT / "constraints.txt"]
        subprocess.run([*install, *constraints, f"{wheel}[report]"], check=True)
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(SAMPLES / "00.wav", folder / "talk.wav")

    done = subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=folder,
        env={
            "PATH": f"{home}/bin{os.pathsep}{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "HF_HUB_OFFLINE": "1",
            "THOTH_WATCH_ENGINE_MODEL": "builtin",  # instead of the proposed model, which would be downloaded
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "inbox/talk.txt").read_text().strip() in done.stdout
    assert len((folder / "inbox/talk.txt").read_text().split()) > 1
    assert "<svg" in (folder / "thoth-watch-report.html").read_text()
    printed = subprocess.run(
        [home / "bin/python", "-c", "import thoth_watch; print(thoth_watch.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    assert printed.stdout.startswith(str(home)), "the wheel's own code was run"
