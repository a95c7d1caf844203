"""Split segments into subtitle cues with lines and times."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from thoth_watch.domain.subtitles import SubtitleLayout
from thoth_watch.domain.transcript import Segment, Transcript

NO_LIMITS = SubtitleLayout(max_line_width=None, max_line_count=None, reading_speed=None)
_CONTROL_CHARACTERS = dict.fromkeys((*range(0x20), 0x7F, *range(0x80, 0xA0)), " ")


@dataclass(frozen=True, slots=True)
class Cue:
    """The lines of a subtitle that are shown together."""

    start_ms: int
    end_ms: int
    lines: tuple[tuple[str, ...], ...]  # words, each with the space before it; no line is blank
    highlighted: tuple[int, int] | None = None  # line and index of the word that is spoken
    channel: str | None = None
    speaker: str | None = None
    label: str = ""  # [left] at a change of the channel, or [SPEAKER_00]:

    @property
    def words(self) -> str:
        """The spoken text, one line of the cue per line."""
        return "\n".join("".join(line) for line in self.lines)

    @property
    def text(self) -> str:
        """The text that is shown: the label and the words."""
        return self.label + self.words


@dataclass(frozen=True, slots=True)
class _TimedWord:
    """A word with the space before it, and its start and end in seconds."""

    text: str
    start: float
    end: float


def cues_of(transcript: Transcript, layout: SubtitleLayout) -> list[Cue]:
    """Return cues in time order, each at least 1 ms long and with words.

    Cues of one channel do not overlap; those of different channels may.
    """
    cues: list[Cue] = []
    free_from_ms: dict[str | None, int] = {}
    for segment in transcript.segments:
        for cue in _cues_of_segment(segment, _narrowed_for_label(layout, segment)):
            start_ms = max(cue.start_ms, free_from_ms.get(segment.channel, 0))
            free_from_ms[segment.channel] = end_ms = max(cue.end_ms, start_ms + 1)
            shown = replace(cue, start_ms=start_ms, end_ms=end_ms)
            cues.append(replace(shown, channel=segment.channel, speaker=segment.speaker))
    cues.sort(key=lambda cue: cue.start_ms)
    cues = [
        replace(cue, label=label_of(cue, after=before))
        for cue, before in zip(cues, [None, *cues], strict=False)
    ]
    if layout.reading_speed is not None:
        cues = _extend_for_reading(
            cues, layout.reading_speed, end_ms=to_milliseconds(transcript.duration_s)
        )
    return cues


def label_of(labeled: Segment | Cue, *, after: Segment | Cue | None) -> str:
    """Return the label before the words: always the speaker, like whisperX; the channel when it changes."""
    if labeled.speaker is not None:
        return f"[{labeled.speaker}]: "
    is_change = labeled.channel is not None and (after is None or after.channel != labeled.channel)
    return f"[{labeled.channel}] " if is_change else ""


def _narrowed_for_label(layout: SubtitleLayout, segment: Segment) -> SubtitleLayout:
    """Return the layout with lines narrowed by the width of the label."""
    label = label_of(segment, after=None)
    if not label or layout.max_line_width is None:
        return layout
    return replace(layout, max_line_width=max(layout.max_line_width - len(label), 2))


def to_milliseconds(seconds: float) -> int:
    """Return whole milliseconds, at least 0; NaN and infinity become 0."""
    return max(0, round(seconds * 1000)) if math.isfinite(seconds) else 0


def one_line(text: str) -> str:
    """Return the text without line breaks and control characters."""
    return " ".join(text.splitlines()).translate(_CONTROL_CHARACTERS).strip()


def _cues_of_segment(segment: Segment, layout: SubtitleLayout) -> Iterator[Cue]:
    are_timed = "".join(word.word for word in segment.words).strip() == segment.text.strip()
    if are_timed:
        words = [_TimedWord(_plain_word(word.word), word.start, word.end) for word in segment.words]
        words = [word for word in words if word.text.strip()]
    else:
        words = _estimate_word_times(segment, layout.max_line_width)
    for lines in _group_lines(words, layout):
        spoken = [word for line in lines for word in line]
        first, last = spoken[0], spoken[-1]
        cue = Cue(to_milliseconds(first.start), to_milliseconds(last.end), _texts(lines))
        yield from (
            _highlight_each_word(cue, lines) if layout.highlight_words and are_timed else [cue]
        )


def _plain_word(word: str) -> str:
    text = one_line(word)
    return f" {text}" if word[:1].isspace() else text


def _estimate_word_times(segment: Segment, width: int | None) -> list[_TimedWord]:
    """Return the words of a segment without word timestamps; its time is distributed by characters.

    A word wider than a line is split, because some languages have no spaces.
    """
    text = one_line(segment.text)
    parts = [part for word in re.findall(r"\s*\S+", text) for part in _split_word(word, width)]
    total, done = sum(map(len, parts)), 0
    duration_s = segment.end - segment.start
    words = []
    for part in parts:
        start = segment.start + duration_s * done / total
        done += len(part)
        end = segment.start + duration_s * done / total if done < total else segment.end
        words.append(_TimedWord(part, start, end))
    return words


def _split_word(word: str, width: int | None) -> Iterator[str]:
    part = ""
    for character in word:
        if width is not None and part.strip() and display_width(part + character) > width:
            yield part
            part = ""
        part += character
    yield part


def display_width(text: str) -> int:
    """Return the width of text on a line in columns, without the space before it."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text.lstrip())
    return len(text.lstrip()) + wide


def _group_lines(
    words: Sequence[_TimedWord], layout: SubtitleLayout
) -> Iterator[tuple[tuple[_TimedWord, ...], ...]]:
    """Yield the lines of each cue: lines are broken at the maximum width, cues at the line limit."""
    lines: list[list[_TimedWord]] = []
    for index, word in enumerate(words):
        is_new_cue = bool(lines) and index % (layout.max_words_per_line or len(words)) == 0
        if lines and not is_new_cue and _fits(lines[-1], word, layout.max_line_width):
            lines[-1].append(word)
            continue
        if is_new_cue or (lines and len(lines) == layout.max_line_count):
            yield from _split_before_number(lines)
            lines = []
        lines.append([word])
    yield from _split_before_number(lines)


def _split_before_number(
    lines: list[list[_TimedWord]],
) -> Iterator[tuple[tuple[_TimedWord, ...], ...]]:
    """Yield the lines as one cue, or as two if the last line is only a number.

    Subtitle readers take such a line for the number of the next cue and drop it.
    """
    cue = tuple(map(tuple, lines))
    at = len(cue) - (len(cue) > 1 and "".join(word.text for word in cue[-1]).strip().isdigit())
    yield from (part for part in (cue[:at], cue[at:]) if part)


def _fits(line: Iterable[_TimedWord], added: _TimedWord, width: int | None) -> bool:
    return width is None or display_width("".join(w.text for w in line) + added.text) <= width


def _texts(lines: Iterable[Sequence[_TimedWord]]) -> tuple[tuple[str, ...], ...]:
    return tuple((line[0].text.lstrip(), *(word.text for word in line[1:])) for line in lines)


def _highlight_each_word(cue: Cue, lines: Iterable[Sequence[_TimedWord]]) -> Iterator[Cue]:
    """Yield the cue once per word with that word highlighted, and without highlight between words."""
    shown_ms = cue.start_ms
    for row, line in enumerate(lines):
        for column, word in enumerate(line):
            start_ms, end_ms = to_milliseconds(word.start), to_milliseconds(word.end)
            if start_ms > shown_ms:
                yield replace(cue, start_ms=shown_ms, end_ms=start_ms)
            yield replace(cue, start_ms=start_ms, end_ms=end_ms, highlighted=(row, column))
            shown_ms = end_ms


def _extend_for_reading(cues: Sequence[Cue], characters_per_s: float, *, end_ms: int) -> list[Cue]:
    """Return the cues extended to their reading time, at most to the next cue or the recording's end."""
    ends = [*(following.start_ms for _, following in pairwise(cues)), end_ms]
    return [
        replace(cue, end_ms=max(cue.end_ms, min(cue.start_ms + needed_ms, until_ms)))
        for cue, until_ms in zip(cues, ends, strict=bool(cues))
        for needed_ms in [math.ceil(len(cue.text) / characters_per_s * 1000)]
    ]
