"""The tests that `check` runs, with a fix for each problem that they find."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thoth_watch import __version__
from thoth_watch.domain.errors import (
    EXIT_OK,
    EXIT_RETRY_LATER,
    EXIT_UNAVAILABLE,
    RetryLater,
    ThothError,
)
from thoth_watch.domain.file_options import NEXT_TO_SOURCE

if TYPE_CHECKING:
    from thoth_watch.infrastructure.settings import Settings

LIBRARIES = ("torch", "transformers", "accelerate", "soundfile", "av", "sqlalchemy")
LOW_DISK_SPACE_BYTES = 2 * 2**30  # one hour of audio is 230 MB of samples
MAX_CLOCK_SKEW = timedelta(minutes=5)  # between machines that share a folder
WATCH_LIMIT = Path("/proc/sys/fs/inotify/max_user_watches")


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one test.

    A fix means that something should be changed; an exit code means that the service cannot start.
    """

    what: str
    detail: str
    fix: str = ""
    exit_code: int = EXIT_OK

    @property
    def level(self) -> str:
        """`ok`, `warn` (a problem that does not prevent a start) or `fail`."""
        return "fail" if self.exit_code else "warn" if self.fix else "ok"

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as printed with `--json`."""
        return {
            "what": self.what,
            "ok": not self.exit_code,
            "level": self.level,
            "said": self.detail,
            "cure": self.fix,
        }


def run_checks(settings: Settings, *, with_engine: bool) -> Iterator[Finding]:
    """Yield a finding for everything needed to start, cheap tests first."""
    yield _check_versions()
    for inbox in settings.inboxes:
        yield from _check_inbox(inbox, settings)
    yield from _check_outputs(settings)
    yield from _check_archives(settings)
    yield from _check_ledger(settings)
    yield from _check_broker(settings)
    yield from _check_disk_space(settings)
    yield _check_formats()
    if with_engine:
        yield from _check_engine(settings)
        yield from _check_diarization(settings)


def _check_versions() -> Finding:
    python = ".".join(map(str, sys.version_info[:3]))
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return Finding("versions", f"thoth-watch {__version__}, Python {python}, {libraries}")


def _check_inbox(inbox: Any, settings: Settings) -> Iterator[Finding]:
    from thoth_watch.bootstrap import build_inbox
    from thoth_watch.infrastructure.inbox.filesystem import file_system_of, must_poll

    what, path = f"inbox {inbox.path}", inbox.path
    scan = build_inbox(inbox).scan()
    if not path.is_dir():
        fix = f"mkdir -p {path}, mount it, or set inbox.path"
        yield Finding(what, scan.problem or "not a folder", fix, EXIT_RETRY_LATER)
        return
    if scan.problem:
        fix = "give this user (see `id`) read permission there"
        yield Finding(what, scan.problem, fix, EXIT_RETRY_LATER)
        return
    if settings.file_options.output_dir == NEXT_TO_SOURCE and not os.access(path, os.W_OK):
        detail = "not writable: transcripts cannot be written next to the recordings"
        fix = "give this user write permission there, or set transcript.output_dir"
        yield Finding(what, detail, fix, EXIT_RETRY_LATER)
        return
    is_polling = must_poll(path, inbox.watcher)
    watcher = "scanned at intervals" if is_polling else "watched with inotify"
    file_system = file_system_of(path) or "an unknown file system"
    yield Finding(what, f"{len(scan.files)} recordings on {file_system}, {watcher}")
    if not is_polling:
        yield from _check_inotify_limit(inbox)
    yield from _check_clock(
        f"clock, files in {path}", [f.signature.modified_ns for f in scan.files]
    )


def _check_inotify_limit(inbox: Any) -> Iterator[Finding]:
    """Yield a finding on the number of inotify watches; each folder needs one."""
    try:
        allowed = int(WATCH_LIMIT.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return
    folders = 1 + (sum(len(names) for _, names, _ in os.walk(inbox.path)) if inbox.recursive else 0)
    detail = f"needs {folders} of the {allowed} watches that this user may have"
    fix = f"sysctl fs.inotify.max_user_watches={4 * folders}, or set inbox.watcher: polling"
    yield Finding("inotify", detail, fix if folders > allowed // 2 else "")


def _check_clock(what: str, modified_ns: list[int]) -> Iterator[Finding]:
    """Yield a finding if a time is in the future: then a clock is wrong, here or where the files were written."""
    newest_ns = max(modified_ns, default=0)
    ahead = timedelta(seconds=newest_ns / 1e9 - datetime.now(UTC).timestamp())
    if ahead > MAX_CLOCK_SKEW:
        detail = f"the newest time is {ahead // timedelta(minutes=1)} minutes in the future"
        fix = "set the clock of this machine (timedatectl set-ntp true) or of the machine that wrote the files"
        yield Finding(what, detail, fix)


def _check_outputs(settings: Settings) -> Iterator[Finding]:
    changed = {str(dict(rule.changes).get("output_dir", "")) for rule in settings.rules}
    for name in sorted({settings.file_options.output_dir, *changed} - {"", NEXT_TO_SOURCE}):
        folder, what = Path(name), f"output {name}"
        nearest = _nearest_existing(folder)
        if not os.access(nearest, os.W_OK):
            fix = "give this user write permission, or set transcript.output_dir"
            yield Finding(what, f"{nearest} is not writable for this user", fix, EXIT_RETRY_LATER)
            continue
        inside = [i.path for i in settings.inboxes if i.path.is_relative_to(folder)]
        around = [i.path for i in settings.inboxes if folder.is_relative_to(i.path)]
        if inside or around:
            detail = (
                f"contains the inbox {inside[0]}" if inside else f"is inside the inbox {around[0]}"
            )
            fix = "set transcript.output_dir: source, or a folder outside every inbox"
            yield Finding(what, detail, fix)
        else:
            yield Finding(what, "writable")


def _check_archives(settings: Settings) -> Iterator[Finding]:
    for inbox in settings.inboxes:
        if inbox.after is None:
            continue
        nearest = _nearest_existing(inbox.after)
        what = f"finished recordings go to {inbox.after}"
        locked = [folder for folder in (nearest, inbox.path) if not os.access(folder, os.W_OK)]
        if locked:
            detail = f"{locked[0]} is not writable for this user"
            fix = "give this user write permission in both folders, or set inbox.after: leave"
            yield Finding(what, detail, fix, EXIT_RETRY_LATER)
        elif inbox.path.exists() and nearest.stat().st_dev != inbox.path.stat().st_dev:
            yield Finding(what, "another file system: they are copied, then removed from the inbox")
        else:
            yield Finding(what, "renamed")


def _check_ledger(settings: Settings) -> Iterator[Finding]:
    from thoth_watch.infrastructure.inbox.filesystem import file_system_of
    from thoth_watch.infrastructure.ledger.reading import LedgerReader, lock_path
    from thoth_watch.infrastructure.service.lock_holder import lock_holder_pid

    url = str(settings.origins["ledger.url"].value)  # without its password
    lock = lock_path(settings.ledger_url)
    nearest = _nearest_existing(lock.parent)
    if not os.access(nearest, os.W_OK):
        fix = "give this user write permission, or set ledger.url"
        yield Finding("ledger", f"{nearest} is not writable for this user", fix, EXIT_RETRY_LATER)
        return
    yield from check_ledger_file_system(url, file_system=file_system_of(nearest))
    try:
        with LedgerReader.open(settings.ledger_url) as reader:
            run = reader.last_run()
    except RetryLater:
        yield Finding("ledger", f"{url} does not exist yet; the first run creates it")
        return
    except ThothError as error:
        yield Finding("ledger", str(error), "follow the message above", error.exit_code)
        return
    yield Finding("ledger", url)
    if run is not None:
        started_ns = int(run["started_at"].timestamp() * 1e9)
        yield from _check_clock("clock, in the ledger", [started_ns])
    if (process := lock_holder_pid(lock)) is not None:
        fix = "stop it before you start another one; only one process at a time can use a ledger"
        yield Finding("service", f"process {process} is using this ledger", fix)


def _check_broker(settings: Settings) -> Iterator[Finding]:
    if not settings.dispatch.is_celery:
        return
    from thoth_watch.bootstrap import build_wire

    url = str(settings.origins["dispatch.broker"].value)  # without its password
    depth = build_wire(settings).depth()
    if depth is None:
        fix = "start it, let this machine reach it, or set dispatch.broker"
        yield Finding("broker", f"{url} does not answer", fix, EXIT_RETRY_LATER)
    else:
        yield Finding("broker", f"{url}, {depth} batches queued")


def check_ledger_file_system(url: str, *, file_system: str) -> Iterator[Finding]:
    """Yield a finding if SQLite is on a network share, where its locks are unreliable.

    Source: sqlite.org/wal.html.
    """
    from thoth_watch.infrastructure.inbox.filesystem import is_network_or_fuse

    if url.startswith("sqlite") and is_network_or_fuse(file_system):
        detail = f"{url} is on {file_system}: SQLite's locks are unreliable on a network share"
        yield Finding("ledger", detail, "set ledger.url to a file on a local disk")


def _check_disk_space(settings: Settings) -> Iterator[Finding]:
    from thoth_watch.infrastructure.ledger.reading import lock_path

    places = {
        "ledger": _nearest_existing(lock_path(settings.ledger_url).parent),
        "samples (TMPDIR)": Path(tempfile.gettempdir()),
    }
    for name, folder in places.items():
        free = shutil.disk_usage(folder).free
        detail = f"{free / 2**30:.1f} GiB in {folder}"
        yield Finding(
            f"room for {name}",
            detail,
            "free some space, or configure another folder" if free < LOW_DISK_SPACE_BYTES else "",
        )


def _check_formats() -> Finding:
    import av
    import soundfile

    codecs = sum(1 for name in av.codecs_available if _is_audio_decoder(av, name))
    native = ", ".join(sorted(name.lower() for name in soundfile.available_formats())[:4])
    detail = f"libsndfile {soundfile.__libsndfile_version__} ({native}...), FFmpeg with {codecs} audio codecs"
    return Finding("formats", detail)


def _is_audio_decoder(av: Any, name: str) -> bool:
    try:
        return bool(av.Codec(name, "r").type == "audio")
    except ValueError:  # this codec has no decoder
        return False


def _check_engine(settings: Settings) -> Iterator[Finding]:
    from thoth_watch.bootstrap import build_engine
    from thoth_watch.infrastructure.models import suggest_name

    try:
        engine = build_engine(settings.engine)
        used = engine.placement
        detail = f"{used.engine} with {used.model} on {used.device} ({used.device_name}) in {used.precision}"
        fix = "; ".join(f"instead of {f.requested}: {f.reason}" for f in engine.fallbacks)
        yield Finding("engine", detail, fix)
    except ThothError as error:
        near = suggest_name(settings.engine.model)
        fix = f"did you mean {near}?" if near else "`thoth-watch model list` shows the known models"
        yield Finding("engine", str(error), fix, EXIT_UNAVAILABLE)


def _check_diarization(settings: Settings) -> Iterator[Finding]:
    from thoth_watch.bootstrap import build_diarization

    try:
        diarization = build_diarization(settings)
    except ThothError as error:
        fix = "or turn diarization off: diarize.enabled: false, and no rule with diarize"
        yield Finding("speakers", str(error), fix, error.exit_code)
        return
    if diarization is not None:
        yield Finding("speakers", f"labeled by {diarization.name}")


def _nearest_existing(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())
