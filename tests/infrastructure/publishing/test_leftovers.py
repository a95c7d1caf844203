"""Temporary files of killed processes are removed, similar foreign files are not."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from tests.fakes import publish_one
from thoth_watch.application.ports.publishing import Output
from thoth_watch.infrastructure.publishing import DurablePublisher
from thoth_watch.infrastructure.publishing.leftovers import MIN_AGE_S, Leftovers, temporary_name

OLD, NEW = b"the older words", b"the words"


class LaterClock:
    """A clock that is ahead by a settable time."""

    def __init__(self) -> None:
        self.ahead_s = MIN_AGE_S + 60

    def __call__(self) -> float:
        return time.time() + self.ahead_s


def publish(folder: Path, name: str, now_s: LaterClock) -> None:
    publish_one(DurablePublisher(leftovers=Leftovers(now_s=now_s)), Output(folder / name, NEW))


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("content", [NEW, OLD, b""], ids=["new", "exchanged", "empty"])
def test_temporary_files_of_a_killed_process_are_removed_after_an_hour(
    tmp_path: Path, content: bytes
):
    old_sha256 = hashlib.sha256(OLD).hexdigest()
    left = tmp_path / temporary_name(NEW, replaces_sha256=old_sha256)
    left.write_bytes(content)
    later = LaterClock()
    later.ahead_s = MIN_AGE_S - 60
    publish(tmp_path, "a.txt", later)
    assert left.exists()

    later.ahead_s = MIN_AGE_S + 60
    publish(tmp_path, "b.txt", later)
    assert names_in(tmp_path) == {"a.txt", "b.txt"}


def test_foreign_entries_with_such_a_name_are_kept(tmp_path: Path):
    swapped, symlink, folder, pipe = (tmp_path / temporary_name(NEW) for _ in range(4))
    swapped.write_bytes(b"mine")
    (tmp_path / "mine").write_bytes(NEW)
    symlink.symlink_to(tmp_path / "mine")
    folder.mkdir()
    os.mkfifo(pipe)
    (tmp_path / ".thoth-notes.tmp").write_bytes(NEW)
    before = names_in(tmp_path)

    publish(tmp_path, "a.txt", LaterClock())

    assert names_in(tmp_path) == before | {"a.txt"}
    assert swapped.read_bytes() == b"mine"


def test_a_folder_is_checked_for_leftovers_once_an_hour(tmp_path: Path):
    later = LaterClock()
    publisher = DurablePublisher(leftovers=Leftovers(now_s=later))
    publish_one(publisher, Output(tmp_path / "a.txt", NEW))
    left = tmp_path / temporary_name(NEW)
    left.write_bytes(NEW)
    publish_one(publisher, Output(tmp_path / "b.txt", NEW))
    assert left.exists()

    later.ahead_s += MIN_AGE_S
    publish_one(publisher, Output(tmp_path / "c.txt", NEW))
    assert not left.exists()
