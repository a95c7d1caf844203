"""The real program with a fake decoder, speech detector and engine.

`python -m tests.scale.program worker -c config.yaml`

The file THOTH_TEST_LOG gets a line for each engine load and for each start and end of a recording.
THOTH_TEST_SECONDS is the time that a recording takes. A recording with the text `poison` kills the
process that transcribes it.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
from pathlib import Path
from typing import Any

from tests.fakes import FakeDecoder, FakeEngine, FakeVoiceActivityDetector
from thoth_watch import cli
from thoth_watch.application.ports.audio import Recording
from thoth_watch.bootstrap import engine_process, engines, service_resources, worker
from thoth_watch.domain.audio import AudioFile, AudioInfo
from thoth_watch.domain.engine import TranscriptionEngineConfig
from thoth_watch.domain.errors import EngineUnavailable, FileChanged

SECONDS = float(os.environ.get("THOTH_TEST_SECONDS", "0"))


def write_log_line(kind: str, name: str) -> None:
    """Append one line by a single write, as several processes write to the file."""
    line = f"{time.time():.3f} {os.getpid()} {kind} {name}\n"
    handle = os.open(os.environ["THOTH_TEST_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(handle, line.encode())
    os.close(handle)


class TextDecoder(FakeDecoder):
    """A decoder that takes a file's text as its samples."""

    def decode(self, file: AudioFile, *, key: int = 0) -> Recording:
        status = os.lstat(file.path)
        if (status.st_dev, status.st_ino) != (file.signature.device, file.signature.inode):
            raise FileChanged("not the file that was listed")
        content = file.path.read_bytes()
        info = AudioInfo(10.0, 10.0, 16000, 1, "pcm", "fake", ())
        sha256 = hashlib.sha256(content).hexdigest()
        return Recording(key, samples=content.decode(), sha256=sha256, info=info)


class PacedEngine(FakeEngine):
    """An engine that takes SECONDS for each recording and kills its process on `poison`."""

    def transcribe_one(self, recording: Recording) -> str:
        text = str(recording.samples)
        write_log_line("start", text)
        if "poison" in text:
            write_log_line("death", text)
            os.kill(os.getpid(), signal.SIGKILL)
        end = time.monotonic() + SECONDS
        while (remaining_s := end - time.monotonic()) > 0:
            time.sleep(min(remaining_s, 0.05))
        write_log_line("transcribed", text)
        return text


def build_engine(config: TranscriptionEngineConfig, **_: Any) -> PacedEngine:
    if config.model == "missing":
        raise EngineUnavailable("missing: no such model")
    write_log_line("load", Path(config.model).name)
    return PacedEngine()


def main() -> None:
    engines.build_engine = build_engine
    engine_process.LazyVoiceActivityDetector = FakeVoiceActivityDetector
    service_resources.build_decoder = worker.build_decoder = lambda *_: TextDecoder()
    cli.main()


if __name__ == "__main__":
    main()
