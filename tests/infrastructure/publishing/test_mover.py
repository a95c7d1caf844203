"""A recording is moved completely or not at all, replaces nothing, and no other file is moved."""

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
from thoth_watch.infrastructure.files import signature_of
from thoth_watch.infrastructure.publishing import DurableMover, mover

AUDIO = b"RIFF and all other content" * 1_000
SHA = hashlib.sha256(AUDIO).hexdigest()


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox/sub").mkdir(parents=True)
    return tmp_path / "inbox"


@pytest.fixture(params=["the same disk", "another mount", "another disk"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder that does not exist yet; systemd makes another mount of each ReadWritePaths=."""
    if request.param == "the same disk":
        yield tmp_path / "archive"
        return
    if request.param == "another mount":
        mount = tmp_path / "mount"
        mount.mkdir()
        bind = subprocess.run(["mount", "--bind", mount, mount], check=False, capture_output=True)
        if bind.returncode:
            pytest.skip("this user cannot mount")
        yield mount / "archive"
        subprocess.run(["umount", mount], check=True)
        return
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs two file systems")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder) / "archive"


def drop(inbox: Path, name: str = "sub/a.wav", content: bytes = AUDIO) -> AudioFile:
    path = inbox / name
    path.write_bytes(content)
    path.chmod(0o640)
    os.utime(path, ns=(10**18, 10**18 + 1))
    return AudioFile(inbox, path, signature_of(path.stat()))


def move(file: AudioFile, archive: Path, name: str = "sub/a.wav"):
    return DurableMover().move(file, archive / name, below=archive, sha256=SHA)


def can_rename(inbox: Path, archive: Path) -> bool:
    """Return True if a file can be renamed from one folder to the other."""
    probe, target = inbox / "probe", archive.parent / "probe"
    probe.touch()
    try:
        probe.rename(target)
    except OSError:
        probe.unlink()
        return False
    target.unlink()
    return True


def files_in(*folders: Path) -> set[str]:
    return {
        f"{folder.name}/{path.relative_to(folder)}"
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_moved_recording_keeps_time_and_mode_and_leaves_no_original(inbox: Path, archive: Path):
    signature = move(drop(inbox), archive)

    moved = archive / "sub/a.wav"
    assert files_in(inbox, archive) == {"archive/sub/a.wav"}
    assert moved.read_bytes() == AUDIO
    assert moved.stat().st_mtime_ns == 10**18 + 1
    assert stat.S_IMODE(moved.stat().st_mode) == 0o640
    assert signature == signature_of(moved.stat())


@pytest.mark.parametrize("kind", ["file", "folder", "dangling symlink", "symlink to it"])
def test_an_existing_entry_is_never_replaced(inbox: Path, archive: Path, kind: str):
    file = drop(inbox)
    existing = archive / "sub/a.wav"
    existing.parent.mkdir(parents=True)
    if kind == "file":
        existing.write_bytes(b"theirs")
    elif kind == "folder":
        existing.mkdir()
    else:
        existing.symlink_to(file.path if kind == "symlink to it" else "/nowhere")
    before = os.lstat(existing)

    with pytest.raises(NameTaken):
        move(file, archive)

    assert os.lstat(existing) == before
    assert file.path.read_bytes() == AUDIO


def test_another_version_of_the_file_is_not_moved(inbox: Path, archive: Path):
    file = drop(inbox)
    file.path.write_bytes(b"another" + AUDIO)

    with pytest.raises(FileGone):
        move(file, archive)

    assert files_in(inbox) == {"inbox/sub/a.wav"}
    assert not archive.exists()


def test_bytes_that_were_not_transcribed_are_not_copied(inbox: Path, archive: Path):
    file = drop(inbox, content=b"x" * len(AUDIO))  # same size and times as the transcribed file
    if can_rename(inbox, archive):
        pytest.skip("a rename reads nothing")

    with pytest.raises(FileChanged):
        move(file, archive)

    assert files_in(inbox, archive) == {"inbox/sub/a.wav"}


def test_a_file_that_replaces_the_recording_during_the_move_keeps_its_name(
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
            replace()  # the copy exists and the original is not yet deleted
        sync(folder)

    monkeypatch.setattr(mover, "renameat2", racing_rename)
    monkeypatch.setattr(mover, "sync_folder", racing_sync)

    with pytest.raises(FileChanged):
        move(file, archive)

    assert file.path.read_bytes() == b"the next recording"


@pytest.mark.parametrize("instant", ["the copy exists", "the original was renamed"])
def test_an_interrupted_copy_is_completed(inbox: Path, tmp_path: Path, instant: str):
    file, archive = drop(inbox), tmp_path / "archive"
    (archive / "sub").mkdir(parents=True)
    (archive / "sub/a.wav").write_bytes(AUDIO)
    if instant == "the original was renamed":
        file.path.rename(inbox / f"sub/.thoth-moved-{file.signature.inode:x}.tmp")

    signature = move(file, archive)

    assert signature == signature_of((archive / "sub/a.wav").stat())
    assert files_in(inbox, archive) == {"archive/sub/a.wav"}


def test_a_rename_that_was_not_recorded_is_detected(inbox: Path, archive: Path):
    file = drop(inbox)
    signature = move(file, archive)

    assert move(file, archive) == signature
    drop(inbox, content=b"the next recording")
    assert move(file, archive) == signature
    assert files_in(inbox, archive) == {"archive/sub/a.wav", "inbox/sub/a.wav"}


def test_a_missing_file_is_reported_as_gone(inbox: Path, archive: Path):
    file = drop(inbox)
    file.path.unlink()
    with pytest.raises(FileGone):
        move(file, archive)

    file.path.parent.rmdir()
    with pytest.raises(FileGone):
        move(file, archive)

    assert not archive.exists()


def test_no_symlink_below_the_folder_is_followed(inbox: Path, archive: Path, tmp_path: Path):
    file = drop(inbox)
    (tmp_path / "elsewhere").mkdir()
    archive.mkdir()
    (archive / "sub").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(RetryLater, match="symlink"):
        move(file, archive)

    assert files_in(inbox, tmp_path / "elsewhere") == {"inbox/sub/a.wav"}


def test_a_folder_without_write_access_is_reported_with_the_fix(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refused(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    file = drop(inbox)
    monkeypatch.setattr(mover, "renameat2", refused)

    with pytest.raises(
        RetryLater, match=r"write access to both folders, or set inbox\.after: leave"
    ):
        move(file, tmp_path / "archive")
    assert file.path.exists()


def test_a_full_disk_leaves_the_recording_and_no_partial_copy(inbox: Path, mount_tmpfs):
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
