"""Which file system a folder lies on: network and user-space ones never report what others write."""

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
    """The type of the file system that holds a folder, such as `ext4` or `nfs4`; "" if unknown.

    mounts: the text of /proc/self/mountinfo, which is read when it is not given. Source: proc(5).
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
    target = os.path.realpath(folder)
    best, answer = -1, ""
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        parts = fields.split()
        if len(parts) < 5 or not rest:
            continue
        point = parts[4].encode().decode("unicode_escape")  # \\040 is a space
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:
            best, answer = len(point), rest.split()[0]
    return answer


def is_network_or_fuse(file_system: str) -> bool:
    """Whether changes made elsewhere go unreported there, so that it must be polled."""
    return file_system in _NETWORK_FILE_SYSTEMS or file_system.startswith("fuse")


def must_poll(folder: Path, watcher: str) -> bool:
    """Whether a folder is looked at by the clock: asked for, or `auto` where no event can be trusted."""
    return watcher == "polling" or (
        watcher == "auto" and is_network_or_fuse(file_system_of(folder))
    )
