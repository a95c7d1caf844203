"""Events for changes, restarts of the observer, and detection of file systems."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from thoth_watch.infrastructure.inbox import WatchdogWatcher
from thoth_watch.infrastructure.inbox.changed_paths import FULL_SCAN_AFTER_EVENTS
from thoth_watch.infrastructure.inbox.filesystem import file_system_of, is_network_or_fuse

MOUNTS = """\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 0:40 / /srv/my\\040share rw - nfs4 server:/x rw
31 22 0:41 / /srv rw - fuse.sshfs me@host:/ rw
"""


def watcher_for(folder: Path, watcher: str = "inotify") -> WatchdogWatcher:
    return WatchdogWatcher([(folder, True, watcher)], suffixes=["wav"])


def consume_events(watcher: WatchdogWatcher) -> None:
    while watcher.wait(0.2):
        pass


def test_a_new_recording_in_a_new_folder_ends_the_wait(tmp_path: Path):
    with watcher_for(tmp_path) as watcher:
        consume_events(watcher)
        (tmp_path / "sub").mkdir()
        assert watcher.wait(10)
        consume_events(watcher)
        (tmp_path / "sub" / "a.wav").write_bytes(b"RIFF")
        assert watcher.wait(10)


def test_a_written_transcript_does_not_end_the_wait(tmp_path: Path):
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with watcher_for(tmp_path) as watcher:
        consume_events(watcher)
        (tmp_path / "a.txt").write_text("words")
        (tmp_path / "a.wav").read_bytes()

        assert not watcher.wait(0.5)


def consume_startup_events(watcher: WatchdogWatcher) -> None:
    """Consume the first full scan, which covers changes from before the start."""
    consume_events(watcher)
    assert watcher.changed_paths() is None


def test_recordings_that_were_written_or_renamed_into_place_are_changed_paths(tmp_path: Path):
    (tmp_path / "sub").mkdir()
    with watcher_for(tmp_path) as watcher:
        consume_startup_events(watcher)
        for name in ("a.wav", "a.txt", "sub/b.wav", "c.wav.part"):
            (tmp_path / name).write_bytes(b"RIFF")
        (tmp_path / "c.wav.part").rename(tmp_path / "c.wav")
        consume_events(watcher)

        assert watcher.changed_paths() == {
            tmp_path / name for name in ("a.wav", "sub/b.wav", "c.wav")
        }
        assert watcher.changed_paths() == frozenset()


def test_changed_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with watcher_for(Path()) as watcher:
        consume_startup_events(watcher)
        (tmp_path / "a.wav").write_bytes(b"RIFF")
        consume_events(watcher)

        assert watcher.changed_paths() == {tmp_path / "a.wav"}


@pytest.mark.parametrize(
    "change",
    [
        lambda inbox: (inbox / "a.wav").unlink(),
        lambda inbox: (inbox / "a.wav").rename(inbox / "b.wav"),
        lambda inbox: (inbox / "sub").rename(inbox / "other"),
        lambda inbox: (inbox / "new").mkdir(),
    ],
)
def test_after_deletions_and_folder_changes_anything_may_have_changed(tmp_path: Path, change):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with watcher_for(tmp_path) as watcher:
        consume_startup_events(watcher)
        change(tmp_path)
        consume_events(watcher)

        assert watcher.changed_paths() is None
        assert watcher.changed_paths() == frozenset()


def test_after_many_events_anything_may_have_changed_as_some_may_be_lost(tmp_path: Path):
    with watcher_for(tmp_path) as watcher:
        consume_startup_events(watcher)
        for n in range(FULL_SCAN_AFTER_EVENTS):
            (tmp_path / f"{n}.wav").write_bytes(b"RIFF")
        consume_events(watcher)

        assert watcher.changed_paths() is None


def test_wake_ends_the_wait(tmp_path: Path):
    with watcher_for(tmp_path, "polling") as watcher:
        watcher.wake()

        assert watcher.wait(10)


def test_an_observer_that_died_silently_is_replaced(tmp_path: Path):
    inbox = tmp_path / "in"
    inbox.mkdir()
    with watcher_for(inbox) as watcher:
        shutil.rmtree(inbox)
        consume_events(watcher)
        inbox.mkdir()
        watcher.check()
        consume_events(watcher)
        (inbox / "a.wav").write_bytes(b"RIFF")

        assert watcher.wait(10)


def test_the_watcher_follows_the_path_of_a_renamed_folder(tmp_path: Path):
    inbox = tmp_path / "in"
    inbox.mkdir()
    with watcher_for(inbox) as watcher:
        inbox.rename(tmp_path / "elsewhere")
        inbox.mkdir()
        watcher.check()
        consume_events(watcher)
        (inbox / "a.wav").write_bytes(b"RIFF")

        assert watcher.wait(10)


def test_waiting_for_a_missing_folder_times_out(tmp_path: Path):
    with watcher_for(tmp_path / "away") as watcher:
        assert not watcher.wait(0.05)


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/home/x", "ext4"),
        ("/srv/my share/in", "nfs4"),
        ("/srv/other", "fuse.sshfs"),
        ("/srvx", "ext4"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(folder: str, expected: str):
    assert file_system_of(Path(folder), mounts=MOUNTS) == expected


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "smb3", "fuse.sshfs", "9p"])
def test_network_and_fuse_file_systems_are_polled(kind: str):
    assert is_network_or_fuse(kind)
    assert not is_network_or_fuse("ext4")


def test_polling_can_be_configured(tmp_path: Path):
    assert watcher_for(tmp_path, "polling").is_polling
    assert not watcher_for(tmp_path, "inotify").is_polling


def test_a_missing_folder_leaves_no_threads_of_the_other_folders_behind(tmp_path: Path):
    folders = [(tmp_path, True, "inotify"), (tmp_path / "away", True, "inotify")]
    before = set(threading.enumerate())
    with WatchdogWatcher(folders, suffixes=["wav"]) as watcher:
        for _ in range(3):
            watcher.check()

        assert set(threading.enumerate()) == before
