"""Tests of the temperature fallback: only bad windows are decoded again, not the batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from thoth_watch.domain.decoding import DecodingOptions
from thoth_watch.infrastructure.whisper.decoding.search import Decoded
from thoth_watch.infrastructure.whisper.decoding.temperature_fallback import decode_with_fallback
from thoth_watch.infrastructure.whisper.decoding.window_decoder import Prefill

OPTIONS = DecodingOptions(temperature=(0.0, 0.4, 0.8))
GOOD, DOUBTFUL = -0.2, -1.5


class ScriptedDecoder:
    """A fake decoder that returns the given log-probabilities, per window and temperature."""

    def __init__(self, *windows, text=(1, 2)):
        self.windows, self.text = windows, text
        self.calls = []

    def decode(self, prefill, prompts, *, temperature, seeds, rows, careful):
        self.calls.append((temperature, list(rows), list(seeds), careful))
        return [Decoded(self.text, self.windows[row][temperature]) for row in rows]


def run(script, *, options=OPTIONS, no_speech=None, text="one two", careful=None):
    n = len(script.windows)
    prefill = Prefill(no_speech or [0.0] * n, ["en"] * n, None, torch.zeros(n, 4))
    return decode_with_fallback(
        script,
        prefill,
        [[0]] * n,
        options=options,
        text_of=lambda _: text,
        seeds=[100 + row for row in range(n)],
        careful=careful or [False] * n,
    )


def test_windows_with_good_text_are_decoded_once():
    script = ScriptedDecoder({0.0: GOOD}, {0.0: GOOD})

    assert [a.temperature for a in run(script)] == [0.0, 0.0]
    assert len(script.calls) == 1


def test_only_the_doubtful_window_is_decoded_again():
    script = ScriptedDecoder({0.0: GOOD}, {0.0: DOUBTFUL, 0.4: GOOD}, {0.0: GOOD})

    attempts = run(script)

    assert [a.temperature for a in attempts] == [0.0, 0.4, 0.0]
    assert script.calls[1] == (0.4, [1], [101], False)
    assert all(a.is_good for a in attempts)


def test_a_window_that_never_becomes_good_keeps_its_last_attempt():
    script = ScriptedDecoder({0.0: DOUBTFUL, 0.4: DOUBTFUL, 0.8: -1.2})

    (attempt,) = run(script)

    assert (attempt.temperature, attempt.decoded.avg_logprob) == (0.8, -1.2)
    assert not attempt.is_good


def test_repetitive_text_is_decoded_again():
    script = ScriptedDecoder({0.0: GOOD, 0.4: GOOD, 0.8: GOOD})

    (attempt,) = run(script, text="no no no no no " * 30)

    assert attempt.compression_ratio > 2.4
    assert len(script.calls) == 3


def test_silence_is_not_decoded_again():
    script = ScriptedDecoder({0.0: DOUBTFUL})

    (attempt,) = run(script, no_speech=[0.9])

    assert attempt.is_silence
    assert len(script.calls) == 1


@pytest.mark.parametrize(
    ("changes", "text", "n_calls"),
    [
        ({"logprob_threshold": None}, "one two", 1),
        ({"compression_ratio_threshold": None}, "no no no no no " * 30, 3),
        ({"logprob_threshold": None, "compression_ratio_threshold": None}, "no " * 90, 1),
    ],
)
def test_a_threshold_can_be_disabled(changes, text, n_calls):
    script = ScriptedDecoder({0.0: DOUBTFUL, 0.4: DOUBTFUL, 0.8: DOUBTFUL})

    run(script, options=replace(OPTIONS, **changes), text=text)

    assert len(script.calls) == n_calls


def test_careful_windows_are_decoded_separately():
    script = ScriptedDecoder({0.0: GOOD}, {0.0: GOOD}, {0.0: GOOD})

    run(script, careful=[False, True, False])

    assert [(rows, careful) for _, rows, _, careful in script.calls] == [
        ([0, 2], False),
        ([1], True),
    ]
