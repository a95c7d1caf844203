"""How subtitles are laid out: how much of the words is shown at once, and for how long."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SubtitleLayout:
    """openai/whisper's options, with defaults that can be read; None sets no limit, as there.

    A cue never reaches over the end of a segment. Where whisper timed no words, the segment's time
    is shared by characters. Source of the defaults: the guides of broadcasters (42 characters, two
    lines, 17 to 20 characters a second); whisper's own default is a segment of up to 30 s at once.
    """

    max_line_width: int | None = (
        42  # characters; those of Chinese, Japanese and Korean count double
    )
    max_line_count: int | None = 2  # lines of a cue
    max_words_per_line: int | None = None  # a new cue after so many words
    highlight_words: bool = False  # a cue per word, which is underlined; where words are timed
    reading_speed: float | None = (
        20.0  # characters per second: cues stay on for it where it is quiet
    )
