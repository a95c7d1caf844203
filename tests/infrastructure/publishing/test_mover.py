"""A recording is moved whole or not at all, over nothing, and no other file in its place."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.errors import FileChanged, FileGone, NameTaken, RetryLater
from thoth_watch.infrastructure.inbox.local_files import signature_of
from thoth_watch.infrastructure.publishing import DurableMover, mover

AUDIO = b"RIFF and all that is heard" * 1_000
SHA = hashlib.sha256(AUDIO).hexdigest()


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox/sub").mkdir(parents=True)
    return tmp_path / "inbox"


@pytest.fixture(params=["the same disk", "another mount", "another disk"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder that is not there yet; another mount is what systemd makes of each ReadWritePaths=."""
    if request.param == "the same disk":
        yield tmp_path / "archive"
        return
    if request.param == "another mount":
        place = tmp_path / "mount"
        place.mkdir()
        bind = subprocess.run(["mount", "--bind", place, place], check=False, capture_output=True)
        if bind.returncode:
            pytest.skip("this user may not mount")
        yield place / "archive"
        subprocess.run(["umount", place], check=True)
        return
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs two file systems")
    with tempfile.TemporaryDirectory(dir=memory) as other:
        yield Path(other) / "archive"


def drop(inbox: Path, name: str = "sub/a.wav", content: bytes = AUDIO) -> AudioFile:
    path = inbox / name
    path.write_bytes(content)
    path.chmod(0o640)
    os.utime(path, ns=(10**18, 10**18 + 1))
    return AudioFile(inbox, path, signature_of(path.stat()))


def move(file: AudioFile, archive: Path, name: str = "sub/a.wav"):
    return DurableMover().move(file, archive / name, below=archive, sha256=SHA)


def can_rename(inbox: Path, archive: Path) -> bool:
    """Whether one step leads from one to the other."""
    probe, there = inbox / "probe", archive.parent / "probe"
    probe.touch()
    try:
        probe.rename(there)
    except OSError:
        probe.unlink()
        return False
    there.unlink()
    return True


def files_in(*folders: Path) -> set[str]:
    return {
        f"{folder.name}/{path.relative_to(folder)}"
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_it_lies_at_its_new_place_with_time_and_mode_and_nowhere_else(inbox: Path, archive: Path):
    there = move(drop(inbox), archive)

    moved = archive / "sub/a.wav"
    assert files_in(inbox, archive) == {"archive/sub/a.wav"}
    assert moved.read_bytes() == AUDIO
    assert moved.stat().st_mtime_ns == 10**18 + 1
    assert stat.S_IMODE(moved.stat().st_mode) == 0o640
    assert there == signature_of(moved.stat())


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link", "link to it"])
def test_what_has_the_name_keeps_it(inbox: Path, archive: Path, kind: str):
    file = drop(inbox)
    there = archive / "sub/a.wav"
    there.parent.mkdir(parents=True)
    if kind == "file":
        there.write_bytes(b"theirs")
    elif kind == "folder":
        there.mkdir()
    else:
        there.symlink_to(file.path if kind == "link to it" else "/nowhere")
    before = os.lstat(there)

    with pytest.raises(NameTaken):
        move(file, archive)

    assert os.lstat(there) == before
    assert file.path.read_bytes() == AUDIO


def test_another_version_than_the_one_that_was_seen_stays(inbox: Path, archive: Path):
    file = drop(inbox)
    file.path.write_bytes(b"another" + AUDIO)

    with pytest.raises(FileGone):
        move(file, archive)

    assert files_in(inbox) == {"inbox/sub/a.wav"}
    assert not archive.exists()


def test_bytes_that_were_not_transcribed_are_not_copied(inbox: Path, archive: Path):
    file = drop(inbox, content=b"x" * len(AUDIO))  # same size and times as what was seen
    if can_rename(inbox, archive):
        pytest.skip("a rename reads nothing")

    with pytest.raises(FileChanged):
        move(file, archive)

    assert files_in(inbox, archive) == {"inbox/sub/a.wav"}


def test_a_file_put_there_at_the_last_moment_stays_or_comes_back(
    inbox: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
):
    file = drop(inbox)
    rename, sync = mover.renameat2, mover.sync_folder
    is_rename = can_rename(inbox, archive)
    replacements = [b"the next recording"]

    def replace() -> None:
        newcomer = inbox / "newcomer"
        newcomer.write_bytes(replacements.pop())
        newcomer.rename(file.path)

    def racing_rename(old, name, new, flags, *, to=None):
        if is_rename and replacements:
            replace()
        rename(old, name, new, flags, to=to)

    def racing_sync(folder):
        if not is_rename and replacements:
            replace()  # the copy is there, the old name not yet gone
        sync(folder)

    monkeypatch.setattr(mover, "renameat2", racing_rename)
    monkeypatch.setattr(mover, "sync_folder", racing_sync)

    with pytest.raises(FileChanged):
        move(file, archive)

    assert file.path.read_bytes() == b"the next recording"


@pytest.mark.parametrize("instant", ["the copy is there", "the old name stepped aside"])
def test_a_copying_that_was_killed_is_completed(inbox: Path, tmp_path: Path, instant: str):
    file, archive = drop(inbox), tmp_path / "archive"
    (archive / "sub").mkdir(parents=True)
    (archive / "sub/a.wav").write_bytes(AUDIO)
    if instant == "the old name stepped aside":
        file.path.rename(inbox / f"sub/.thoth-moved-{file.signature.inode:x}.tmp")

    there = move(file, archive)

    assert there == signature_of((archive / "sub/a.wav").stat())
    assert files_in(inbox, archive) == {"archive/sub/a.wav"}


def test_a_rename_that_was_killed_before_it_was_noted_is_found_out(inbox: Path, archive: Path):
    file = drop(inbox)
    there = move(file, archive)

    assert move(file, archive) == there
    drop(inbox, content=b"the next recording")
    assert move(file, archive) == there
    assert files_in(inbox, archive) == {"archive/sub/a.wav", "inbox/sub/a.wav"}


def test_what_is_nowhere_is_gone(inbox: Path, archive: Path):
    file = drop(inbox)
    file.path.unlink()
    with pytest.raises(FileGone):
        move(file, archive)

    file.path.parent.rmdir()
    with pytest.raises(FileGone):
        move(file, archive)

    assert not archive.exists()


def test_no_link_below_the_folder_is_followed(inbox: Path, archive: Path, tmp_path: Path):
    file = drop(inbox)
    (tmp_path / "elsewhere").mkdir()
    archive.mkdir()
    (archive / "sub").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(RetryLater, match="symlink"):
        move(file, archive)

    assert files_in(inbox, tmp_path / "elsewhere") == {"inbox/sub/a.wav"}


def test_a_folder_without_rights_is_said_with_the_way_out(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refused(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    file = drop(inbox)
    monkeypatch.setattr(mover, "renameat2", refused)

    with pytest.raises(
        RetryLater, match=r"right to write in both folders, or set inbox\.after: leave"
    ):
        move(file, tmp_path / "archive")
    assert file.path.exists()


def test_a_full_disk_leaves_the_recording_and_no_half_of_it(inbox: Path, mount_tmpfs):
    archive = mount_tmpfs("size=4k")
    file = drop(inbox, content=os.urandom(100_000))

    with pytest.raises(RetryLater, match="full"):
        DurableMover().move(
            file,
            archive / "a.wav",
            below=archive,
            sha256=hashlib.sha256(file.path.read_bytes()).hexdigest(),
        )

    assert files_in(inbox, archive) == {"inbox/sub/a.wav"}
