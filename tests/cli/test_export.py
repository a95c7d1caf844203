"""`runs --export`."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from tests.filled_ledger import fill_ledger
from thoth_watch.domain import errors


@pytest.fixture
def filled_ledger(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("inbox: {path: .}\n")
    return fill_ledger(tmp_path / "thoth-watch.db", n_runs=30)


def test_a_csv_file_has_every_run_and_every_column(run, filled_ledger: Path, tmp_path: Path):
    done = run("runs", "--export", "runs.csv")

    assert (done.returncode, done.stdout) == (0, "wrote 30 runs to runs.csv\n")
    with (tmp_path / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    listed = json.loads(run("runs", "--json", "-n", "30").stdout)
    assert [row["id"] for row in rows] == [str(row["id"]) for row in listed]
    assert [row["started_at"] for row in rows] == [row["started_at"] for row in listed]
    assert [json.loads(row["versions"]) for row in rows] == [row["versions"] for row in listed]
    assert rows[0].keys() == listed[0].keys()


def test_a_parquet_file_has_typed_columns(run, filled_ledger: Path, tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert run("runs", "--export", "runs.parquet", "-n", "7").returncode == 0

    table = parquet.read_table(tmp_path / "runs.parquet")
    kinds = {field.name: str(field.type) for field in table.schema}
    assert (kinds["id"], kinds["wall_s"], kinds["status"]) == ("int64", "double", "string")
    assert kinds["started_at"] == "timestamp[us, tz=UTC]"
    assert table.num_rows == 7
    assert table.column("started_at")[0].as_py().utcoffset() == timedelta(0)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_without_runs_the_file_has_only_column_names(
    run, filled_ledger: Path, tmp_path: Path, suffix: str
):
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    done = run("runs", "--since", "2099-01-01", "--export", f"none.{suffix}")

    assert done.stdout == f"wrote 0 runs to none.{suffix}\n"
    assert b"started_at" in (tmp_path / f"none.{suffix}").read_bytes()


def test_an_existing_file_is_kept_and_an_unknown_file_type_is_rejected(
    run, filled_ledger: Path, tmp_path: Path
):
    (tmp_path / "mine.csv").write_text("mine")
    done = run("runs", "--export", "mine.csv")
    assert done.returncode == errors.EXIT_RETRY_LATER
    assert "mine.csv: already exists and was not changed" in done.stderr
    assert (tmp_path / "mine.csv").read_text() == "mine"

    done = run("runs", "--export", "runs.xls")
    assert done.returncode == errors.EXIT_USAGE
    assert "must end in .csv or .parquet" in done.stderr


def test_without_the_extra_the_error_names_it(filled_ledger: Path):
    code = (
        "import sys; sys.modules['pyarrow'] = None\nfrom thoth_watch.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "runs", "--export", "runs.parquet"],
        cwd=filled_ledger.parent,
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )
    assert done.returncode == errors.EXIT_UNAVAILABLE
    assert "pip install 'thoth-watch[parquet]'" in done.stderr
    assert not (filled_ledger.parent / "runs.parquet").exists()
