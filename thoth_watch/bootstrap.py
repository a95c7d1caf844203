"""The only place that picks adapters. Heavy ones are imported inside the functions that build them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thoth_watch import __version__
from thoth_watch.application.ports import Clock, Ledger, Progress, TranscriptionEngine
from thoth_watch.domain.audio import AudioConfig, AudioFile
from thoth_watch.domain.engine import (
    EngineType,
    Fallback,
    FallbackPolicy,
    TranscriptionEngineConfig,
)
from thoth_watch.domain.errors import AudioError, ConfigError, EngineUnavailable, TryLater
from thoth_watch.domain.figures import Figures
from thoth_watch.domain.treatment import Treatment, treatment_of

if TYPE_CHECKING:
    from thoth_watch.application.serve import Ending
    from thoth_watch.application.transcribe_files import TranscribeFiles
    from thoth_watch.infrastructure.audio import WorkerDecoder
    from thoth_watch.infrastructure.inbox import FolderInbox
    from thoth_watch.infrastructure.models import Machine
    from thoth_watch.infrastructure.service.notify import ServiceManager
    from thoth_watch.infrastructure.service.signals import StopFlag
    from thoth_watch.infrastructure.settings import Settings
    from thoth_watch.infrastructure.whisper import WhisperTranscriptionEngine

log = logging.getLogger(__name__)

BUILTIN_MODEL = Path(__file__).parent / "builtin" / "model"
SAMPLES = Path(__file__).parent / "builtin" / "samples"
POLL_S = 15.0  # between looks where no event can be trusted
DEMONSTRATION = "the builtin model is a demonstration: it knows 159 English words"


def build_settings(
    config: Path | None, overrides: Mapping[str, Any], *, required: bool
) -> Settings:
    """Settings from flags, environment, file and defaults.

    The file is `config`, else THOTH_WATCH_CONFIG, else ./config.yaml. Raises ConfigError; also
    where a file is required and there is none.
    """
    from thoth_watch.infrastructure.settings import load

    path = config or (Path(name) if (name := os.environ.get("THOTH_WATCH_CONFIG")) else None)
    if path is None and required:
        path = Path("config.yaml")
        if not path.exists():
            raise ConfigError(
                "no configuration: there is no config.yaml in this folder; give one with -c FILE"
            )
    return load(path, overrides, os.environ)


def build_decoder(audio: AudioConfig | None = None) -> WorkerDecoder:
    """The decoder, with its worker process started on first use."""
    from thoth_watch.infrastructure.audio import WorkerDecoder

    return WorkerDecoder(audio or AudioConfig())


def audio_file(path: Path) -> AudioFile:
    """The recording that a person named, links followed. Raises AudioError."""
    from thoth_watch.infrastructure.audio import audio_file as look_at

    return look_at(path)


def build_engine(
    config: TranscriptionEngineConfig, *, decoder: WorkerDecoder | None = None
) -> WhisperTranscriptionEngine:
    """The engine asked for, or the standard engine on the CPU where the policy lets it stand in.

    decoder: for its `transcribe_batch`.
    Raises EngineUnavailable: always for a model that cannot be had or a device named on the
    command line, else where `fallback: never`.
    """
    from thoth_watch.infrastructure.whisper import ENGINES
    from thoth_watch.infrastructure.whisper.loading import ModelUnavailable

    engine_class = ENGINES[EngineType(config.engine_type)]
    try:
        return engine_class(config, decoder=decoder, builtin=BUILTIN_MODEL)
    except ModelUnavailable:
        raise
    except EngineUnavailable as error:
        if config.fallback == FallbackPolicy.NEVER or config.device_is_binding:
            raise
        instead = replace(config, engine_type="standard", device="cpu", precision="float32")
        fallback = Fallback(
            what="engine",
            asked=f"{config.engine_type} on {config.device} in {config.precision}",
            got="standard on cpu in float32",
            why=str(error),
        )
        log.warning(
            "the engine asked for cannot be had; the standard engine on the CPU stands in",
            extra={"event": "fallback", "why": str(error)},
        )
        return ENGINES[EngineType.STANDARD](
            instead, decoder=decoder, builtin=BUILTIN_MODEL, fallbacks=(fallback,)
        )


class Engines:
    """Keeps the engine in use loaded; one that is asked for otherwise takes its place."""

    def __init__(self, asked: TranscriptionEngineConfig) -> None:
        self._asked = asked
        self._loaded: tuple[TranscriptionEngineConfig, TranscriptionEngine] | None = None
        self._is_load_told = False

    def reconfigure(self, asked: TranscriptionEngineConfig) -> None:
        """From now on engines as another configuration asks; one that it asks for too stays loaded."""
        self._asked = asked

    @property
    def asked(self) -> TranscriptionEngineConfig:
        """The engine as configured."""
        return self._asked

    def engine(self, model: str) -> TranscriptionEngine:
        """The engine for that model, loaded if it is not. Raises EngineUnavailable."""
        config = self._asked
        if model != config.model:  # a rule's: what was said of the other one is not its own
            config = replace(config, model=model, revision=None, weights_sha256=None)
        if self._loaded is None or self._loaded[0] != config:
            self._loaded = None  # frees the other one first
            self._loaded = (config, build_engine(config))
            self._is_load_told = False
            placement = self._loaded[1].placement
            log.info(
                "engine loaded",
                extra={
                    "event": "engine_loaded",
                    "engine": placement.engine,
                    "model": placement.model,
                    "device": placement.device,
                    "precision": placement.precision,
                },
            )
        return self._loaded[1]

    def load_s_of_first_use(self, engine: TranscriptionEngine) -> float:
        """Seconds that loading it took, the first time it is asked; 0 afterwards."""
        if self._is_load_told:
            return 0.0
        self._is_load_told = True
        return engine.load_s


class Silence:
    """Progress shown to nobody."""

    def begin(self, *, files: int, audio_s: float) -> None:
        """Nothing."""

    def advance(self, audio_s: float) -> None:
        """Nothing."""

    def finished(self, path: Path, state: object, reason: str) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


def builtin_note(settings: Settings) -> str | None:
    """What a user of the demonstration model must be told; None for any other model."""
    if settings.engine.model != "builtin":
        return None
    origin = settings.origins.get("engine.model")
    where = origin.source if origin is not None and origin.source != "default" else "config.yaml"
    where = where.removeprefix("file ")
    return f"{DEMONSTRATION}; for real use set engine.model ({where}), for example openai/whisper-small"


def provenance(settings: Settings) -> dict[str, Any]:
    """What every transcript says of the program that made it."""
    said: dict[str, Any] = {"program": "thoth-watch", "version": __version__}
    note = builtin_note(settings)
    return {**said, "note": note} if note else said


def inbox_of(settings_of_inbox: Any) -> FolderInbox:
    """The folder as the configuration describes it."""
    from thoth_watch.infrastructure.inbox import FolderInbox

    return FolderInbox(
        settings_of_inbox.path,
        recursive=settings_of_inbox.recursive,
        extensions=settings_of_inbox.extensions,
        ignore=settings_of_inbox.ignore,
    )


@contextmanager
def build_service(
    settings: Settings,
    *,
    drain: bool,
    progress: Progress | None = None,
    engines: Engines | None = None,
    reread: Callable[[], None] | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> Iterator[Callable[[], Ending]]:
    """What runs the daemon (or, with drain, the oneshot) over the inboxes, holding the ledger's lock.

    engines: those of the configuration before this one. reread reads the configuration again on
    SIGHUP; where it raises ConfigError the old one stays. on_ready: the engine is there and tried.
    Raises TryLater where another process has it, LedgerBroken for a ledger that is not ours.
    """
    from thoth_watch.application.publish_transcript import PublishTranscript
    from thoth_watch.application.serve import Ending, Serve, ServePolicy
    from thoth_watch.application.transcribe_batch import TranscribeBatch
    from thoth_watch.application.watch_inbox import WatchInbox
    from thoth_watch.infrastructure.dispatch.local import LocalDispatcher
    from thoth_watch.infrastructure.inbox import WatchdogDoorbell
    from thoth_watch.infrastructure.inbox.folder import LocalFiles
    from thoth_watch.infrastructure.ledger import SqlLedger, lock_path
    from thoth_watch.infrastructure.publishing import DurablePublisher, render
    from thoth_watch.infrastructure.service.clock import SystemClock
    from thoth_watch.infrastructure.service.lock import ProcessLock, inbox_lock
    from thoth_watch.infrastructure.service.notify import ServiceManager
    from thoth_watch.infrastructure.service.process import host_name, owner_token, peak_rss_bytes
    from thoth_watch.infrastructure.service.signals import stop_on_signals

    clock, files, manager = SystemClock(), LocalFiles(), ServiceManager()
    suffixes = {e for inbox in settings.inboxes for e in inbox.extensions}
    with ExitStack() as stack:
        stack.enter_context(ProcessLock(lock_path(settings.ledger_url)))
        for inbox in settings.inboxes:
            stack.enter_context(inbox_lock(inbox.path))
        ledger = SqlLedger.open(settings.ledger_url)
        stack.callback(ledger.close)
        decoder = build_decoder(settings.audio)
        stack.callback(decoder.close)
        engines = engines or Engines(settings.engine)
        engines.reconfigure(settings.engine)
        doorbell = stack.enter_context(
            WatchdogDoorbell(
                [(i.path, i.recursive, i.watcher) for i in settings.inboxes], suffixes=suffixes
            )
        )
        stop = stack.enter_context(stop_on_signals(doorbell.wake))
        publish = PublishTranscript(
            ledger=ledger, publisher=DurablePublisher(), render=render, clock=clock
        )
        transcribe = TranscribeBatch(
            ledger=ledger,
            decoder=decoder,
            engines=engines,
            publish=publish,
            files=files,
            clock=clock,
            progress=progress or Silence(),
            peak_rss_bytes=peak_rss_bytes,
            host=host_name(),
            provenance=provenance(settings),
        )
        dispatcher = LocalDispatcher(transcribe, should_stop=stop, on_finished=doorbell.wake)
        stack.callback(dispatcher.close)

        def heartbeat() -> None:
            doorbell.check()
            ledger.check_identity()
            manager.alive(silent_s=dispatcher.silent_s)

        def ready() -> None:
            on_ready()
            manager.ready()

        def run() -> Ending:
            ending = serve.run(should_stop=stop)
            if ending is not Ending.RELOAD:
                manager.stopping()
            return ending

        rescan_s = min(inbox.rescan_s for inbox in settings.inboxes)
        serve = Serve(
            inboxes=[
                WatchInbox(
                    inbox_of(inbox),
                    ledger=ledger,
                    files=files,
                    decoder=decoder,
                    clock=clock,
                    settle_s=inbox.settle_s,
                )
                for inbox in settings.inboxes
            ],
            ledger=ledger,
            dispatcher=dispatcher,
            doorbell=doorbell,
            publish=publish,
            files=files,
            treatment_of=treatment_finder(settings),
            clock=clock,
            policy=ServePolicy(
                batch=settings.batch,
                rescan_s=min(rescan_s, POLL_S) if doorbell.polls else rescan_s,
                drain=drain,
                beat_s=manager.beat_s,
            ),
            owner=owner_token(),
            ensure_engine=_engine_check(settings, engines, ledger, clock, is_tried=not drain),
            heartbeat=heartbeat,
            on_ready=ready,
            wants_reload=_reload_check(stop, reread, manager),
        )
        yield run


def _engine_check(
    settings: Settings, engines: Engines, ledger: Ledger, clock: Clock, *, is_tried: bool
) -> Callable[[], None]:
    """What loads the configured engine, tries it, and leaves a run row where it cannot be had."""
    from thoth_watch.application.check_engine import check_engine
    from thoth_watch.infrastructure.audio.tone import one_second_tone
    from thoth_watch.infrastructure.service.process import host_name

    def check() -> None:
        try:
            engine = engines.engine(settings.engine.model)
            if is_tried:
                check_engine(engine, one_second_tone())
        except EngineUnavailable as error:
            ledger.record_failed_start(
                asked=settings.engine, error=str(error), host=host_name(), now=clock.now()
            )
            raise

    return check


def _reload_check(
    stop: StopFlag, reread: Callable[[], None] | None, manager: ServiceManager
) -> Callable[[], bool]:
    """Whether SIGHUP came and the configuration, read again, is a good one."""

    def check() -> bool:
        if reread is None or not stop.takes_reload():
            return False
        try:
            reread()
        except ConfigError as error:
            log.warning(
                "the new configuration is refused, the old one stays",
                extra={"event": "reload_refused", "error": str(error)},
            )
            return False
        manager.reloading()
        return True

    return check


def this_machine() -> Machine:
    """What decides which model suits."""
    import psutil
    import torch

    from thoth_watch.infrastructure.models import Machine

    gpu_bytes = 0
    if torch.cuda.is_available():
        gpu_bytes = int(torch.cuda.get_device_properties(0).total_memory)
    return Machine(
        gpu_memory_gib=gpu_bytes / 2**30,
        memory_gib=psutil.virtual_memory().total / 2**30,
        cores=psutil.cpu_count(logical=False) or 1,
    )


def build_report(settings: Settings, *, since: datetime | None) -> str:
    """The page of a ledger's past. Raises ModuleNotFoundError without the extra `report`."""
    from thoth_watch.infrastructure.ledger import LedgerReader
    from thoth_watch.infrastructure.reporting import render_report

    with LedgerReader.open(settings.ledger_url) as reader:
        history = reader.history(since=since, now=datetime.now(UTC))
    return render_report(history, ledger=str(settings.origins["ledger.url"].value))


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a new ledger was made of."""

    old: Path | None  # where the one before it lies now
    adopted: int  # recordings that are DONE
    left: int  # recordings without a transcript that says it is ours


def rebuild_ledger(settings: Settings) -> Rebuilt:
    """Put the ledger aside and make one from the inboxes, adopting the transcripts that say they are ours.

    Raises TryLater where another process works on it, or an inbox cannot be read whole.
    """
    from thoth_watch.application.publish_transcript import destination_of
    from thoth_watch.infrastructure.audio.safe_open import sha256_of
    from thoth_watch.infrastructure.ledger import SqlLedger, care, lock_path
    from thoth_watch.infrastructure.publishing import ours_beside
    from thoth_watch.infrastructure.service.clock import SystemClock
    from thoth_watch.infrastructure.service.lock import ProcessLock

    find, now, adopted, left = treatment_finder(settings), SystemClock().now(), 0, 0
    with ProcessLock(lock_path(settings.ledger_url)):
        looks = [inbox_of(inbox).look() for inbox in settings.inboxes]
        for look in looks:
            if look.problem:
                raise TryLater(look.problem)
        old = care.move_aside(settings.ledger_url, now=now)
        with SqlLedger.open(settings.ledger_url) as ledger:
            for file in (file for look in looks for file in look.files):
                treatment = find(file)
                try:
                    sha256 = sha256_of(file)
                except AudioError:  # it changes, or cannot be read: the daemon will say so
                    left += 1
                    continue
                folder, below = destination_of(file, treatment)
                ours = ours_beside(
                    folder, file.path, below=below, pattern=treatment.name, sha256=sha256
                )
                if ours and ledger.adopt(file, sha256=sha256, published=ours, now=now):
                    adopted += 1
                else:
                    left += 1
    return Rebuilt(old, adopted, left)


def figures_finder(settings: Settings) -> Callable[[], Figures]:
    """What looks up the numbers of now."""
    from thoth_watch.infrastructure.ledger import LedgerReader, lock_path
    from thoth_watch.infrastructure.service.holder import holder_of

    def find() -> Figures:
        holder = holder_of(lock_path(settings.ledger_url))
        with LedgerReader.open(settings.ledger_url) as reader:
            return reader.figures(is_working=holder is not None)

    return find


def treatment_finder(settings: Settings) -> Callable[[AudioFile], Treatment]:
    """What the configuration's rules say about a file."""

    def find(file: AudioFile) -> Treatment:
        return treatment_of(file.relative, default=settings.treatment, rules=settings.rules)

    return find


@contextmanager
def build_transcribe_files(settings: Settings, *, progress: Progress) -> Iterator[TranscribeFiles]:
    """Transcription of named files with the configured engine. Raises EngineUnavailable."""
    from thoth_watch.application.transcribe_files import TranscribeFiles
    from thoth_watch.infrastructure.publishing import DurablePublisher, render

    decoder = build_decoder(settings.audio)
    try:
        yield TranscribeFiles(
            engine=build_engine(settings.engine, decoder=decoder),
            decoder=decoder,
            look_at=audio_file,
            publisher=DurablePublisher(),
            render=render,
            progress=progress,
            treatment=settings.treatment,
            provenance=provenance(settings),
        )
    finally:
        decoder.close()
