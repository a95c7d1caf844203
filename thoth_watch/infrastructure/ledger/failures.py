"""What a database driver's errors mean to the rest of the program."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    StatementError,
)

from thoth_watch.domain.errors import LedgerBroken, RetryLater, ThothError

RESTORE = "restore it from a backup, or move it aside and start again"
STOOD_STILL = (
    "25P03"  # PostgreSQL: this process was stopped in a transaction, and its session ended
)
WAYS_OUT: dict[
    str, tuple[type[ThothError], str]
] = {  # SQLite's own error names, by their beginning
    "SQLITE_READONLY_DBMOVED": (LedgerBroken, "was deleted or replaced while open; restart"),
    "SQLITE_FULL": (RetryLater, "the disk is full; make room"),
    "SQLITE_IOERR": (RetryLater, "the disk gave an I/O error; look at its health and free space"),
    "SQLITE_BUSY": (RetryLater, "another program keeps it locked; close that program"),
    "SQLITE_LOCKED": (RetryLater, "another program keeps it locked; close that program"),
    "SQLITE_PROTOCOL": (RetryLater, "another program keeps it locked; close that program"),
    "SQLITE_READONLY": (RetryLater, "cannot be written; look at its owner, mode and file system"),
    "SQLITE_CANTOPEN": (RetryLater, "cannot be opened; look at the folder, its owner and mode"),
    "SQLITE_PERM": (RetryLater, "cannot be opened; look at the folder, its owner and mode"),
    "SQLITE_NOMEM": (RetryLater, "there is no memory left"),
    "SQLITE_CORRUPT": (LedgerBroken, f"is damaged; {RESTORE}"),
    "SQLITE_NOTADB": (LedgerBroken, f"is not a SQLite database; {RESTORE}"),
    "SQLITE_CONSTRAINT": (LedgerBroken, "refused a change that would contradict it (a bug)"),
}


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn a driver's error into LedgerBroken or TryLater that names the ledger and the way out."""
    try:
        yield
    except DBAPIError as error:
        raise _meaning(error, place) from error
    except StatementError as error:  # a value that no database takes: a programming error
        raise (error.orig or error) from error
    except sqlite3.Error as error:
        raise _sqlite_meaning(error, place) from error


def _meaning(error: DBAPIError, place: str) -> ThothError:
    if isinstance(error.orig, sqlite3.Error):
        return _sqlite_meaning(error.orig, place)
    if isinstance(error, IntegrityError):
        return LedgerBroken(f"ledger {place}: refused a change (a bug): {error.orig}")
    sqlstate = getattr(error.orig, "sqlstate", None)
    if isinstance(error, OperationalError | InterfaceError) or sqlstate == STOOD_STILL:
        return RetryLater(f"ledger {place}: the database does not answer: {error.orig}")
    return LedgerBroken(f"ledger {place}: {error.orig}")


def _sqlite_meaning(error: sqlite3.Error, place: str) -> ThothError:
    name = getattr(error, "sqlite_errorname", "")
    for beginning, (kind, words) in WAYS_OUT.items():
        if name.startswith(beginning):
            return kind(f"ledger {place}: {words} ({error})")
    return LedgerBroken(f"ledger {place}: {error} ({name or type(error).__name__}); {RESTORE}")
