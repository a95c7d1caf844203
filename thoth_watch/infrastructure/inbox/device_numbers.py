"""Device numbers of files on network shares: each machine assigns its own."""

from __future__ import annotations

import os
from dataclasses import replace

from thoth_watch.domain.audio import AudioFile


def with_local_device_number(file: AudioFile) -> AudioFile:
    """Return the file with the device number that it has on this machine.

    Each client of a network share assigns its own device numbers; size, times and inode come from
    the server. A file that is missing or is another version is returned unchanged: opening it then
    reports the difference.
    """
    try:
        status = os.lstat(file.path)
    except OSError:
        return file
    local = replace(file.signature, device=status.st_dev)
    found = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    known = (local.size_bytes, local.modified_ns, local.changed_ns, local.inode)
    return replace(file, signature=local) if found == known else file
