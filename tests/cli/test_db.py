"""`db check`, `db backup`, `db rebuild`, on ledgers that the program itself made."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.reliability.place import Place
from thoth_watch.domain.errors import EXIT_CONFIG, EXIT_RETRY_LATER
from thoth_watch.infrastructure.service.lock import ProcessLock


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(
        tmp_path / "place",
        transcript={"formats": ["txt", "json"], "name": "{stem}.{language}.{format}"},
    )
    for n in range(3):
        made.drop(f"{n}.wav", seed=n)
    assert made.run("once") == 0, made.log()
    return made


def corrupt(database: Path) -> None:
    """Overwrite pages in the middle, as a failing disk would."""
    with database.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 3 * 4096)


def test_a_ledger_is_checked_copied_and_made_anew(place: Place, run):
    config = ("-c", str(place.config))
    assert run("db", "check", *config).stdout == f"{place.database}: sound\n"

    copy = place.folder / "copy.db"
    assert run("db", "backup", str(copy), *config).stdout == f"{copy}\n"
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT count(*) FROM files WHERE state='DONE'").fetchone() == (
            3,
        )
    again = run("db", "backup", str(copy), *config)
    assert (again.returncode, "left alone" in again.stderr) == (EXIT_RETRY_LATER, True)
    assert run("db", "backup", *config).stdout.strip().endswith(".backup")
    assert not list(place.database.parent.glob(".*.tmp"))

    corrupt(place.database)
    checked = run("db", "check", *config)
    assert checked.returncode == EXIT_CONFIG
    assert "damaged" in checked.stderr
    assert run("db", "backup", str(place.folder / "bad.db"), *config).returncode == EXIT_CONFIG
    assert not (place.folder / "bad.db").exists()


def test_a_rebuilt_ledger_knows_its_transcripts_and_computes_nothing_again(place: Place, run):
    config = ("-c", str(place.config))
    corrupt(place.database)
    (place.inbox / "1.en.json").unlink()  # what cannot be told to be ours is nobody's
    (place.inbox / "1.en.txt").write_text("a person's own words\n")
    texts = {path: path.read_bytes() for path in place.inbox.iterdir()}
    rebuilt = run("db", "rebuild", *config)

    assert rebuilt.returncode == 0, rebuilt.stderr
    assert "2 recordings have their transcript; 1 wait" in rebuilt.stdout
    assert list(place.database.parent.glob("thoth-watch.db.aside-*"))
    assert {path: path.read_bytes() for path in place.inbox.iterdir()} == texts
    assert place.query("SELECT count(*) FROM publications") == [(4,)]

    assert place.run("once") == 1  # the person's words stay: a CONFLICT
    rows = dict(place.query("SELECT path, state FROM files"))
    assert sorted(rows.values()) == ["CONFLICT", "DONE", "DONE"]
    assert place.query("SELECT count(*) FROM run_files") == [(1,)]
    assert {path: path.read_bytes() for path in texts} == texts


def test_a_ledger_is_not_rebuilt_under_a_daemon(place: Place, run):
    with ProcessLock(place.database.with_name("thoth-watch.db.lock")):
        refused = run("db", "rebuild", "-c", str(place.config))

    assert refused.returncode == EXIT_RETRY_LATER
    assert "works on this ledger" in refused.stderr
    assert not list(place.database.parent.glob("*.aside-*"))
