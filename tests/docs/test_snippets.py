"""The `sh`, `sql` and `yaml` blocks of every documentation page are executed."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.conftest import TIMEOUT_S, write_recording
from tests.filled_ledger import fill_ledger
from tests.infrastructure.whisper.conftest import make_whisper
from thoth_watch.infrastructure.settings import load

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path for folder in ("tutorial", "how-to") for path in (ROOT / "docs" / folder).glob("*.md")
)


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of a language, without the indent of blocks in lists."""
    matches = re.findall(
        rf"^( *)```{language}\n(.*?)^ *```$", page.read_text(), re.MULTILINE | re.DOTALL
    )
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in matches]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_whisper(tmp_path_factory.mktemp("model") / "tiny")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_succeed_in_order(page: Path, tmp_path: Path, tiny: Path):
    script = "\n".join(blocks(page, "sh"))
    if "sqlite3" in script + page.name and shutil.which("sqlite3") is None:
        pytest.skip("sqlite3 is not installed")
    assert script
    write_recording(tmp_path / "talk.wav", seed=3)
    if "thoth-watch init" not in script:  # the page assumes an existing ledger
        (tmp_path / "config.yaml").write_text("inbox: {path: ./inbox}\n")
        (tmp_path / "inbox").mkdir()
        fill_ledger(tmp_path / "thoth-watch.db", n_runs=20)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {
        **os.environ,
        "PATH": path,
        "HF_HUB_OFFLINE": "1",
        "THOTH_WATCH_ENGINE_MODEL": str(tiny),
        "THOTH_WATCH_ENGINE_DEVICE": "cpu",
    }
    done = subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("query", blocks(ROOT / "docs/how-to/query-with-sql.md", "sql"))
def test_a_query_returns_rows(query: str, tmp_path: Path):
    ledger = fill_ledger(tmp_path / "ledger.db", n_runs=40)
    with closing(sqlite3.connect(ledger)) as connection:
        rows = connection.execute(query).fetchall()
    assert rows
    assert all(len(row) >= 2 for row in rows)


def test_there_are_five_queries():
    assert len(blocks(ROOT / "docs/how-to/query-with-sql.md", "sql")) == 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_configurations_of_a_page_are_valid(page: Path, tmp_path: Path):
    for text in blocks(page, "yaml"):
        assert yaml.safe_load(text)
        config = tmp_path / "config.yaml"
        config.write_text(text)
        load(config, {}, {})


def test_the_tutorial_has_at_most_ten_commands():
    page = ROOT / "docs/tutorial/first-transcript.md"
    commands = [line for text in blocks(page, "(?:sh|console)") for line in text.splitlines()]
    assert 5 < len(commands) <= 10


def test_relative_links_exist():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target}"
