"""Segments and words get the speaker who speaks longest during them."""

from __future__ import annotations

import random

from thoth_watch.domain.speakers import Turn, assign_speakers
from thoth_watch.domain.transcript import Segment, Transcript, Word


def transcript_of(*segments: Segment) -> Transcript:
    return Transcript(segments, "en", 60.0)


def test_a_segment_gets_the_speaker_who_speaks_longest_in_it() -> None:
    transcript = transcript_of(Segment(0.0, 4.0, " one"), Segment(4.0, 10.0, " two"))
    turns = (Turn(0.0, 3.0, "A"), Turn(3.0, 5.0, "B"), Turn(5.0, 6.5, "A"), Turn(6.5, 8.5, "B"))

    named = assign_speakers(transcript, turns)

    assert [segment.speaker for segment in named.segments] == ["A", "B"]


def test_timed_words_get_their_own_speakers() -> None:
    words = (
        Word(0.0, 0.4, " yes", 1.0),
        Word(1.0, 1.0, " no", 1.0),  # whisper gives some words a duration of 0
        Word(3.0, 3.5, " well", 1.0),
    )
    transcript = transcript_of(Segment(0.0, 3.5, " yes no well", words=words))

    (segment,) = assign_speakers(transcript, (Turn(0.0, 0.9, "A"), Turn(0.95, 1.5, "B"))).segments

    assert [word.speaker for word in segment.words] == ["A", "B", None]
    assert segment.speaker == "A"


def test_without_an_overlapping_turn_there_is_no_speaker() -> None:
    transcript = transcript_of(Segment(5.0, 6.0, " hm"))
    for turns in ((), (Turn(0.0, 5.0, "A"), Turn(6.0, 9.0, "B"))):
        assert assign_speakers(transcript, turns) == transcript


def test_the_speaker_is_the_one_who_overlaps_most_for_any_turns() -> None:
    rng = random.Random(7)
    for _ in range(200):
        turns = [
            Turn(start, start + rng.uniform(0.1, 20), rng.choice("ABC"))
            for start in (rng.uniform(0, 60) for _ in range(rng.randrange(12)))
        ]
        spans = [(start, start + rng.uniform(0.1, 5)) for start in (rng.uniform(0, 70),)]
        ((start, end),) = spans

        (segment,) = assign_speakers(transcript_of(Segment(start, end, " hm")), turns).segments

        shares = {
            speaker: sum(
                max(0.0, min(end, t.end) - max(start, t.start))
                for t in turns
                if t.speaker == speaker
            )
            for speaker in "ABC"
        }
        best = max(shares.values())
        expected = (
            {speaker for speaker, share in shares.items() if share > best - 1e-9}
            if best
            else {None}
        )
        assert segment.speaker in expected
