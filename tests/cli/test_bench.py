"""`bench`, with the engines that come with the program."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from thoth_watch.bootstrap import SAMPLES
from thoth_watch.domain import errors
from thoth_watch.domain.engine_comparison import STAGES


@pytest.mark.words
def test_an_engine_is_held_against_the_standard_one_and_nothing_is_left_behind(run, tmp_path: Path):
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


def test_a_file_that_is_not_there_is_a_mistake_of_usage(run):
    done = run("bench", "nowhere.wav")

    assert done.returncode == errors.EXIT_USAGE
    assert "nowhere.wav" in done.stderr
