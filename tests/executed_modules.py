"""Count the package modules that run between a file's event and its run row: `python -m tests.executed_modules`.

A daemon watches an empty inbox with its engine loaded. Then one short WAV is copied into the inbox,
and every module of the package in which a function is called is recorded until the run row is
closed. The modules of the decode worker, which is a process of its own, are those that it imports.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from types import FrameType

import thoth_watch
from thoth_watch.bootstrap import build_service, build_settings

PACKAGE = Path(thoth_watch.__file__).parent
SAMPLE = PACKAGE / "builtin" / "samples"
TIMEOUT_S = 120.0
WORKER_IMPORTS = (
    "import sys, thoth_watch.infrastructure.audio.decode_worker as w;"
    "print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('thoth_watch')), sep='\\n')"
)


class ModuleRecorder:
    """Records the package's modules in which a function is called, in all threads started after it."""

    def __init__(self) -> None:
        self.is_recording = False
        self.modules: set[str] = set()
        threading.setprofile(self._on_event)
        sys.setprofile(self._on_event)

    def _on_event(self, frame: FrameType, event: str, _: object) -> None:
        if self.is_recording and event == "call":
            self.modules.add(frame.f_code.co_filename)


def drop_and_wait(recorder: ModuleRecorder, inbox: Path, database: Path) -> None:
    """Copy one short WAV into the inbox, wait for its run row, and stop the service."""
    try:
        time.sleep(1.0)  # the main loop waits for events now
        recorder.is_recording = True
        shutil.copy(next(SAMPLE.glob("*.wav")), inbox / "talk.wav")
        deadline_s = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline_s:
            with closing(sqlite3.connect(database)) as connection:
                query = "SELECT count(*) FROM runs WHERE status <> 'RUNNING'"
                if connection.execute(query).fetchone()[0]:
                    break
            time.sleep(0.05)
        recorder.is_recording = False
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


def executed_modules() -> list[str]:
    """Return the paths of the executed modules below the package, without `__init__.py`."""
    with tempfile.TemporaryDirectory() as folder:
        inbox, config = Path(folder) / "inbox", Path(folder) / "config.yaml"
        inbox.mkdir()
        config.write_text("inbox: {path: ./inbox}\nengine: {model: builtin}\n", encoding="utf-8")
        database = Path(folder) / "thoth-watch.db"
        recorder = ModuleRecorder()
        arguments = (recorder, inbox, database)
        dropper = threading.Thread(target=drop_and_wait, args=arguments)
        with build_service(
            build_settings(config, {}, required=True), drain=False, on_ready=dropper.start
        ) as run:
            run()
        dropper.join()
    imported = subprocess.run(
        [sys.executable, "-c", WORKER_IMPORTS], capture_output=True, text=True, check=True
    )
    files = recorder.modules | set(imported.stdout.splitlines())
    names = {
        Path(file).relative_to(PACKAGE).as_posix()
        for file in files
        if Path(file).is_relative_to(PACKAGE)
    }
    return sorted(name for name in names if not name.endswith("__init__.py"))


def main() -> None:
    modules = executed_modules()
    print(*modules, sep="\n")
    print(f"{len(modules)} modules")


if __name__ == "__main__":
    main()
