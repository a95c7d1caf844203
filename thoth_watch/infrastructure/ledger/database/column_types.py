"""Column types for values that databases store differently: times, paths, text, large numbers, JSON."""

from __future__ import annotations

import json
import math
import os
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger, DateTime, LargeBinary, Numeric, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

TWO_TO_63, TWO_TO_64 = 1 << 63, 1 << 64


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time; on SQLite `2026-11-23 13:37:31.000000Z`, which sorts against datetime('now')."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return text on SQLite, timestamp with time zone elsewhere."""
        kind: TypeEngine[Any] = Text() if dialect.name == "sqlite" else DateTime(timezone=True)
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Convert to UTC. Raises ValueError for a naive time, a programming error."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r}: times in the ledger need a time zone")
        return _to_sortable_text(value) if dialect.name == "sqlite" else value.astimezone(UTC)

    def process_result_value(
        self,
        value: datetime | str | None,
        dialect: Dialect,  # noqa: ARG002
    ) -> datetime | None:
        """Convert to an aware UTC time."""
        if value is None:
            return None
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


class RawPath(TypeDecorator[Path]):
    """A path as the file system's bytes, which the program reads back whatever their encoding."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Path | None, dialect: Dialect) -> bytes | None:  # noqa: ARG002
        """Convert to bytes."""
        return None if value is None else os.fsencode(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Path | None:  # noqa: ARG002
        """Convert to a path with surrogate escapes."""
        return None if value is None else Path(os.fsdecode(value))


class PlainText(TypeDecorator[str]):
    """Text for display: bytes that are not UTF-8, as in file names, are backslash-escaped."""

    impl = Text
    cache_ok = True

    def process_bind_param(
        self,
        value: str | os.PathLike[str] | None,
        dialect: Dialect,  # noqa: ARG002
    ) -> str | None:
        """Convert to text that every database accepts."""
        return None if value is None else to_plain_text(os.fspath(value))


class Unsigned64(TypeDecorator[int]):
    """A device or inode number, which may use the 64th bit, the sign bit of databases."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Map numbers from 2**63 up to negative ones."""
        return value - TWO_TO_64 if value is not None and value >= TWO_TO_63 else value

    def process_result_value(self, value: int | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Map negative numbers back to 2**63 and up."""
        return value + TWO_TO_64 if value is not None and value < 0 else value


class Nanoseconds(TypeDecorator[int]):
    """A file system timestamp, which may exceed a database's 64 bits (the year 2262)."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return 64 bits on SQLite, an integer of up to 40 digits elsewhere."""
        kind: TypeEngine[Any] = BigInteger() if dialect.name == "sqlite" else Numeric(40, 0)
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        """Store a number that is too large for SQLite as text."""
        if value is None or dialect.name != "sqlite" or -TWO_TO_63 <= value < TWO_TO_63:
            return value
        return f"{value} ns"

    def process_result_value(
        self,
        value: int | str | None,
        dialect: Dialect,  # noqa: ARG002
    ) -> int | None:
        """Return the number that was stored."""
        if isinstance(value, str):
            return int(value.removesuffix(" ns"))
        return None if value is None else int(value)


@lru_cache(maxsize=64)  # thousands of rows of one scan share the same time
def _to_sortable_text(value: datetime) -> str:
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}Z"


def to_plain_text(text: str) -> str:
    r"""Return the text with undecodable bytes and NUL escaped, such as `\xff`."""
    if text.isprintable():
        return str(text)
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that encodes no byte
        raw = text.encode("utf-8", "backslashreplace")
    return raw.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def to_json(value: Any) -> str:
    """Return readable JSON that every database accepts: UTF-8, without NaN and Infinity."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        value = _replace_non_finite(value)
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # undecodable bytes of a file name
        text = json.dumps(value, allow_nan=False)
    return text


def _replace_non_finite(value: Any) -> Any:
    """Return the value with NaN and infinities as strings, which float() reads back."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _replace_non_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_non_finite(item) for item in value]
    return value
