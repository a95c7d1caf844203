"""Signatures of files on disk, and the recording that a person named."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from thoth_watch.domain.audio import AudioFile, Signature
from thoth_watch.domain.errors import FileGone, FileUnreadable, NotAudio


def signature_of(status: os.stat_result) -> Signature:
    """Return the signature of a file from the result of `stat`."""
    return Signature(
        size_bytes=status.st_size,
        modified_ns=status.st_mtime_ns,
        changed_ns=status.st_ctime_ns,
        device=status.st_dev,
        inode=status.st_ino,
    )


def audio_file(path: Path) -> AudioFile:
    """Return the recording that a person named on the command line or from Python, following symlinks.

    Raises FileGone, FileUnreadable or NotAudio (a folder, a device).
    """
    try:
        resolved = path.resolve(strict=True)
        status = resolved.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileGone("no such file") from error
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symlinks
        raise FileUnreadable(f"the path cannot be resolved: {error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise NotAudio("not a plain file")
    return AudioFile(inbox=resolved.parent, path=resolved, signature=signature_of(status))
