"""A shared folder's file as this machine sees it."""

from __future__ import annotations

import os
from dataclasses import replace

from thoth_watch.domain.audio import AudioFile


def with_local_device_number(file: AudioFile) -> AudioFile:
    """The same version with the device number that it has on this machine.

    Each client of a network share numbers its file systems itself; size, times and inode are the
    server's. A file that is not that version, or not here, is as it was: whoever opens it finds out.
    """
    try:
        facts = os.lstat(file.path)
    except OSError:
        return file
    here = replace(file.signature, device=facts.st_dev)
    found = (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)
    known = (here.size_bytes, here.modified_ns, here.changed_ns, here.inode)
    return replace(file, signature=here) if found == known else file
