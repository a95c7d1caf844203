"""A file that a person names is found behind symlinks; what cannot be used says why."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from thoth_watch.domain.audio import AudioFile, Signature
from thoth_watch.domain.errors import FileGone, FileUnreadable, NotAudio
from thoth_watch.infrastructure.files import audio_file, signature_of


def test_a_signature_holds_what_tells_two_versions_apart(tmp_path: Path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF")
    status = path.stat()

    signature = signature_of(status)
    assert signature == Signature(
        size_bytes=4,
        modified_ns=status.st_mtime_ns,
        changed_ns=status.st_ctime_ns,
        device=status.st_dev,
        inode=status.st_ino,
    )
    path.write_bytes(b"RIFX")
    assert signature_of(path.stat()) != signature


def test_a_named_file_is_found_behind_symlinks(tmp_path: Path):
    (tmp_path / "real").mkdir()
    path = tmp_path / "real" / "a.wav"
    path.write_bytes(b"RIFF")
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "b.wav").symlink_to("folder/a.wav")

    expected = AudioFile(path.parent, path, signature_of(path.stat()))
    for named in (path, tmp_path / "b.wav", tmp_path / "folder" / ".." / "folder" / "a.wav"):
        assert audio_file(named) == expected


def test_what_is_not_there_is_gone(tmp_path: Path):
    (tmp_path / "a.wav").touch()
    (tmp_path / "dangling.wav").symlink_to("nothing")
    for name in ("no.wav", "no/a.wav", "a.wav/b.wav", "dangling.wav"):
        with pytest.raises(FileGone, match="no such file"):
            audio_file(tmp_path / name)


def test_what_is_no_plain_file_is_not_audio(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.wav")
    for path in (tmp_path, tmp_path / "pipe.wav", Path("/dev/null")):
        with pytest.raises(NotAudio, match="not a plain file"):
            audio_file(path)


def test_what_may_not_be_reached_is_unreadable_and_not_gone(
    tmp_path: Path, without_rights: Callable[[], AbstractContextManager[None]]
):
    folder = tmp_path / "private"
    folder.mkdir()
    (folder / "a.wav").touch()
    (tmp_path / "circle.wav").symlink_to("circle.wav")

    with pytest.raises(FileUnreadable, match="cannot be resolved"):
        audio_file(tmp_path / "circle.wav")
    with pytest.raises(FileUnreadable, match="cannot be resolved"):
        audio_file(tmp_path / ("n" * 300))
    tmp_path.chmod(0o755)
    folder.chmod(0o700 if os.geteuid() == 0 else 0)
    with without_rights(), pytest.raises(FileUnreadable, match="Permission denied"):
        audio_file(folder / "a.wav")
    folder.chmod(0o700)
