"""Which process holds a lock file, asked without touching the lock."""

from __future__ import annotations

from pathlib import Path


def lock_holder_pid(path: Path, *, locks: str | None = None) -> int | None:
    """The process that holds the flock of a file; None if nobody does or it cannot be told.

    A test lock would get in the way of a daemon that starts just now.
    locks: the text of /proc/locks, which is read when it is not given. Source: proc(5).
    """
    try:
        inode = path.stat().st_ino
        text = Path("/proc/locks").read_text(encoding="ascii") if locks is None else locks
    except OSError:
        return None
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 6 and fields[1] == "FLOCK" and fields[5].rsplit(":", 1)[-1] == str(inode):
            return int(fields[4])
    return None
