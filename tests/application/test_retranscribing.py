"""What an older model made is made anew on request; what a person has edited stays."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.application.conftest import Harness
from tests.fakes import FakeEngine, FakeInbox
from thoth_watch.application.ports import Output, Recording
from thoth_watch.domain.errors import NameTaken, RetryLater
from thoth_watch.domain.file_options import FileOptions
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.ledger import SqlLedger
from thoth_watch.infrastructure.publishing import DurablePublisher


class NamedEngine(FakeEngine):
    """Writes its own name before what it heard."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = self.fingerprint = name
        self.placement = replace(self.placement, model=name, model_revision=f"sha256:{name}1")

    def transcribe_one(self, recording: Recording) -> str:
        return f"{self.name} heard {recording.samples}"


class Killed(BaseException):
    """The process ends here."""


class DyingPublisher(DurablePublisher):
    """Dies before the file after so many."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def publish(self, output: Output) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1
        super().publish(output)

    def publish_all(self, outputs: Sequence[Output]) -> list[NameTaken | RetryLater | None]:
        return [self.publish(output) for output in outputs]  # type: ignore[func-returns-value]


@pytest.fixture
def disk(tmp_path: Path, empty_ledger: Path) -> Iterator[Harness]:
    """A house whose transcripts lie on a real disk; an old model has made two of them."""
    path = tmp_path / "thoth-watch.db"
    shutil.copy(empty_ledger, path)
    (tmp_path / "inbox").mkdir()
    with SqlLedger.open(f"sqlite:///{path}") as ledger:
        harness = Harness(
            ledger,
            path,
            inbox=FakeInbox(tmp_path / "inbox"),
            publisher=DurablePublisher(),  # type: ignore[arg-type]
            file_options=FileOptions(formats=("txt", "srt")),
        )
        harness.engines.fake = NamedEngine("old")
        for name in ("a.wav", "b.wav"):
            harness.inbox.put(name)
        harness.settle()
        harness.run_once()
        harness.engines.fake = NamedEngine("new")
        yield harness


def texts(harness: Harness) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(harness.inbox.root.iterdir())}


def test_what_the_old_model_made_is_replaced(disk: Harness) -> None:
    assert disk.ledger.retry(made_by="old", now=disk.clock.now()) == 2
    assert {row["state"] for row in disk.rows().values()} == {State.READY}
    assert "transcribed by old" in disk.rows()["a.wav"]["reason"]
    disk.run_once()

    assert texts(disk) == {
        name: text
        for stem in "ab"
        for name, text in (
            (f"{stem}.srt", f"new heard {stem}.wav"),
            (f"{stem}.txt", f"new heard {stem}.wav"),
        )
    }
    assert set(disk.states().values()) == {State.DONE}
    assert {row["model"] for row in disk.rows().values()} == {"new"}
    assert disk.ledger.retry(made_by="old", now=disk.clock.now()) == 0


def test_a_transcript_that_was_edited_stays_and_the_new_one_lies_beside_it(disk: Harness) -> None:
    edited = disk.inbox.root / "a.txt"
    edited.write_text("what was really said")
    disk.ledger.retry(made_by="old@sha256:old", now=disk.clock.now())
    disk.run_once()

    assert edited.read_text() == "what was really said"
    row = disk.rows()["a.wav"]
    assert row["state"] == State.CONFLICT
    assert row["reason"].startswith(
        "a.txt was edited and was left alone; the transcript is a.thoth-"
    )
    (alternate,) = disk.inbox.root.glob("a.thoth-*.txt")
    assert alternate.read_text() == "new heard a.wav"
    assert (disk.inbox.root / "b.txt").read_text() == "new heard b.wav"

    disk.engines.fake = NamedEngine("newest")
    disk.ledger.retry(made_by="new", now=disk.clock.now())
    disk.run_once()

    assert edited.read_text() == "what was really said"
    assert alternate.read_text() == "newest heard a.wav"
    assert disk.states() == {"a.wav": State.CONFLICT, "b.wav": State.DONE}


def test_only_the_named_ones_of_that_revision_are_made_anew(disk: Harness) -> None:
    assert disk.ledger.retry(made_by="old@sha256:new", now=disk.clock.now()) == 0
    only = [disk.inbox.root / "b.wav"]

    assert disk.ledger.retry(made_by="old", paths=only, now=disk.clock.now()) == 1


@pytest.mark.parametrize("after", range(4))
def test_a_process_killed_while_it_replaces_leaves_nothing_mixed_for_long(
    disk: Harness, after: int
) -> None:
    disk.ledger.retry(made_by="old", now=disk.clock.now())
    disk.publish._publisher = DyingPublisher(after)
    with pytest.raises(Killed):
        disk.run_once()

    disk.publish._publisher = DurablePublisher()
    disk.ledger.recover_claims(now=disk.clock.now())
    for left in disk.ledger.unpublished(disk.resolve_file_options):
        disk.publish.publish_stored(left)
    if any(state is State.READY for state in disk.states().values()):
        disk.run_once()

    assert set(texts(disk).values()) == {"new heard a.wav", "new heard b.wav"}
    assert len(texts(disk)) == 4
    assert set(disk.states().values()) == {State.DONE}
