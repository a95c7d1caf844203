"""A file cannot make the decoder read another file, block forever, or use all memory."""

import errno
import os
import socket
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.infrastructure.audio.audio_writers import tone, write_with_av, write_with_soundfile
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.errors import FileChanged, FileGone, FileUnreadable, NotAudio
from thoth_watch.infrastructure.audio import DecodeLimits, WorkerDecoder
from thoth_watch.infrastructure.audio.safe_open import open_recording
from thoth_watch.infrastructure.files import audio_file, beneath, signature_of

TEXTS = {
    "ffconcat": "ffconcat version 1.0\nfile {name}\n",
    "ffconcat with an absolute path": "ffconcat version 1.0\nfile {path}\n",
    "playlist": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:3,\n{path}\n#EXT-X-ENDLIST\n",
}


def listed(path: Path) -> AudioFile:
    """Return the file as a scan lists it, without resolving symlinks."""
    return AudioFile(inbox=path.parent, path=path, signature=signature_of(path.lstat()))


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.mp4"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_a_text_file_that_names_another_recording_is_refused(
    decoder: WorkerDecoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    text: str,
) -> None:
    secret = write_with_soundfile(tmp_path / "secret.wav", tone(16_000), 16_000)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.write_text(text.format(name=secret.name, path=secret))
    with pytest.raises(NotAudio):
        decoder.decode(audio_file(path))


def test_the_whitelist_alone_keeps_ffmpeg_from_reading_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run in this process, in the folder that the text is relative to; FFmpeg ignores misspelled options."""
    from thoth_watch.infrastructure.audio import av_source
    from thoth_watch.infrastructure.audio.sources import CannotOpenError

    write_with_soundfile(tmp_path / "secret.wav", tone(16_000), 16_000)
    path = tmp_path / "a.wav"
    path.write_text("ffconcat version 1.0\nfile secret.wav\n")
    monkeypatch.chdir(tmp_path)
    with path.open("rb") as file:
        with pytest.raises(CannotOpenError):
            av_source.AvSource(file.fileno(), DecodeLimits())
        monkeypatch.setattr(av_source, "_OPEN_OPTIONS", {})
        source = av_source.AvSource(file.fileno(), DecodeLimits())  # reads it without the list
        assert sum(len(block) for block, _ in source.blocks(1.0)) == 48_000
        source.close()


def test_a_format_that_is_not_on_the_whitelist_is_not_opened(tmp_path: Path) -> None:
    """Each format has its own parser with its own bugs; a misspelled option would allow all of them."""
    from thoth_watch.infrastructure.audio import av_source
    from thoth_watch.infrastructure.audio.sources import CannotOpenError

    path = tmp_path / "a.wav"
    write_with_av(path, tone(16_000), 16_000, codec="pcm_s16le", container="nut")
    with path.open("rb") as file, pytest.raises(CannotOpenError, match="unsupported format"):
        av_source.AvSource(file.fileno(), DecodeLimits())


def openat2_of_an_old_kernel(*_: object) -> int:
    raise OSError(errno.ENOSYS, "Function not implemented")


@pytest.fixture(params=["openat2", "folder by folder"])
def _each_open_method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "folder by folder":
        monkeypatch.setattr(beneath, "openat2", openat2_of_an_old_kernel)


@pytest.mark.usefixtures("_each_open_method")
class TestOpening:
    def test_a_plain_file_in_a_folder_opens(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        path = tmp_path / "in" / "a.wav"
        path.write_bytes(b"x")
        descriptor = open_recording(replace(listed(path), inbox=tmp_path))
        assert os.read(descriptor, 2) == b"x"
        os.close(descriptor)

    def test_a_symlink_is_not_followed(self, tmp_path: Path) -> None:
        target = tmp_path / "target"
        target.write_bytes(b"x")
        link = tmp_path / "a.wav"
        link.symlink_to(target)
        with pytest.raises(FileChanged):
            open_recording(listed(link))
        with pytest.raises(FileChanged):
            open_recording(replace(listed(link), signature=signature_of(target.stat())))

    def test_a_symlink_to_a_folder_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "real" / "a.wav").write_bytes(b"x")
        (tmp_path / "in").symlink_to("real")
        with pytest.raises(FileChanged):
            open_recording(replace(listed(tmp_path / "in" / "a.wav"), inbox=tmp_path))

    def test_nothing_outside_the_inbox_is_opened(self, tmp_path: Path) -> None:
        (tmp_path / "inbox").mkdir()
        (tmp_path / "a.wav").write_bytes(b"x")
        file = replace(
            listed(tmp_path / "a.wav"),
            inbox=tmp_path / "inbox",
            path=tmp_path / "inbox" / ".." / "a.wav",
        )
        with pytest.raises(FileChanged):
            open_recording(file)

    def test_a_pipe_is_never_opened(self, tmp_path: Path) -> None:
        path = tmp_path / "a.wav"
        os.mkfifo(path)
        with pytest.raises(FileChanged):
            open_recording(listed(path))
        with pytest.raises(OSError, match="No such device"):  # no process reads it
            os.open(path, os.O_WRONLY | os.O_NONBLOCK)

    def test_a_socket_and_a_folder_are_refused(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(tmp_path / "s.wav"))
            with pytest.raises(FileChanged):
                open_recording(listed(tmp_path / "s.wav"))
        (tmp_path / "d.wav").mkdir()
        with pytest.raises(FileChanged):
            open_recording(listed(tmp_path / "d.wav"))

    def test_a_file_that_changed_since_it_was_listed_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.wav"
        path.write_bytes(b"x")
        file = listed(path)
        path.write_bytes(b"xy")
        with pytest.raises(FileChanged):
            open_recording(file)

    def test_a_deleted_file_is_reported_as_gone(self, tmp_path: Path) -> None:
        path = tmp_path / "a.wav"
        path.write_bytes(b"x")
        file = listed(path)
        path.unlink()
        with pytest.raises(FileGone):
            open_recording(file)

    def test_an_unreadable_file_is_reported_with_the_fix(self, tmp_path: Path) -> None:
        if os.geteuid() == 0:
            pytest.skip("root may read everything")
        path = tmp_path / "a.wav"
        path.write_bytes(b"x")
        path.chmod(0)
        with pytest.raises(FileUnreadable, match="read access"):
            open_recording(listed(path))

    def test_a_name_that_is_not_utf_8_can_be_opened(self, tmp_path: Path) -> None:
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n.wav"))
        path.write_bytes(b"x")
        handle = open_recording(listed(path))
        content = os.read(handle, 10)
        os.close(handle)

        assert content == b"x"


def test_a_file_written_to_while_it_is_decoded_is_refused(tmp_path: Path) -> None:
    path = write_with_soundfile(tmp_path / "a.wav", tone(16_000), 16_000)
    file = audio_file(path)
    with WorkerDecoder() as decoder:
        original_call = decoder._decode_worker.call

        def write_then_call(*args: object, **kwargs: object) -> object:
            with path.open("ab") as more:
                more.write(b"more")
            return original_call(*args, **kwargs)  # type: ignore[arg-type]

        decoder._decode_worker.call = write_then_call  # type: ignore[method-assign, assignment]
        with pytest.raises(FileChanged):
            decoder.decode(file)


def test_a_symlink_may_be_given_on_the_command_line(tmp_path: Path) -> None:
    path = write_with_soundfile(tmp_path / "a.wav", tone(16_000), 16_000)
    (tmp_path / "b.wav").symlink_to(path)
    assert audio_file(tmp_path / "b.wav").path == path
    with pytest.raises(FileGone):
        audio_file(tmp_path / "c.wav")
    with pytest.raises(NotAudio):
        audio_file(tmp_path)


def wav_header(*, channels: int = 1, rate_hz: int = 16_000, audio_bytes: int = 32_000) -> bytes:
    shape = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * channels * 2, channels * 2, 16)
    return (
        b"RIFF" + struct.pack("<I", 36 + audio_bytes) + b"WAVEfmt " + struct.pack("<I", 16) + shape
    ) + (b"data" + struct.pack("<I", audio_bytes) + bytes(audio_bytes))


@pytest.mark.parametrize("shape", [{"channels": 255}, {"rate_hz": 1}, {"rate_hz": 2**31 - 1}])
def test_absurd_headers_are_refused(
    decoder: WorkerDecoder, tmp_path: Path, shape: dict[str, int]
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_header(**shape))
    with pytest.raises(NotAudio, match="can be decoded"):
        decoder.decode(audio_file(path))


def test_limits_apply_to_decoded_audio_not_to_headers(tmp_path: Path) -> None:
    path = write_with_soundfile(tmp_path / "a.flac", np.zeros(16_000 * 30, np.float32), 16_000)
    with (
        WorkerDecoder(limits=DecodeLimits(decoded_s=20.0)) as decoder,
        pytest.raises(NotAudio, match="split the recording"),
    ):
        decoder.decode(audio_file(path))
    with (
        WorkerDecoder(limits=DecodeLimits(size_bytes=100)) as decoder,
        pytest.raises(NotAudio, match="at most 100"),
    ):
        decoder.decode(audio_file(path))


def test_a_wrong_length_in_a_header_does_not_delay_decoding(
    decoder: WorkerDecoder, tmp_path: Path
) -> None:
    path = write_with_soundfile(tmp_path / "a.mp3", tone(44_100), 44_100)
    content = bytearray(path.read_bytes())
    mark = max(content.find(b"Xing"), content.find(b"Info"))
    content[mark + 8 : mark + 12] = b"\x7f\xff\xff\xff"
    path.write_bytes(content)
    recording = decoder.decode(audio_file(path))
    assert recording.duration_s < 4
    assert any(warning.startswith("truncated") for warning in recording.info.warnings)
