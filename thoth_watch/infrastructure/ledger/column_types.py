"""How values that databases take differently are stored: times, paths, odd text, big numbers, JSON."""

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
        """Text on SQLite, timestamp with time zone elsewhere."""
        kind: TypeEngine[Any] = Text() if dialect.name == "sqlite" else DateTime(timezone=True)
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """To UTC; a naive time is a programming error."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r}: a time for the ledger needs a time zone")
        return _to_sortable_text(value) if dialect.name == "sqlite" else value.astimezone(UTC)

    def process_result_value(
        self,
        value: datetime | str | None,
        dialect: Dialect,  # noqa: ARG002
    ) -> datetime | None:
        """To an aware time."""
        if value is None:
            return None
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


class RawPath(TypeDecorator[Path]):
    """A path as the bytes that the system has for it: what the program reads back, whatever its encoding."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Path | None, dialect: Dialect) -> bytes | None:  # noqa: ARG002
        """To bytes."""
        return None if value is None else os.fsencode(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Path | None:  # noqa: ARG002
        """To a path with surrogate escapes."""
        return None if value is None else Path(os.fsdecode(value))


class PlainText(TypeDecorator[str]):
    """Text for people: what is not UTF-8 in it (a file name's odd bytes) is backslash-escaped."""

    impl = Text
    cache_ok = True

    def process_bind_param(
        self,
        value: str | os.PathLike[str] | None,
        dialect: Dialect,  # noqa: ARG002
    ) -> str | None:
        """To text that every database takes."""
        return None if value is None else to_plain_text(os.fspath(value))


class Unsigned64(TypeDecorator[int]):
    """A device or inode number, which may use the 64th bit that databases keep for the sign."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Numbers from 2**63 on become negative."""
        return value - TWO_TO_64 if value is not None and value >= TWO_TO_63 else value

    def process_result_value(self, value: int | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """And back."""
        return value + TWO_TO_64 if value is not None and value < 0 else value


class Nanoseconds(TypeDecorator[int]):
    """A time stamp of a file system, which may lie beyond the 64 bits (the year 2262) of a database."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """64 bits on SQLite, any whole number elsewhere."""
        kind: TypeEngine[Any] = BigInteger() if dialect.name == "sqlite" else Numeric(40, 0)
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        """SQLite takes a text where the number is too big."""
        if value is None or dialect.name != "sqlite" or -TWO_TO_63 <= value < TWO_TO_63:
            return value
        return f"{value} ns"

    def process_result_value(
        self,
        value: int | str | None,
        dialect: Dialect,  # noqa: ARG002
    ) -> int | None:
        """The same number."""
        if isinstance(value, str):
            return int(value.removesuffix(" ns"))
        return None if value is None else int(value)


@lru_cache(maxsize=64)  # thousands of rows of one look share their time
def _to_sortable_text(value: datetime) -> str:
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}Z"


def to_plain_text(text: str) -> str:
    r"""The text with undecodable bytes as `\xff` and without NUL."""
    if text.isprintable():
        return str(text)
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        raw = text.encode("utf-8", "backslashreplace")
    return raw.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def to_json(value: Any) -> str:
    """JSON that people can read and every database takes: UTF-8, and no NaN or Infinity."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        value = _replace_non_finite(value)
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # a file name's odd bytes
        text = json.dumps(value, allow_nan=False)
    return text


def _replace_non_finite(value: Any) -> Any:
    """The same value with NaN and the infinities as words, which float() reads back."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _replace_non_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_non_finite(item) for item in value]
    return value
