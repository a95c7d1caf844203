"""Find the process that holds a lock file without taking the lock."""

from __future__ import annotations

from pathlib import Path


def lock_holder_pid(path: Path, *, locks: str | None = None) -> int | None:
    """Return the id of the process that holds the flock of a file; None if there is none or it is unknown.

    Trying the lock instead could make a daemon fail that starts at this moment.
    locks: the text of /proc/locks; None: read that file. Source: proc(5).
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
