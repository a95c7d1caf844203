"""Transcripts of an older model are replaced on request; edited ones are kept."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.application.conftest import Harness
from tests.fakes import FakeEngine, FakeInbox
from tests.ledgers import FlatLedger
from thoth_watch.application.ports.audio import Recording
from thoth_watch.application.ports.publishing import Output
from thoth_watch.domain.errors import NameTaken, RetryLater
from thoth_watch.domain.file_options import FileOptions
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.publishing import DurablePublisher


class NamedEngine(FakeEngine):
    """Writes its own name before the text."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = self.fingerprint = name
        self.placement = replace(self.placement, model=name, model_revision=f"sha256:{name}1")

    def transcribe_one(self, recording: Recording) -> str:
        return f"{self.name} transcribed {recording.samples}"


class Killed(BaseException):
    """Simulates the death of the process."""


class DyingPublisher(DurablePublisher):
    """Dies after publishing `after` files."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.remaining = after

    def publish_all(self, outputs: Sequence[Output]) -> list[NameTaken | RetryLater | None]:
        problems: list[NameTaken | RetryLater | None] = []
        for output in outputs:
            if self.remaining == 0:
                raise Killed
            self.remaining -= 1
            problems += super().publish_all([output])
        return problems


@pytest.fixture
def disk(tmp_path: Path, empty_ledger: Path) -> Iterator[Harness]:
    """Create a harness with a real publisher and two transcripts of an old model.

    On SQLite alone: an administrator's retry is not part of any port.
    """
    path = tmp_path / "thoth-watch.db"
    shutil.copy(empty_ledger, path)
    (tmp_path / "inbox").mkdir()
    with FlatLedger.open(f"sqlite:///{path}") as ledger:
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


def test_transcripts_of_the_old_model_are_replaced(disk: Harness) -> None:
    assert disk.ledger.retry(made_by="old", now=disk.clock.now()) == 2
    assert {row["state"] for row in disk.rows().values()} == {State.READY}
    assert "transcribed by old" in disk.rows()["a.wav"]["reason"]
    disk.run_once()

    assert texts(disk) == {
        name: text
        for stem in "ab"
        for name, text in (
            (f"{stem}.srt", f"new transcribed {stem}.wav"),
            (f"{stem}.txt", f"new transcribed {stem}.wav"),
        )
    }
    assert set(disk.states().values()) == {State.DONE}
    assert {row["model"] for row in disk.rows().values()} == {"new"}
    assert disk.ledger.retry(made_by="old", now=disk.clock.now()) == 0


def test_an_edited_transcript_is_kept_and_the_new_one_gets_another_name(disk: Harness) -> None:
    edited = disk.inbox.root / "a.txt"
    edited.write_text("what was really said")
    disk.ledger.retry(made_by="old@sha256:old", now=disk.clock.now())
    disk.run_once()

    assert edited.read_text() == "what was really said"
    row = disk.rows()["a.wav"]
    assert row["state"] == State.CONFLICT
    assert row["reason"].startswith("a.txt was edited; it was kept and the transcript is a.thoth-")
    (alternate,) = disk.inbox.root.glob("a.thoth-*.txt")
    assert alternate.read_text() == "new transcribed a.wav"
    assert (disk.inbox.root / "b.txt").read_text() == "new transcribed b.wav"

    disk.engines.fake = NamedEngine("newest")
    disk.ledger.retry(made_by="new", now=disk.clock.now())
    disk.run_once()

    assert edited.read_text() == "what was really said"
    assert alternate.read_text() == "newest transcribed a.wav"
    assert disk.states() == {"a.wav": State.CONFLICT, "b.wav": State.DONE}


def test_only_the_given_paths_of_that_revision_are_transcribed_again(disk: Harness) -> None:
    assert disk.ledger.retry(made_by="old@sha256:new", now=disk.clock.now()) == 0
    only = [disk.inbox.root / "b.wav"]

    assert disk.ledger.retry(made_by="old", paths=only, now=disk.clock.now()) == 1


@pytest.mark.parametrize("after", range(4))
def test_a_kill_during_replacement_leaves_no_mix_of_old_and_new(disk: Harness, after: int) -> None:
    disk.ledger.retry(made_by="old", now=disk.clock.now())
    disk.publish._publisher = DyingPublisher(after)
    with pytest.raises(Killed):
        disk.run_once()

    disk.publish._publisher = DurablePublisher()
    disk.ledger.recover_claims(now=disk.clock.now())
    for result in disk.ledger.unpublished(disk.resolve_file_options):
        disk.publish.publish_stored(result)
    if any(state is State.READY for state in disk.states().values()):
        disk.run_once()

    assert set(texts(disk).values()) == {"new transcribed a.wav", "new transcribed b.wav"}
    assert len(texts(disk)) == 4
    assert set(disk.states().values()) == {State.DONE}
