"""The next files of a batch are decoded while the engine computes."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import FakeClock, FakeDecoder
from thoth_watch.application.decode_ahead import (
    AUDIO_AHEAD_S,
    FILES_AHEAD,
    GROUP_FILES,
    GROUP_S,
    decode_ahead,
)
from thoth_watch.application.detect_speech import RecordingReader
from thoth_watch.application.ports.audio import Recording
from thoth_watch.domain.audio import AudioFile, Signature
from thoth_watch.domain.batching import WaitingFile
from thoth_watch.domain.errors import NotAudio
from thoth_watch.domain.file_options import FileOptions

N_FILES = 60


class WatchedDecoder(FakeDecoder):
    """Counts decoded files and closed recordings; decoding of some files can be blocked."""

    def __init__(self) -> None:
        super().__init__()
        self.closed: list[int] = []
        self.blocked: dict[str, threading.Event] = {}  # files whose decoding waits for an event
        self._changed = threading.Condition()

    def decode(self, file: AudioFile, *, key: int = 0) -> Recording:
        if file.path.name in self.blocked:
            self.blocked[file.path.name].wait(20)
        with self._changed:
            self._changed.notify_all()
            recording = super().decode(file, key=key)
            return replace(recording, close=lambda: self.closed.append(key))

    def has_decoded(self, count: int) -> bool:
        """Wait until `count` files are decoded; False after a timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.decoded) >= count, timeout=20)


def waiting_files(audio_s: float) -> list[WaitingFile]:
    signature = Signature(size_bytes=1, modified_ns=1, changed_ns=1, device=1, inode=1)
    inbox = Path("/inbox")
    return [
        WaitingFile(
            n, AudioFile(inbox, inbox / f"{n}.wav", signature), FileOptions(), 0.0, audio_s=audio_s
        )
        for n in range(N_FILES)
    ]


def start(decoder: WatchedDecoder, audio_s: float = 5.0, should_stop=lambda: False):
    reader = RecordingReader(decoder)
    return decode_ahead(reader, waiting_files(audio_s), clock=FakeClock(), should_stop=should_stop)


def test_the_next_files_are_decoded_before_the_engine_needs_them():
    decoder = WatchedDecoder()
    stream = start(decoder, audio_s=1.0)
    n_groups = (FILES_AHEAD - 1) // GROUP_FILES

    next(stream)

    expected = 1 + n_groups * GROUP_FILES
    assert decoder.has_decoded(expected)
    stream.close()
    assert len(decoder.decoded) == expected


def test_the_first_file_is_yielded_alone_and_short_ones_in_groups():
    groups = [[item.file_id for item, _, _ in group] for group in start(WatchedDecoder(), 1.0)]

    assert groups[0] == [0]
    assert groups[1] == list(range(1, 1 + GROUP_FILES))
    assert [key for keys in groups for key in keys] == list(range(N_FILES))


def test_only_short_files_are_grouped():
    sizes = [len(group) for group in start(WatchedDecoder(), GROUP_S / 2)]
    assert sizes == [1, *[2] * 29, 1]

    sizes = [len(group) for group in start(WatchedDecoder(), GROUP_S)]
    assert sizes == [1] * N_FILES


def test_files_keep_their_order_and_an_error_affects_only_its_file():
    decoder = WatchedDecoder()
    decoder.bad["3.wav"] = NotAudio("text, not audio")

    results = [(item.file_id, result) for group in start(decoder) for item, result, _ in group]

    assert [key for key, _ in results] == list(range(N_FILES))
    assert isinstance(results[3][1], NotAudio)
    assert all(isinstance(result, Recording) for key, result in results if key != 3)


def test_recordings_decoded_before_an_unexpected_error_are_closed():
    decoder = WatchedDecoder()
    decoder.bad["3.wav"] = ZeroDivisionError("a bug")
    stream = start(decoder, audio_s=1.0)
    next(stream)

    with pytest.raises(ZeroDivisionError):
        next(stream)

    assert set(decoder.closed) >= {1, 2}


def test_closing_the_stream_does_not_wait_for_the_rest_of_a_group():
    decoder = WatchedDecoder()
    decoder.blocked["2.wav"] = threading.Event()
    stream = start(decoder, audio_s=1.0)
    next(stream)
    assert decoder.has_decoded(2)

    closing = threading.Thread(target=stream.close)
    closing.start()
    time.sleep(0.5)  # close() is now waiting for the file that is being decoded
    decoder.blocked["2.wav"].set()
    closing.join(20)

    assert decoder.decoded == ["0.wav", "1.wav", "2.wav"]
    assert set(decoder.closed) == {1, 2}


def test_decoded_recordings_that_are_not_consumed_are_closed():
    decoder = WatchedDecoder()
    stream = start(decoder)
    next(stream)
    assert decoder.has_decoded(3)

    stream.close()

    not_consumed = {int(name.removesuffix(".wav")) for name in decoder.decoded} - {0}
    assert set(decoder.closed) == not_consumed


@pytest.mark.parametrize("audio_s", [0.0, AUDIO_AHEAD_S])
def test_recordings_of_long_or_unknown_duration_are_not_decoded_ahead(audio_s: float):
    decoder = WatchedDecoder()
    stream = start(decoder, audio_s)

    next(stream)
    stream.close()

    assert decoder.decoded == ["0.wav"]


def test_no_file_is_decoded_after_a_stop():
    decoder = WatchedDecoder()
    stop = threading.Event()
    stream = start(decoder, AUDIO_AHEAD_S, stop.is_set)
    next(stream)

    stop.set()

    assert list(stream) == []
    assert decoder.decoded == ["0.wav"]
