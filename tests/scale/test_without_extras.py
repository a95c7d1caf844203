"""A single machine needs no broker, no database server and none of their packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PROGRAM_WITHOUT_EXTRAS = """
import sys
for name in ("celery", "kombu", "redis", "psycopg"):
    sys.modules[name] = None
from tests.scale.program import main
main()
"""


def run(folder: Path, *arguments: str, **sections: object) -> subprocess.CompletedProcess[str]:
    (folder / "inbox").mkdir(exist_ok=True)
    document = {"inbox": {"path": "./inbox", "settle_s": 0.2}, **sections}
    (folder / "config.yaml").write_text(json.dumps(document))
    return subprocess.run(
        [
            sys.executable,
            "-c",
            PROGRAM_WITHOUT_EXTRAS,
            *arguments,
            "-c",
            str(folder / "config.yaml"),
        ],
        env={**os.environ, "THOTH_TEST_LOG": str(folder / "log.txt")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_single_machine_transcribes_without_the_extras(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox/a.wav").write_text("a recording")
    done = run(tmp_path, "once")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "inbox/a.txt").read_text().strip() == "a recording"
    assert run(tmp_path, "status").returncode == 0


def test_worker_names_the_settings_that_a_configuration_without_workers_lacks(
    tmp_path: Path,
) -> None:
    done = run(tmp_path, "worker")
    assert done.returncode == 78
    assert "set dispatch.kind: celery, dispatch.broker, and ledger.url" in done.stderr
