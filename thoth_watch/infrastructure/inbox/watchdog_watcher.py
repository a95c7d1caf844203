"""Rings when something may have changed in an inbox, and names it. Nothing depends on it: looks happen anyway."""

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

DEBOUNCE_S = 0.2  # after an event, for the others that come with it

_WATCHED_EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileModifiedEvent,
    FileClosedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]  # not "opened" and "closed unchanged": our own reading would ring


class _EventHandler(FileSystemEventHandler):
    def __init__(
        self, pending: threading.Event, changed_paths: ChangedPaths, suffixes: frozenset[str]
    ) -> None:
        self._pending = pending
        self._changed_paths = changed_paths
        self._suffixes = suffixes

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Ring for folders and recordings, not for the transcripts that we write."""
        is_flood = self._changed_paths.count_event()
        source, target = (self._audio(name) for name in (event.src_path, event.dest_path))
        is_new = isinstance(event, FileCreatedEvent | FileModifiedEvent | FileClosedEvent)
        if event.is_directory or (source and not is_new):
            self._changed_paths.mark_all_changed()  # folders with what is in them, and what is gone
        elif path := target or source:
            self._changed_paths.add(path)
        elif not is_flood:
            return
        self._pending.set()

    def _audio(self, name: bytes | str) -> Path | None:
        path = os.fsdecode(name)
        return Path(path) if os.path.splitext(path)[1].lower() in self._suffixes else None


class WatchdogWatcher:
    """watchdog's inotify observer over some folders; plain waiting where events cannot be trusted.

    A use of it opens and closes it: `with WatchdogWatcher(...) as watcher: watcher.wait(60)`.
    """

    def __init__(
        self, folders: Iterable[tuple[Path, bool, str]], *, suffixes: Iterable[str]
    ) -> None:
        """folders: (path, whether recursive, watcher: auto, inotify or polling) of each inbox."""
        self._pending, self._changed_paths = threading.Event(), ChangedPaths()
        self._wake_requested = threading.Event()
        self._suffixes = frozenset("." + s.lower().lstrip(".") for s in suffixes)
        self._folders = tuple((Path(os.path.abspath(p)), deep, how) for p, deep, how in folders)
        self._observer: BaseObserver | None = None
        self._watched_identities: dict[
            Path, tuple[int, int]
        ] = {}  # device and inode of each watched folder
        self._has_warned = False
        self._is_partial = False  # the kernel's limit is smaller than the inbox has folders

    def __enter__(self) -> WatchdogWatcher:
        self.check()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_observer()

    @property
    def is_polling(self) -> bool:
        """Whether some folder must be looked at by the clock, as no event can be trusted there."""
        is_silent = any(must_poll(path, watcher) for path, _, watcher in self._folders)
        return is_silent or self._is_partial

    def wait(self, timeout_s: float) -> bool:
        """Block until a ring or the end of the time; whether it rang.

        After a ring it gathers what comes with it, so that a flood of events costs few looks.
        """
        rang = self._pending.wait(max(0.0, timeout_s))
        if rang:
            self._wake_requested.wait(DEBOUNCE_S)
        self._wake_requested.clear()
        self._pending.clear()
        return rang

    def changed_paths(self) -> frozenset[Path] | None:
        """The recordings that events named since this was asked last; None: anything may have changed."""
        return self._changed_paths.take()

    def wake(self) -> None:
        """End the wait from another thread or a signal handler."""
        self._wake_requested.set()
        self._pending.set()

    def check(self) -> None:
        """Put the observer in place, or a new one where it has died without a word."""
        if self._observer is not None:
            if self._is_healthy(self._observer):
                return
            log.info("the watch on the inbox ended and begins anew", extra={"event": "watch_anew"})
        self._stop_observer()
        wanted = [
            (path, recursive)
            for path, recursive, watcher in self._folders
            if not must_poll(path, watcher)
        ]
        if not wanted:
            return
        try:
            self._observer = self._start_observer(wanted)
        except OSError as error:
            self._warn_once(error)
            return
        self._has_warned = False
        self._changed_paths.mark_all_changed()  # what came while nobody watched
        self._pending.set()

    def _start_observer(self, wanted: list[tuple[Path, bool]]) -> BaseObserver:
        observer, n_folders = Observer(), count_folders(wanted)
        self._watched_identities = {path: _identity(path) for path, _ in wanted}
        try:
            for path, recursive in wanted:
                handler = _EventHandler(self._pending, self._changed_paths, self._suffixes)
                observer.schedule(
                    handler, str(path), recursive=recursive, event_filter=_WATCHED_EVENTS
                )
            observer.start()
        except OSError:
            observer.stop()  # it holds an inotify descriptor, and other folders' threads run
            raise
        n_watches = count_watches()
        was_partial, self._is_partial = self._is_partial, (n_watches or n_folders) < n_folders
        if self._is_partial and not was_partial:
            log.warning(
                "the kernel watches too few folders; the inbox is looked at by the clock, too: raise"
                " fs.inotify.max_user_watches, or set inbox.watcher: polling",
                extra={"event": "watch_limit", "folders": n_folders, "watched": n_watches},
            )
        return observer

    def _is_healthy(self, observer: BaseObserver) -> bool:
        # A removed root ends its emitter and leaves the observer alive; one that was renamed,
        # unmounted or mounted over goes on being watched where nobody drops anything.
        return (
            observer.is_alive()
            and bool(observer.emitters)
            and all(e.is_alive() for e in observer.emitters)
            and all(_identity(path) == known for path, known in self._watched_identities.items())
        )

    def _warn_once(self, error: OSError) -> None:
        if not self._has_warned:
            log.warning(
                "cannot watch the inbox for events; it is looked at by the clock instead",
                extra={"event": "watch_failed", "error": str(error)},
            )
        self._has_warned = True

    def _stop_observer(self) -> None:
        observer, self._observer = self._observer, None
        if observer is not None and observer.is_alive():
            observer.stop()
            observer.join(timeout=5.0)


def _identity(path: Path) -> tuple[int, int]:
    """Device and inode of what lies there now; zeros where nothing does."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino
