"""The next files are decoded while the engine is busy with one."""

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
from thoth_watch.application.ports import Recording
from thoth_watch.domain.audio import AudioFile, Signature
from thoth_watch.domain.batching import WaitingFile
from thoth_watch.domain.errors import NotAudio
from thoth_watch.domain.file_options import FileOptions

N_FILES = 60


class WatchedDecoder(FakeDecoder):
    """Says how many files it has decoded, and which recordings were closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closed: list[int] = []
        self.held: dict[str, threading.Event] = {}  # files whose decoding waits for that
        self._changed = threading.Condition()

    def decode(self, file: AudioFile, *, key: int = 0) -> Recording:
        if file.path.name in self.held:
            self.held[file.path.name].wait(20)
        with self._changed:
            self._changed.notify_all()
            recording = super().decode(file, key=key)
            return replace(recording, close=lambda: self.closed.append(key))

    def has_decoded(self, count: int) -> bool:
        """Wait until so many files are decoded; False if that never comes."""
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
    return decode_ahead(decoder, waiting_files(audio_s), clock=FakeClock(), should_stop=should_stop)


def test_the_engine_finds_the_next_files_decoded():
    decoder = WatchedDecoder()
    stream = start(decoder, audio_s=1.0)
    n_together = (FILES_AHEAD - 1) // GROUP_FILES

    next(stream)

    expected = 1 + n_together * GROUP_FILES
    assert decoder.has_decoded(expected)
    stream.close()
    assert len(decoder.decoded) == expected


def test_the_first_file_comes_alone_and_other_short_ones_together():
    several = [[item.file_id for item, _, _ in some] for some in start(WatchedDecoder(), 1.0)]

    assert several[0] == [0]
    assert several[1] == list(range(1, 1 + GROUP_FILES))
    assert [key for keys in several for key in keys] == list(range(N_FILES))


def test_files_come_together_only_while_they_are_short():
    several = [len(some) for some in start(WatchedDecoder(), GROUP_S / 2)]
    assert several == [1, *[2] * 29, 1]

    alone = [len(some) for some in start(WatchedDecoder(), GROUP_S)]
    assert alone == [1] * N_FILES


def test_all_files_come_in_order_and_what_is_wrong_with_one_stays_with_it():
    decoder = WatchedDecoder()
    decoder.bad["3.wav"] = NotAudio("text, not sound")

    results = [(item.file_id, result) for some in start(decoder) for item, result, _ in some]

    assert [key for key, _ in results] == list(range(N_FILES))
    assert isinstance(results[3][1], NotAudio)
    assert all(isinstance(result, Recording) for key, result in results if key != 3)


def test_what_was_decoded_before_a_fault_of_the_program_is_closed():
    decoder = WatchedDecoder()
    decoder.bad["3.wav"] = ZeroDivisionError("a bug")
    stream = start(decoder, audio_s=1.0)
    next(stream)

    with pytest.raises(ZeroDivisionError):
        next(stream)

    assert set(decoder.closed) >= {1, 2}


def test_leaving_does_not_wait_for_files_that_were_to_come_together():
    decoder = WatchedDecoder()
    decoder.held["2.wav"] = threading.Event()
    stream = start(decoder, audio_s=1.0)
    next(stream)
    assert decoder.has_decoded(2)

    leaving = threading.Thread(target=stream.close)
    leaving.start()
    time.sleep(0.5)  # it is at the door by now, where it waits for the file that was begun
    decoder.held["2.wav"].set()
    leaving.join(20)

    assert decoder.decoded == ["0.wav", "1.wav", "2.wav"]
    assert set(decoder.closed) == {1, 2}


def test_what_nobody_asked_for_is_closed():
    decoder = WatchedDecoder()
    stream = start(decoder)
    next(stream)
    assert decoder.has_decoded(3)

    stream.close()

    decoded_and_not_taken = {int(name.removesuffix(".wav")) for name in decoder.decoded} - {0}
    assert set(decoder.closed) == decoded_and_not_taken


@pytest.mark.parametrize("audio_s", [0.0, AUDIO_AHEAD_S])
def test_long_recordings_and_those_that_do_not_say_are_not_piled_up(audio_s: float):
    decoder = WatchedDecoder()
    stream = start(decoder, audio_s)

    next(stream)
    stream.close()

    assert decoder.decoded == ["0.wav"]


def test_a_stop_begins_no_other_file():
    decoder = WatchedDecoder()
    stop = threading.Event()
    stream = start(decoder, AUDIO_AHEAD_S, stop.is_set)
    next(stream)

    stop.set()

    assert list(stream) == []
    assert decoder.decoded == ["0.wav"]
