"""Write rows as CSV (standard library) or Parquet (pyarrow, `parquet` extra)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

Rows = Sequence[Mapping[str, Any]]


def export(rows: Rows, columns: Sequence[str], path: Path) -> None:
    """Write all rows to a new file in the format of its extension, one of `WRITERS`.

    Lists and mappings become JSON text. Times are UTC: ISO 8601 in CSV, microseconds in Parquet.
    Raises FileExistsError if the file exists, ModuleNotFoundError without the extra, KeyError for
    another extension.
    """
    content = WRITERS[path.suffix.lower()](rows, columns)
    with path.open("xb") as file:
        file.write(content)


def _as_csv(rows: Rows, columns: Sequence[str]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in rows:
        values = [_json_or_value(row[name]) for name in columns]
        writer.writerow([v.isoformat() if isinstance(v, datetime) else v for v in values])
    return text.getvalue().encode()


def _as_parquet(rows: Rows, columns: Sequence[str]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    kinds = {
        bool: pa.bool_(),
        int: pa.int64(),
        float: pa.float64(),
        datetime: pa.timestamp("us", tz="UTC"),
    }
    arrays = {}
    for name in columns:
        values = [_json_or_value(row[name]) for row in rows]
        kind = next((type(value) for value in values if value is not None), str)
        arrays[name] = pa.array(values, kinds.get(kind, pa.string()))
    sink = io.BytesIO()
    parquet.write_table(pa.table(arrays), sink)
    return sink.getvalue()


def _json_or_value(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


WRITERS: dict[str, Callable[[Rows, Sequence[str]], bytes]] = {
    ".csv": _as_csv,
    ".parquet": _as_parquet,
}
