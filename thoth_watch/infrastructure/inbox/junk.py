"""Names that are never recordings: hidden files, partial uploads, leftovers of sync tools and file systems."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate

# Source: Syncthing lib/fs/tempname.go, Firefox, Chrome, FileZilla, WinSCP, Synology, macOS and Windows.
JUNK_PATTERNS = (
    ".*",  # hidden; .syncthing.*.tmp, ._*, .DS_Store, .stfolder, .stversions, .Trash*, .nfs*, .fuse_hidden*
    "~syncthing~*",
    "*.sync-conflict-*",
    "~$*",
    "*.part",
    "*.partial",
    "*.crdownload",
    "*.download",
    "*.tmp",
    "*.temp",
    "*.filepart",
    "*.!sync",
    "*.icloud",
    "*.aria2",
    "*.opdownload",
    "Thumbs.db",
    "desktop.ini",
    "@eaDir",
    "@SynoEAStream",
    "$RECYCLE.BIN",
    "#recycle",
    "__MACOSX",
    "lost+found",
)


class JunkNames:
    """The set of ignored names: glob patterns, case-insensitive."""

    def __init__(self, more: Iterable[str] = ()) -> None:
        patterns = (*JUNK_PATTERNS, *more)
        self._regex = re.compile("|".join(translate(p.lower()) for p in patterns), re.DOTALL)

    def __contains__(self, name: str) -> bool:
        return self._regex.match(name.lower()) is not None
