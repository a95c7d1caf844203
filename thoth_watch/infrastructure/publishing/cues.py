"""Cuts segments into what a subtitle shows at once, and says from when to when it is shown."""

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
    """Lines that are shown together."""

    start_ms: int
    end_ms: int
    lines: tuple[tuple[str, ...], ...]  # of words with the spaces before them; no line is blank
    highlighted: tuple[int, int] | None = None  # line and word that is being spoken
    channel: str | None = None
    speaker: str | None = None
    label: str = ""  # who speaks: [left] where that changes, or [SPEAKER_00]:

    @property
    def words(self) -> str:
        """What is said, one text line a line."""
        return "\n".join("".join(line) for line in self.lines)

    @property
    def text(self) -> str:
        """What is shown: the words, after the label."""
        return self.label + self.words


@dataclass(frozen=True, slots=True)
class _TimedWord:
    """A word with the space before it, and its seconds."""

    text: str
    start: float
    end: float


def cues_of(transcript: Transcript, layout: SubtitleLayout) -> list[Cue]:
    """Cues in time order, each at least a millisecond long, none without words.

    Those of one channel do not overlap; people may talk at the same time on several.
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
    """What stands before words: their speaker always, as whisperX has it; a channel where it changes."""
    if labeled.speaker is not None:
        return f"[{labeled.speaker}]: "
    is_change = labeled.channel is not None and (after is None or after.channel != labeled.channel)
    return f"[{labeled.channel}] " if is_change else ""


def _narrowed_for_label(layout: SubtitleLayout, segment: Segment) -> SubtitleLayout:
    """The layout with room for a label in each line."""
    label = label_of(segment, after=None)
    if not label or layout.max_line_width is None:
        return layout
    return replace(layout, max_line_width=max(layout.max_line_width - len(label), 2))


def to_milliseconds(seconds: float) -> int:
    """Whole milliseconds from zero up; a time that is no number is the beginning."""
    return max(0, round(seconds * 1000)) if math.isfinite(seconds) else 0


def one_line(text: str) -> str:
    """The text without line ends and control characters."""
    return " ".join(text.splitlines()).translate(_CONTROL_CHARACTERS).strip()


def _cues_of_segment(segment: Segment, layout: SubtitleLayout) -> Iterator[Cue]:
    are_timed = "".join(word.word for word in segment.words).strip() == segment.text.strip()
    if are_timed:
        atoms = [_TimedWord(_plain_word(word.word), word.start, word.end) for word in segment.words]
        atoms = [atom for atom in atoms if atom.text.strip()]
    else:
        atoms = _estimate_word_times(segment, layout.max_line_width)
    for lines in _group_lines(atoms, layout):
        spoken = [atom for line in lines for atom in line]
        first, last = spoken[0], spoken[-1]
        cue = Cue(to_milliseconds(first.start), to_milliseconds(last.end), _texts(lines))
        yield from (
            _highlight_each_word(cue, lines) if layout.highlight_words and are_timed else [cue]
        )


def _plain_word(word: str) -> str:
    text = one_line(word)
    return f" {text}" if word[:1].isspace() else text


def _estimate_word_times(segment: Segment, width: int | None) -> list[_TimedWord]:
    """The words of a segment that has no times of words: its time shared by characters.

    A word wider than a line is cut; there are languages that put no spaces.
    """
    text = one_line(segment.text)
    pieces = [piece for word in re.findall(r"\s*\S+", text) for piece in _split_word(word, width)]
    total, done = sum(map(len, pieces)), 0
    spent_s = segment.end - segment.start
    atoms = []
    for piece in pieces:
        start = segment.start + spent_s * done / total
        done += len(piece)
        end = segment.start + spent_s * done / total if done < total else segment.end
        atoms.append(_TimedWord(piece, start, end))
    return atoms


def _split_word(word: str, width: int | None) -> Iterator[str]:
    piece = ""
    for character in word:
        if width is not None and piece.strip() and display_width(piece + character) > width:
            yield piece
            piece = ""
        piece += character
    yield piece


def display_width(text: str) -> int:
    """How much room text takes on a line, without the space before it."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text.lstrip())
    return len(text.lstrip()) + wide


def _group_lines(
    atoms: Sequence[_TimedWord], layout: SubtitleLayout
) -> Iterator[tuple[tuple[_TimedWord, ...], ...]]:
    """Words in lines, lines in cues: a line break where the width is used up, a cue after its lines."""
    lines: list[list[_TimedWord]] = []
    for index, atom in enumerate(atoms):
        is_new_cue = bool(lines) and index % (layout.max_words_per_line or len(atoms)) == 0
        if lines and not is_new_cue and _fits(lines[-1], atom, layout.max_line_width):
            lines[-1].append(atom)
            continue
        if is_new_cue or (lines and len(lines) == layout.max_line_count):
            yield from _split_before_number(lines)
            lines = []
        lines.append([atom])
    yield from _split_before_number(lines)


def _split_before_number(
    lines: list[list[_TimedWord]],
) -> Iterator[tuple[tuple[_TimedWord, ...], ...]]:
    """The lines as one cue; readers take a number alone below other lines for the next cue's, and drop it."""
    whole = tuple(map(tuple, lines))
    at = len(whole) - (len(whole) > 1 and "".join(a.text for a in whole[-1]).strip().isdigit())
    yield from (part for part in (whole[:at], whole[at:]) if part)


def _fits(line: Iterable[_TimedWord], atom: _TimedWord, width: int | None) -> bool:
    return width is None or display_width("".join(a.text for a in line) + atom.text) <= width


def _texts(lines: Iterable[Sequence[_TimedWord]]) -> tuple[tuple[str, ...], ...]:
    return tuple((line[0].text.lstrip(), *(atom.text for atom in line[1:])) for line in lines)


def _highlight_each_word(cue: Cue, lines: Iterable[Sequence[_TimedWord]]) -> Iterator[Cue]:
    """The cue once for each word, that word marked, and unmarked between words."""
    shown_ms = cue.start_ms
    for row, line in enumerate(lines):
        for column, atom in enumerate(line):
            start_ms, end_ms = to_milliseconds(atom.start), to_milliseconds(atom.end)
            if start_ms > shown_ms:
                yield replace(cue, start_ms=shown_ms, end_ms=start_ms)
            yield replace(cue, start_ms=start_ms, end_ms=end_ms, highlighted=(row, column))
            shown_ms = end_ms


def _extend_for_reading(cues: Sequence[Cue], characters_per_s: float, *, end_ms: int) -> list[Cue]:
    """Cues that stay on until they can have been read, the next one comes, or the recording ends."""
    ends = [*(following.start_ms for _, following in pairwise(cues)), end_ms]
    return [
        replace(cue, end_ms=max(cue.end_ms, min(cue.start_ms + needed_ms, until_ms)))
        for cue, until_ms in zip(cues, ends, strict=bool(cues))
        for needed_ms in [math.ceil(len(cue.text) / characters_per_s * 1000)]
    ]
