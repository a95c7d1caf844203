"""The watched folder: list it, receive its file system events, and check single files in it."""

from thoth_watch.infrastructure.inbox.folder import FolderInbox
from thoth_watch.infrastructure.inbox.junk import JUNK_PATTERNS
from thoth_watch.infrastructure.inbox.watchdog_watcher import WatchdogWatcher

__all__ = ["JUNK_PATTERNS", "FolderInbox", "WatchdogWatcher"]
