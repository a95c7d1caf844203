"""The watched folder: listing it, hearing that it changed, and asking about one file in it."""

from thoth_watch.infrastructure.inbox.folder import FolderInbox
from thoth_watch.infrastructure.inbox.junk import JUNK_PATTERNS
from thoth_watch.infrastructure.inbox.watchdog_watcher import WatchdogWatcher

__all__ = ["JUNK_PATTERNS", "FolderInbox", "WatchdogWatcher"]
