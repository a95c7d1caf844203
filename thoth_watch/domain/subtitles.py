"""Layout of subtitles: length and duration of their cues."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SubtitleLayout:
    """The options of openai/whisper, with readable defaults; None sets no limit, as in whisper.

    A cue never extends past the end of a segment. Without word timestamps the time of a segment is
    divided by characters. Source of the defaults: the guidelines of broadcasters (42 characters,
    two lines, 17 to 20 characters per second); whisper's default cue is a segment of up to 30 s.
    """

    max_line_width: int | None = 42  # characters; Chinese, Japanese and Korean ones count double
    max_line_count: int | None = 2  # lines per cue
    max_words_per_line: int | None = None  # words per cue
    highlight_words: bool = False  # one cue per word, underlined; needs word timestamps
    # characters per second: a cue stays on screen during silence until it can be read
    reading_speed: float | None = 20.0
