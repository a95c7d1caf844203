"""Detect file systems that do not report other machines' changes: network and FUSE file systems."""

from __future__ import annotations

import os
from pathlib import Path

_NETWORK_FILE_SYSTEMS = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "vboxsf",
    "afs",
    "ceph",
    "glusterfs",
    "davfs",
}


def file_system_of(folder: Path, *, mounts: str | None = None) -> str:
    """Return the type of the file system of a folder, such as `ext4` or `nfs4`; "" if unknown.

    mounts: the text of /proc/self/mountinfo; None: read that file. Source: proc(5).
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
    target = os.path.realpath(folder)
    longest, kind = -1, ""
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        parts = fields.split()
        if len(parts) < 5 or not rest:
            continue
        point = parts[4].encode().decode("unicode_escape")  # \\040 is a space
        is_inside = target == point or target.startswith(point.rstrip("/") + "/")
        if is_inside and len(point) >= longest:
            longest, kind = len(point), rest.split()[0]
    return kind


def is_network_or_fuse(file_system: str) -> bool:
    """Return True if a file system does not report changes made elsewhere and must be polled."""
    return file_system in _NETWORK_FILE_SYSTEMS or file_system.startswith("fuse")


def must_poll(folder: Path, watcher: str) -> bool:
    """Return True if a folder is scanned at intervals only: `polling`, or `auto` without reliable events."""
    return watcher == "polling" or (
        watcher == "auto" and is_network_or_fuse(file_system_of(folder))
    )
