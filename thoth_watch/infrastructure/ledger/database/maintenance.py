"""Maintenance of a SQLite ledger's file: integrity check, online backup, moving a bad one aside."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path

from sqlalchemy import URL, make_url

from thoth_watch.domain.errors import ConfigError, LedgerBroken, RetryLater
from thoth_watch.infrastructure.ledger.database.connection import lock_path, open_for_reading
from thoth_watch.infrastructure.ledger.database.error_translation import (
    RESTORE_HINT,
    translate_errors,
)

_WAL_SUFFIXES = ("-wal", "-shm")


def ledger_file(url: str | URL) -> Path:
    """Return the ledger's file. Raises ConfigError for a database server, which has its own tools."""
    if make_url(url).get_backend_name() != "sqlite":
        raise ConfigError(
            "ledger.url: names a database server; use its own tools (this command is for SQLite)"
        )
    return Path(str(lock_path(url)).removesuffix(".lock"))


def check_integrity(url: str | URL) -> None:
    """Read every page of the ledger. Raises LedgerBroken with the first problem."""
    path = ledger_file(url)
    engine, location = open_for_reading(url)
    try:
        with translate_errors(location.name), engine.connect() as connection:
            verdict = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar()
            if verdict != "ok":
                raise LedgerBroken(f"ledger {path}: is damaged ({verdict}); {RESTORE_HINT}")
            orphan = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
            if orphan is not None:
                raise LedgerBroken(
                    f"ledger {path}: a row of {orphan[0]} refers to a missing row; {RESTORE_HINT}"
                )
    finally:
        engine.dispose()


def back_up(url: str | URL, target: Path) -> None:
    """Write a consistent copy of the ledger, also while it is in use. Replaces no existing file."""
    path = ledger_file(url)
    check_integrity(url)
    temp = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with (
            translate_errors(str(path)),
            closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(temp)) as copy,
        ):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, without -wal and -shm
        with temp.open("rb+") as file:
            os.fsync(file.fileno())
        os.link(temp, target)
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError as error:
        raise RetryLater(
            f"{target}: exists already and was left alone; name another file"
        ) from error
    except OSError as error:
        raise RetryLater(
            f"{target}: the copy cannot be written ({error.strerror}); name another file"
        ) from error
    finally:
        temp.unlink(missing_ok=True)


def move_aside(url: str | URL, *, now: datetime) -> Path | None:
    """Append the time to the names of the ledger's file and its -wal and -shm files.

    Return the new path of the ledger's file, or None if there is none.
    """
    path = ledger_file(url)
    if not path.exists():
        return None
    aside = path.with_name(f"{path.name}.aside-{now:%Y%m%dT%H%M%S%f}")
    for suffix in ("", *_WAL_SUFFIXES):
        source = path.with_name(path.name + suffix)
        if source.exists():
            source.rename(aside.with_name(aside.name + suffix))
    return aside
