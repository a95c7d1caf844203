"""thoth-watch under the system call filter of its unit: the exposure level does not show that it runs."""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.conftest import TIMEOUT_S, write_recording
from tests.infrastructure.whisper.conftest import make_whisper
from tests.systemd.test_units import UNITS

ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM  # seccomp(2)
PR_SET_NO_NEW_PRIVS = 38


def system_calls(group: str) -> set[str]:
    """Return the system calls of one of systemd's groups."""
    done = subprocess.run(
        ["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True
    )
    found: set[str] = set()
    for line in done.stdout.splitlines()[1:]:
        name = line.strip()
        if name.startswith("@"):
            found |= system_calls(name)
        elif name and not name.startswith("#"):
            found.add(name)
    return found


def allowed_calls(unit: str) -> set[str]:
    """Return the calls that the unit's SystemCallFilter= lines allow, applied in order."""
    allowed: set[str] = set()
    for line in (UNITS / unit).read_text().splitlines():
        key, _, value = line.partition("=")
        for group in value.removeprefix("~").split() if key == "SystemCallFilter" else ():
            calls = system_calls(group)
            allowed = allowed - calls if value[0] == "~" else allowed | calls
    return allowed


def apply_system_call_filter(unit: str) -> None:
    """Apply the unit's filter permanently to this process and its children."""
    lib = ctypes.CDLL(ctypes.util.find_library("seccomp"), use_errno=True)
    lib.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(lib.seccomp_init(REFUSE))
    for name in allowed_calls(unit):
        number = lib.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            assert lib.seccomp_rule_add_array(context, ALLOW, number, 0, None) == 0
    assert ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert lib.seccomp_load(context) == 0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.skipif(ctypes.util.find_library("seccomp") is None, reason="needs libseccomp")
def test_recordings_are_transcribed_under_the_units_system_call_filter(tmp_path: Path) -> None:
    model = make_whisper(tmp_path / "tiny")
    for number, ending in enumerate(("wav", "mp3", "opus")):
        write_recording(tmp_path / f"inbox/{number}.{ending}", seed=number)
    (tmp_path / "config.yaml").write_text(
        f"inbox: {{path: ./inbox, settle_s: 0.2}}\n"
        f"engine: {{engine_type: batch, model: {model}, language: en}}\n"
    )
    code = (
        "from tests.systemd.test_system_call_filter import apply_system_call_filter\n"
        "apply_system_call_filter('thoth-watch.service')\n"
        "import os\n"
        "try: os.nice(1)\n"
        "except PermissionError: print('filter active')\n"
        "from thoth_watch.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "once", "-c", "config.yaml"],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert "filter active" in done.stdout
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "inbox").glob("*.txt"))) == 3
