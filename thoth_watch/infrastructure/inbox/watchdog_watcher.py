"""Watch inboxes for file system events. Events only save time: scans also run at intervals."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from thoth_watch.infrastructure.inbox.changed_paths import ChangedPaths
from thoth_watch.infrastructure.inbox.filesystem import must_poll
from thoth_watch.infrastructure.inbox.inotify_watches import count_folders, count_watches

log = logging.getLogger(__name__)

DEBOUNCE_S = 0.2  # time after an event to collect the events that follow it

_WATCHED_EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileModifiedEvent,
    FileClosedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]  # not "opened" and "closed unchanged": this program's own reading would cause events


class _EventHandler(FileSystemEventHandler):
    def __init__(
        self, pending: threading.Event, changed_paths: ChangedPaths, suffixes: frozenset[str]
    ) -> None:
        self._pending = pending
        self._changed_paths = changed_paths
        self._suffixes = suffixes

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Signal changes of folders and recordings, not of the transcripts that this program writes."""
        is_flood = self._changed_paths.count_event()
        source, target = (self._audio(name) for name in (event.src_path, event.dest_path))
        is_new = isinstance(event, FileCreatedEvent | FileModifiedEvent | FileClosedEvent)
        if event.is_directory or (source and not is_new):
            self._changed_paths.mark_all_changed()  # a folder's contents are unknown, and a path may be gone
        elif path := target or source:
            self._changed_paths.add(path)
        elif not is_flood:
            return
        self._pending.set()

    def _audio(self, name: bytes | str) -> Path | None:
        path = os.fsdecode(name)
        return Path(path) if os.path.splitext(path)[1].lower() in self._suffixes else None


class WatchdogWatcher:
    """Watches folders with watchdog's inotify observer; only waits where events are unreliable.

    Use it as a context manager: `with WatchdogWatcher(...) as watcher: watcher.wait(60)`.
    """

    def __init__(
        self, folders: Iterable[tuple[Path, bool, str]], *, suffixes: Iterable[str]
    ) -> None:
        """folders: (path, is recursive, watcher: auto, inotify or polling) of each inbox."""
        self._pending, self._changed_paths = threading.Event(), ChangedPaths()
        self._wake_requested = threading.Event()
        self._suffixes = frozenset("." + s.lower().lstrip(".") for s in suffixes)
        self._folders = tuple(
            (Path(os.path.abspath(path)), recursive, watcher)
            for path, recursive, watcher in folders
        )
        self._observer: BaseObserver | None = None
        # Device and inode of each watched folder.
        self._watched_identities: dict[Path, tuple[int, int]] = {}
        self._has_warned = False
        self._is_partial = False  # the kernel's limit is below the number of folders

    def __enter__(self) -> WatchdogWatcher:
        self.check()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_observer()

    @property
    def is_polling(self) -> bool:
        """True if a folder must be scanned at intervals because its events are unreliable."""
        is_polled = any(must_poll(path, watcher) for path, _, watcher in self._folders)
        return is_polled or self._is_partial

    def wait(self, timeout_s: float) -> bool:
        """Block until an event or `wake`, at most `timeout_s`; return True unless it timed out.

        Waits `DEBOUNCE_S` longer after an event, so that a flood of events causes few scans.
        """
        has_event = self._pending.wait(max(0.0, timeout_s))
        if has_event:
            self._wake_requested.wait(DEBOUNCE_S)
        self._wake_requested.clear()
        self._pending.clear()
        return has_event

    def changed_paths(self) -> frozenset[Path] | None:
        """Return the recordings named by events since the last call; None: anything may have changed."""
        return self._changed_paths.take()

    def wake(self) -> None:
        """End the wait from another thread or a signal handler."""
        self._wake_requested.set()
        self._pending.set()

    def check(self) -> None:
        """Start the observer; restart it if it has died or a folder was replaced."""
        if self._observer is not None:
            if self._is_healthy(self._observer):
                return
            log.info("file watcher stopped; restarting it", extra={"event": "watch_restarted"})
        self._stop_observer()
        watched = [
            (path, recursive)
            for path, recursive, watcher in self._folders
            if not must_poll(path, watcher)
        ]
        if not watched:
            return
        try:
            self._observer = self._start_observer(watched)
        except OSError as error:
            self._warn_once(error)
            return
        self._has_warned = False
        self._changed_paths.mark_all_changed()  # changes before the start had no events
        self._pending.set()

    def _start_observer(self, watched: list[tuple[Path, bool]]) -> BaseObserver:
        observer, n_folders = Observer(), count_folders(watched)
        self._watched_identities = {path: _identity(path) for path, _ in watched}
        try:
            for path, recursive in watched:
                handler = _EventHandler(self._pending, self._changed_paths, self._suffixes)
                observer.schedule(
                    handler, str(path), recursive=recursive, event_filter=_WATCHED_EVENTS
                )
            observer.start()
        except OSError:
            observer.stop()  # frees its inotify descriptor and stops the threads of other folders
            raise
        n_watches = count_watches()
        was_partial, self._is_partial = self._is_partial, (n_watches or n_folders) < n_folders
        if self._is_partial and not was_partial:
            log.warning(
                "the kernel watches too few folders; the inbox is also scanned at intervals: raise"
                " fs.inotify.max_user_watches, or set inbox.watcher: polling",
                extra={"event": "watch_limit", "folders": n_folders, "watched": n_watches},
            )
        return observer

    def _is_healthy(self, observer: BaseObserver) -> bool:
        # If the root is deleted, its emitter ends but the observer lives on. If the root is renamed,
        # unmounted or mounted over, the observer keeps watching the old folder.
        return (
            observer.is_alive()
            and bool(observer.emitters)
            and all(e.is_alive() for e in observer.emitters)
            and all(_identity(path) == known for path, known in self._watched_identities.items())
        )

    def _warn_once(self, error: OSError) -> None:
        if not self._has_warned:
            log.warning(
                "cannot watch the inbox for events; scanning it at intervals instead",
                extra={"event": "watch_failed", "error": str(error)},
            )
        self._has_warned = True

    def _stop_observer(self) -> None:
        observer, self._observer = self._observer, None
        if observer is not None and observer.is_alive():
            observer.stop()
            observer.join(timeout=5.0)


def _identity(path: Path) -> tuple[int, int]:
    """Return device and inode of a path; zeros if it does not exist."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_dev, status.st_ino
