"""One fake per port, and builders for domain values."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from thoth_watch.application.ports.audio import Recording
from thoth_watch.application.ports.engine import EngineSeconds, TranscriptionResult
from thoth_watch.application.ports.inbox import FileStatus
from thoth_watch.application.ports.publishing import Output, TranscriptPublisher
from thoth_watch.domain.audio import AudioFile, AudioInfo, Listing, RefusedEntry, Signature
from thoth_watch.domain.engine import Fallback, Placement, TranscriptionEngineConfig
from thoth_watch.domain.errors import (
    DiarizationFailed,
    EngineUnavailable,
    FileGone,
    NameTaken,
    RetryLater,
)
from thoth_watch.domain.speakers import Turn
from thoth_watch.domain.speech import SpeechSpans, Vad
from thoth_watch.domain.states import State
from thoth_watch.domain.transcript import Segment, Transcript
from thoth_watch.domain.verdict import judge

INBOX = Path("/inbox")
PLACEMENT = Placement(
    engine="batch",
    model="fake",
    model_revision="sha256:0",
    device="cpu",
    device_name="a fake processor",
    precision="float32",
    mixed_precision="no",
    batch_size=8,
    versions={"fake": "1"},
)


def make_file(
    name: str, *, size: int = 100, modified_ns: int = 1, inbox: Path = INBOX
) -> AudioFile:
    signature = Signature(size, modified_ns, modified_ns, device=1, inode=abs(hash(name)) % 10**9)
    return AudioFile(inbox, inbox / name, signature)


class FakeClock:
    """Advances only by `advance`; both clocks move together."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)
        self.seconds = 0.0

    def now(self) -> datetime:
        return self.time

    def monotonic_s(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        self.seconds += seconds


class FakeInbox:
    """A folder with the files that a test puts in."""

    def __init__(self, root: Path = INBOX) -> None:
        self.root = root
        self.files: dict[str, AudioFile] = {}
        self.refused: tuple[RefusedEntry, ...] = ()
        self.awaiting_sentinel: set[Path] = set()
        self.problem: str | None = None
        self.identity: tuple[int, int] | None = (1, 1)
        self.n_scans = 0  # full scans

    def put(self, name: str, **changes: Any) -> AudioFile:
        self.files[name] = make_file(name, inbox=self.root, **changes)
        return self.files[name]

    def scan(self) -> Listing:
        self.n_scans += 1
        return self.scan_paths({entry.path for entry in (*self.files.values(), *self.refused)})

    def scan_paths(self, paths: Collection[Path]) -> Listing:
        if self.problem:
            return Listing(self.root, problem=self.problem)
        return Listing(
            self.root,
            tuple(file for file in self.files.values() if file.path in paths),
            tuple(entry for entry in self.refused if entry.path in paths),
            awaiting_sentinel=frozenset(self.awaiting_sentinel),
            identity=self.identity,
        )


class FakeFiles:
    """Every file is unchanged and closed, unless a test sets another status."""

    def __init__(self) -> None:
        self.being_written: set[Path] = set()
        self.statuses: dict[Path, FileStatus] = {}

    def is_being_written(self, file: AudioFile) -> bool:
        return file.path in self.being_written

    def file_status(self, file: AudioFile) -> FileStatus:
        return self.statuses.get(file.path, FileStatus.SAME)


class FakeDecoder:
    """Decodes each file to ten seconds whose samples are its name; names in `bad` raise."""

    def __init__(self) -> None:
        self.bad: dict[str, Exception] = {}
        self.warnings: dict[str, tuple[str, ...]] = {}
        self.same_audio: dict[str, str] = {}
        self.decoded: list[str] = []
        self.duration_s = 10.0
        self.channels: dict[str, tuple[str, ...]] = {}

    def probe(self, file: AudioFile) -> float | None:
        return self.duration_s

    def decode(self, file: AudioFile, *, key: int = 0) -> Recording:
        name = file.path.name
        self.decoded.append(name)
        if name in self.bad:
            raise self.bad[name]
        info = AudioInfo(
            self.duration_s, self.duration_s, 16000, 1, "pcm", "fake", self.warnings.get(name, ())
        )
        audio = self.same_audio.get(name, name)
        return Recording(key, samples=audio, sha256=f"{audio:0<64.64}", info=info)

    def decode_channels(self, file: AudioFile, *, key: int = 0) -> Recording:
        mix = self.decode(file, key=key)
        names = self.channels.get(file.path.name, ())
        parts = tuple((name, replace(mix, samples=f"{mix.samples} {name}")) for name in names)
        return replace(mix, channels=parts)

    def close(self) -> None:
        pass


class FakeVoiceActivityDetector:
    """Finds speech everywhere, except in the recordings in `silent`."""

    def __init__(self) -> None:
        self.silent: set[str] = set()
        self.requested: list[Vad] = []

    def detect(self, samples: Any, *, vad: Vad) -> SpeechSpans:
        self.requested.append(vad)
        is_silent = isinstance(samples, str) and samples in self.silent
        return () if is_silent else ((0.0, 10.0),)


class FakeSpeakers:
    """Finds two speakers, about five seconds each; recordings in `unclear` raise."""

    name = "fake/pipeline@1"
    fingerprint = "speakers-1"

    def __init__(self) -> None:
        self.unclear: set[str] = set()
        self.requested: list[str] = []

    def diarize(self, samples: Any) -> tuple[Turn, ...]:
        self.requested.append(str(samples))
        if samples in self.unclear:
            raise DiarizationFailed("diarization failed: overlapping speech")
        return (Turn(0.0, 5.5, "SPEAKER_00"), Turn(5.5, 10.0, "SPEAKER_01"))


class FakeEngine:
    """Transcribes a recording to the name of its audio; names in `failing` get an error."""

    load_s = 1.5
    fingerprint = "fake-1"

    def __init__(self) -> None:
        self.placement = PLACEMENT
        self.fallbacks: list[Fallback] = []
        self.failing: set[str] = set()
        self.transcribed: list[str] = []

    def transcribe(
        self,
        recordings: Iterable[Recording],
        *,
        seconds: EngineSeconds,
        on_progress: Callable[[float], None],
        should_stop: Callable[[], bool],
    ) -> Iterator[TranscriptionResult]:
        for recording in recordings:
            if should_stop():
                return
            text = "" if recording.speech == () else self.transcribe_one(recording)
            self.transcribed.append(text)
            seconds.tokens += 3
            on_progress(recording.duration_s)
            if text in self.failing:
                yield TranscriptionResult(recording.key, None, "the engine failed on it")
                continue
            length_s = recording.duration_s
            segment = Segment(0.0, length_s, f" {text}")
            warnings = recording.info.warnings
            verdict = judge((segment,), speech=None, duration_s=length_s, warnings=warnings).verdict
            transcript = Transcript(
                (segment,) if text else (),
                "en",
                length_s,
                verdict=verdict,
                warnings=warnings,
                skipped_s=0.0 if text else length_s,
            )
            yield TranscriptionResult(recording.key, transcript)

    def transcribe_one(self, recording: Recording) -> str:
        return str(recording.samples)


class HashingEngine(FakeEngine):
    """Transcribes a recording to the hash of its samples, for tests with real decoders."""

    def transcribe_one(self, recording: Recording) -> str:
        return hashlib.sha256(recording.samples.tobytes()).hexdigest()


class FakeEngines:
    """Provides one engine for every model that is not `missing`."""

    def __init__(self, engine: FakeEngine | None = None) -> None:
        self.fake = engine or FakeEngine()
        self.requested = TranscriptionEngineConfig()
        self.missing: set[str] = set()

    def engine(self, model: str) -> FakeEngine:
        if model in self.missing:
            raise EngineUnavailable(f"{model}: no such model")
        return self.fake

    def pop_load_s(self, engine: FakeEngine) -> float:
        return engine.load_s


class FakePublisher:
    """A disk in memory; `foreign` files belong to other programs."""

    def __init__(self) -> None:
        self.disk: dict[Path, bytes] = {}
        self.foreign: dict[Path, bytes] = {}
        self.taken_late: set[Path] = set()  # a foreign file appears between check and write
        self.error: Exception | None = None

    def publish_all(self, outputs: Sequence[Output]) -> list[NameTaken | RetryLater | None]:
        return [self._publish(output) for output in outputs]

    def _publish(self, output: Output) -> NameTaken | RetryLater | None:
        if isinstance(self.error, NameTaken | RetryLater):
            return self.error
        if self.error is not None:
            raise self.error
        if output.path in self.taken_late:
            self.foreign[output.path] = b"theirs"
        if output.path in self.foreign:
            return NameTaken(str(output.path))
        self.disk[output.path] = output.content
        return None

    def is_foreign(self, path: Path, *, below: Path, ours_sha256: Collection[str]) -> bool:
        return path in self.foreign


class FakeMover:
    """Moves files from a fake inbox to a folder in memory; every move raises `error` if it is set."""

    def __init__(self, inbox: FakeInbox) -> None:
        self.inbox = inbox
        self.moved: dict[Path, AudioFile] = {}
        self.error: Exception | None = None
        self.n_calls = 0

    def move(self, file: AudioFile, to: Path, *, below: Path, sha256: str) -> Signature:
        self.n_calls += 1
        if self.error is not None:
            raise self.error
        arrived = self.moved.get(to)
        name = str(file.relative)
        if arrived is not None and arrived.signature == file.signature:
            return arrived.signature
        if self.inbox.files.get(name) != file:
            raise FileGone("not the version that was seen")
        if arrived is not None:
            raise NameTaken(str(to))
        self.moved[to] = self.inbox.files.pop(name)
        return file.signature


class FakeProgress:
    """Records the reported progress."""

    def __init__(self) -> None:
        self.audio_s = 0.0
        self.states: dict[str, State] = {}

    def begin(self, *, files: int, audio_s: float) -> None:
        pass

    def advance(self, audio_s: float) -> None:
        self.audio_s += audio_s

    def finished(self, path: Path, state: State, reason: str) -> None:
        self.states[path.name] = state

    def end(self) -> None:
        pass


class FakeFolderWatcher:
    """Reports that anything may have changed; waiting advances the fake clock."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock

    def changed_paths(self) -> Collection[Path] | None:
        return None

    def wait(self, timeout_s: float) -> bool:
        self.clock.advance(timeout_s)
        return False

    def wake(self) -> None:
        pass


class FakeService:
    """Does nothing; a test passes the steps that it needs, by name."""

    def __init__(self, **steps: Callable[..., Any]) -> None:
        vars(self).update(steps)

    def ensure_engine(self) -> None:
        pass

    def on_ready(self) -> None:
        pass

    def heartbeat(self) -> None:
        pass

    def wants_reload(self) -> bool:
        return False

    def quiet_until(self, now: datetime) -> datetime | None:
        return None

    def monitor_workers(self) -> None:
        pass

    def move_finished(self) -> bool:
        return False

    def unload(self) -> None:
        pass


def fake_render(
    transcript: Transcript, format_name: str, *, provenance: Mapping[str, Any]
) -> bytes:
    """Return the text for every format."""
    return transcript.text.encode()


def publish_one(publisher: TranscriptPublisher, output: Output) -> None:
    """Publish one file; raise its problem."""
    (problem,) = publisher.publish_all([output])
    if problem is not None:
        raise problem
