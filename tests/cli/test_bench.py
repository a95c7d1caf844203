"""`bench` with the real engines and the bundled model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from thoth_watch.bootstrap import SAMPLES
from thoth_watch.domain import errors
from thoth_watch.domain.engine_comparison import STAGES


@pytest.mark.words
def test_an_engine_is_compared_with_the_standard_one_and_no_files_are_left(run, tmp_path: Path):
    shutil.copy(SAMPLES / "00.wav", tmp_path)

    done = run("bench", "00.wav", "--engine", "batch", "--rounds", "1", "--json")

    assert done.returncode == errors.EXIT_OK, done.stderr
    document = json.loads(done.stdout)
    standard, batch = document["rows"]
    assert (standard["engine"], batch["engine"]) == ("standard", "batch")
    assert standard["ratio_to_standard"] == standard["words_agreed"] == 1.0
    for row in (standard, batch):
        assert set(row["stages"]) == set(STAGES)
        assert all(row["stages"][name] > 0 for name in STAGES)
        assert row["peak_rss_bytes"] > 50_000_000
    assert [path.name for path in tmp_path.iterdir()] == ["00.wav"]


def test_a_missing_file_is_a_usage_error(run):
    done = run("bench", "missing.wav")

    assert done.returncode == errors.EXIT_USAGE
    assert "missing.wav" in done.stderr
