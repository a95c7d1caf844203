"""Tests of the prompt that precedes a window: initial prompt, hotwords and previous text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from thoth_watch.domain.decoding import DecodingOptions
from thoth_watch.domain.transcript import Segment
from thoth_watch.infrastructure.whisper.longform.prompts import PromptBuilder
from thoth_watch.infrastructure.whisper.longform.recording_job import RecordingJob, WindowResult
from thoth_watch.infrastructure.whisper.longform.windows import Window

RATE = 16_000


@pytest.fixture
def job(recording, bursts):
    return RecordingJob(recording(0, bursts(1)), language="en", window_source=None)


@pytest.fixture
def prompt(load, job):
    loaded = load()._loaded
    start = [loaded.special_tokens.previous, *loaded.special_tokens.prompt("en", "transcribe")]

    def make(*, is_first=True, positions=64, supports_previous_text=True, **options):
        special_tokens = replace(
            loaded.special_tokens, supports_previous_text=supports_previous_text
        )
        prompts = PromptBuilder(
            loaded.tokenizer, special_tokens, DecodingOptions(**options), positions=positions
        )
        tokens = prompts.build(job, language="en", is_first=is_first)
        if tokens[0] == start[0]:
            return loaded.tokenizer.decode(tokens[1:-3]), tokens[-3:] == start[1:]
        return None, tokens == start[1:]

    return make


def test_there_is_no_prompt_by_default(prompt):
    assert prompt() == (None, True)


def test_the_initial_prompt_precedes_the_first_window_only(prompt):
    assert prompt(initial_prompt="Thoth, Anna") == (" Thoth, Anna", True)
    assert prompt(initial_prompt="Thoth, Anna", is_first=False) == (None, True)


def test_a_carried_initial_prompt_precedes_every_window(prompt):
    options = {"initial_prompt": "Thoth", "carry_initial_prompt": True}
    assert prompt(**options, is_first=False) == (" Thoth", True)


def test_hotwords_precede_every_window(prompt):
    assert prompt(hotwords="Thoth", is_first=False) == (" Thoth", True)


def test_a_recordings_prompt_overrides_the_configured_one(prompt, job):
    job.recording = type(job.recording)(
        key=0,
        samples=job.recording.samples,
        sha256="",
        info=job.recording.info,
        prompt="mine",
    )
    assert prompt(initial_prompt="yours") == (" mine", True)


def result_of(tokens, temperature=0.0):
    segment = Segment(0, 1, "x", tuple(tokens), temperature=temperature)
    return WindowResult((segment,), "en", is_speech=True, n_tokens=3, advance_s=1.0)


def test_previous_text_precedes_windows_of_sequential_decoding_only(prompt, job, load):
    tokens = load()._loaded.tokenizer.encode(" one two", add_special_tokens=False)
    job.in_flight = 1
    job.add(result_of(tokens), Window(0, np.zeros(RATE)))

    assert prompt(long_form="sequential", is_first=False) == (" one two", True)
    assert prompt(is_first=False) == (None, True)
    independent = {"long_form": "sequential", "condition_on_previous_text": False}
    assert prompt(**independent, is_first=False) == (None, True)
    assert prompt(long_form="sequential", is_first=False, supports_previous_text=False) == (
        None,
        True,
    )
    job.is_careful = True
    assert prompt(long_form="sequential", is_first=False) == (None, True)


def test_text_decoded_at_a_high_temperature_is_not_used_as_a_prompt(prompt, job, load):
    tokens = load()._loaded.tokenizer.encode(" one two", add_special_tokens=False)
    job.in_flight = 2
    job.add(result_of(tokens), Window(0, np.zeros(RATE)))
    job.add(result_of(tokens, temperature=0.6), Window(0, np.zeros(RATE)))

    assert prompt(long_form="sequential", is_first=False) == (None, True)


def test_a_prompt_that_is_too_long_keeps_its_latest_tokens(prompt, job, load):
    tokens = load()._loaded.tokenizer.encode(" abcdefgh", add_special_tokens=False)
    job.in_flight = 1
    job.add(result_of(tokens), Window(0, np.zeros(RATE)))

    text, ends_with_start = prompt(long_form="sequential", is_first=False, positions=8)

    assert ends_with_start
    assert text
    assert " abcdefgh".endswith(text)
    assert len(text) < len(" abcdefgh")
