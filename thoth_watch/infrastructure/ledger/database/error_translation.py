"""Translation of database driver errors into the program's own errors."""

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

RESTORE_HINT = "restore it from a backup, or move it aside and start again"
# PostgreSQL: this process was suspended in a transaction, and the server ended its session
IDLE_IN_TRANSACTION_TIMEOUT = "25P03"
# by the prefix of SQLite's error name
SQLITE_ERRORS: dict[str, tuple[type[ThothError], str]] = {
    "SQLITE_READONLY_DBMOVED": (LedgerBroken, "was deleted or replaced while open; restart"),
    "SQLITE_FULL": (RetryLater, "the disk is full; free some space"),
    "SQLITE_IOERR": (RetryLater, "the disk reported an I/O error; check its health and free space"),
    "SQLITE_BUSY": (RetryLater, "another program holds a lock on it; close that program"),
    "SQLITE_LOCKED": (RetryLater, "another program holds a lock on it; close that program"),
    "SQLITE_PROTOCOL": (RetryLater, "another program holds a lock on it; close that program"),
    "SQLITE_READONLY": (RetryLater, "cannot be written; check its owner, mode and file system"),
    "SQLITE_CANTOPEN": (RetryLater, "cannot be opened; check the folder, its owner and mode"),
    "SQLITE_PERM": (RetryLater, "cannot be opened; check the folder, its owner and mode"),
    "SQLITE_NOMEM": (RetryLater, "out of memory; free some memory"),
    "SQLITE_CORRUPT": (LedgerBroken, f"is damaged; {RESTORE_HINT}"),
    "SQLITE_NOTADB": (LedgerBroken, f"is not a SQLite database; {RESTORE_HINT}"),
    "SQLITE_CONSTRAINT": (LedgerBroken, "rejected an inconsistent change (a bug)"),
}


@contextmanager
def translate_errors(location: str) -> Iterator[None]:
    """Turn driver errors into LedgerBroken or RetryLater with the ledger's name, the cause and the fix."""
    try:
        yield
    except DBAPIError as error:
        raise _translate_driver_error(error, location) from error
    except StatementError as error:  # a value of a wrong type: a programming error
        raise (error.orig or error) from error
    except sqlite3.Error as error:
        raise _translate_sqlite_error(error, location) from error


def _translate_driver_error(error: DBAPIError, location: str) -> ThothError:
    if isinstance(error.orig, sqlite3.Error):
        return _translate_sqlite_error(error.orig, location)
    if isinstance(error, IntegrityError):
        return LedgerBroken(f"ledger {location}: rejected a change (a bug): {error.orig}")
    sqlstate = getattr(error.orig, "sqlstate", None)
    if (
        isinstance(error, OperationalError | InterfaceError)
        or sqlstate == IDLE_IN_TRANSACTION_TIMEOUT
    ):
        return RetryLater(f"ledger {location}: the database does not answer: {error.orig}")
    return LedgerBroken(f"ledger {location}: {error.orig}")


def _translate_sqlite_error(error: sqlite3.Error, location: str) -> ThothError:
    name = getattr(error, "sqlite_errorname", "")
    for prefix, (kind, message) in SQLITE_ERRORS.items():
        if name.startswith(prefix):
            return kind(f"ledger {location}: {message} ({error})")
    return LedgerBroken(
        f"ledger {location}: {error} ({name or type(error).__name__}); {RESTORE_HINT}"
    )
