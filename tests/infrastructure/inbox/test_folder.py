"""Scans of real folders."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from thoth_watch.application.ports.inbox import FileStatus
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.errors import RetryLater
from thoth_watch.infrastructure.files import signature_of
from thoth_watch.infrastructure.inbox.device_numbers import with_local_device_number
from thoth_watch.infrastructure.inbox.folder import MAX_DEPTH, FolderInbox
from thoth_watch.infrastructure.inbox.local_files import LocalFiles


def touch(path: Path, content: bytes = b"RIFF") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def names(inbox: FolderInbox) -> list[str]:
    return sorted(str(file.relative) for file in inbox.scan().files)


def test_recordings_are_found_in_every_folder_and_in_any_case(tmp_path: Path):
    for name in ("a.wav", "B.MP3", "deep/er/c.Flac", "notes.txt", "no_extension"):
        touch(tmp_path / name)

    listing = FolderInbox(tmp_path).scan()

    assert names(FolderInbox(tmp_path)) == ["B.MP3", "a.wav", "deep/er/c.Flac"]
    assert listing.other == 2
    assert listing.problem is None


def test_a_sentinel_of_the_name_or_the_stem_announces_a_recording_of_its_folder(tmp_path: Path):
    for name in ("a.wav", "b.wav", "c.wav", "d.mp3", "sub/a.wav", "sub/e.wav"):
        touch(tmp_path / name)
    for name in ("a.wav.ready", "b.ready", "c.wav.done", "sub/d.ready", "sub/e.ready"):
        touch(tmp_path / name, b"")

    listing = FolderInbox(tmp_path, sentinel=".ready").scan()

    waiting = sorted(str(path.relative_to(tmp_path)) for path in listing.awaiting_sentinel)
    assert waiting == ["c.wav", "d.mp3", "sub/a.wav"]
    assert len(listing.files) == 6
    assert FolderInbox(tmp_path).scan().awaiting_sentinel == frozenset()


def test_scanning_some_paths_gives_the_same_result_as_a_full_scan(tmp_path: Path):
    everything = ("a.wav", "b.wav", "sub/c.wav", "sub/d.wav", "sub/.e.wav", "@eaDir/f.wav", "g.txt")
    for name in everything:
        touch(tmp_path / name)
    touch(tmp_path / "sub/d.ready", b"")
    (tmp_path / "h.wav").symlink_to("a.wav")
    inbox = FolderInbox(tmp_path, sentinel=".ready")
    full = inbox.scan()

    partial = inbox.scan_paths({tmp_path / name for name in (*everything, "h.wav", "no/such.wav")})

    assert sorted(partial.files, key=str) == sorted(full.files, key=str)
    assert partial.awaiting_sentinel == full.awaiting_sentinel
    assert (partial.refused, partial.identity) == (full.refused, full.identity)
    assert partial.problem is None
    assert [file.path.name for file in inbox.scan_paths({tmp_path / "b.wav"}).files] == ["b.wav"]
    flat = FolderInbox(tmp_path, recursive=False).scan_paths({tmp_path / "sub/c.wav"})
    assert flat.files == ()


def test_scanning_some_paths_follows_no_symlink_that_replaced_a_folder(tmp_path: Path):
    touch(tmp_path / "outside/a.wav")
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox/sub").symlink_to(tmp_path / "outside")

    listing = FolderInbox(tmp_path / "inbox").scan_paths({tmp_path / "inbox/sub/a.wav"})

    assert listing.files == ()
    assert "sub" in str(listing.problem)  # so that a full scan follows


def test_scanning_some_paths_of_a_missing_inbox_reports_the_problem(tmp_path: Path):
    listing = FolderInbox(tmp_path / "away").scan_paths({tmp_path / "away/a.wav"})

    assert listing.identity is None
    assert "check that the folder exists" in str(listing.problem)


def test_without_recursion_only_the_folder_itself_is_scanned(tmp_path: Path):
    touch(tmp_path / "a.wav")
    touch(tmp_path / "sub/b.wav")

    assert names(FolderInbox(tmp_path, recursive=False)) == ["a.wav"]


@pytest.mark.parametrize(
    "name",
    [
        ".hidden.wav",
        "._a.wav",
        ".syncthing.a.wav.tmp",
        "~syncthing~a.wav",
        "a.wav.part",
        "a.wav.crdownload",
        "a.wav.filepart",
        "~$a.wav",
        "a.sync-conflict-20260101.wav",
        "@eaDir/a.wav",
        ".stversions/a.wav",
        "__MACOSX/a.wav",
        "#recycle/a.wav",
    ],
)
def test_junk_and_partial_uploads_are_counted_and_not_listed(tmp_path: Path, name: str):
    touch(tmp_path / name)

    listing = FolderInbox(tmp_path).scan()

    assert (listing.files, listing.ignored) == ((), 1)


def test_configured_patterns_are_ignored_too(tmp_path: Path):
    touch(tmp_path / "draft-1.wav")

    assert names(FolderInbox(tmp_path, ignore=["draft-*"])) == []


def test_an_entry_that_is_not_a_plain_file_is_refused_with_the_reason(tmp_path: Path):
    inbox, outside = tmp_path / "in", tmp_path / "outside"
    secret = touch(outside / "secret.wav")
    inbox.mkdir()
    (inbox / "link.wav").symlink_to(secret)
    (inbox / "dangling.wav").symlink_to(outside / "nothing.wav")
    (inbox / "tree").symlink_to(outside)
    (inbox / "folder.wav").mkdir()
    os.mkfifo(inbox / "pipe.wav")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(inbox / "sock.wav"))
        listing = FolderInbox(inbox).scan()

    assert listing.files == ()
    reasons = {entry.path.name: entry.reason for entry in listing.refused}
    assert set(reasons) == {"link.wav", "dangling.wav", "folder.wav", "pipe.wav", "sock.wav"}
    assert "link" in reasons["link.wav"]
    assert "pipe" in reasons["pipe.wav"]


def test_a_symlink_loop_ends(tmp_path: Path):
    (tmp_path / "loop").symlink_to(tmp_path)
    touch(tmp_path / "a.wav")

    assert names(FolderInbox(tmp_path)) == ["a.wav"]


def test_names_that_are_not_utf_8_are_listed_with_their_exact_bytes(tmp_path: Path):
    raw = os.fsencode(tmp_path) + b"/caf\xe9\n.wav"
    Path(os.fsdecode(raw)).write_bytes(b"RIFF")

    (file,) = FolderInbox(tmp_path).scan().files

    assert os.fsencode(file.path) == raw


def test_a_missing_folder_is_a_problem_and_not_an_empty_inbox(tmp_path: Path):
    listing = FolderInbox(tmp_path / "away").scan()

    assert listing.files == ()
    assert "away" in str(listing.problem)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_an_unreadable_folder_is_a_problem_and_the_rest_is_listed(tmp_path: Path):
    touch(tmp_path / "a.wav")
    touch(tmp_path / "locked/b.wav")
    (tmp_path / "locked").chmod(0)

    listing = FolderInbox(tmp_path).scan()
    (tmp_path / "locked").chmod(0o700)

    assert [f.path.name for f in listing.files] == ["a.wav"]
    assert "locked" in str(listing.problem)


def test_folders_below_the_maximum_depth_are_not_scanned(tmp_path: Path):
    deep = tmp_path.joinpath(*["d"] * (MAX_DEPTH + 3))
    touch(deep / "a.wav")

    listing = FolderInbox(tmp_path).scan()

    assert listing.files == ()
    assert "deeper" in str(listing.problem)


def scanned(path: Path) -> AudioFile:
    return AudioFile(path.parent, path, signature_of(path.lstat()))


def test_the_file_status_is_same_changed_or_gone(tmp_path: Path):
    file = scanned(touch(tmp_path / "a.wav"))
    files = LocalFiles()

    assert files.file_status(file) is FileStatus.SAME
    touch(file.path, b"more of it")
    assert files.file_status(file) is FileStatus.CHANGED
    file.path.unlink()
    assert files.file_status(file) is FileStatus.GONE


def test_a_file_in_a_folder_replaced_by_a_symlink_is_gone_and_never_opened(tmp_path: Path):
    file = replace(scanned(touch(tmp_path / "in/a/x.wav")), inbox=tmp_path / "in")
    (tmp_path / "in/a").rename(tmp_path / "outside")
    (tmp_path / "in/a").symlink_to(tmp_path / "outside")
    files = LocalFiles()

    assert files.file_status(file) is FileStatus.GONE
    with (tmp_path / "outside/x.wav").open("ab"):
        assert not files.is_being_written(file)  # it was not opened


def test_a_file_is_not_gone_while_its_inbox_is_unmounted(tmp_path: Path):
    file = scanned(touch(tmp_path / "a.wav"))
    elsewhere = replace(file, signature=replace(file.signature, device=1))
    file.path.unlink()

    with pytest.raises(RetryLater, match="mounted"):
        LocalFiles().file_status(elsewhere)


def test_a_file_that_is_open_for_writing_is_detected(tmp_path: Path):
    file = scanned(touch(tmp_path / "a.wav"))
    files = LocalFiles()

    with file.path.open("ab"):
        assert files.is_being_written(file)
    assert not files.is_being_written(file)
    with file.path.open("rb"):
        assert not files.is_being_written(file)
    file.path.write_bytes(b"more")  # since the scan
    assert files.is_being_written(file)


def test_a_file_of_a_share_gets_this_machines_device_number(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"audio")
    (local,) = FolderInbox(tmp_path, recursive=True, extensions=("wav",), ignore=()).scan().files
    elsewhere = replace(local, signature=replace(local.signature, device=12345))
    assert with_local_device_number(elsewhere) == local
    changed = replace(elsewhere, signature=replace(elsewhere.signature, size_bytes=1))
    assert with_local_device_number(changed) == changed
    path.unlink()
    assert with_local_device_number(elsewhere) == elsewhere
