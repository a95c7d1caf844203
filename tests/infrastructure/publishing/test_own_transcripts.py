from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.infrastructure.publishing.test_subtitles import timed_segment
from thoth_watch.domain.file_options import FORMATS
from thoth_watch.domain.subtitles import SubtitleLayout
from thoth_watch.domain.transcript import Transcript
from thoth_watch.infrastructure.publishing import find_own_transcripts, render

NARROW = SubtitleLayout(max_line_width=10, highlight_words=True)


def test_subtitles_with_timed_words_are_ours_in_the_layout_they_were_made_in(
    tmp_path: Path,
) -> None:
    transcript = Transcript((timed_segment(" one two three four five", 0.0, 5.0),), "en", 5.0)
    told = {"program": "thoth-watch", "audio_sha256": "abc"}
    for name in ("json", "srt", "vtt", "txt"):
        content = render(transcript, name, provenance=told, layout=NARROW)
        (tmp_path / f"talk.{name}").write_bytes(content)

    def found(layout: SubtitleLayout | None) -> set[str]:
        source = tmp_path / "talk.wav"
        ours = find_own_transcripts(
            tmp_path, source, below=tmp_path, pattern="{stem}.{format}", sha256="abc", layout=layout
        )
        return {path.suffix for path, _ in ours}

    assert found(NARROW) == {".json", ".srt", ".vtt", ".txt"}
    assert found(None) == {".json", ".txt"}


def test_transcripts_with_speakers_are_ours(tmp_path: Path) -> None:
    segment = replace(timed_segment(" one two", 0.0, 2.0), speaker="SPEAKER_01")
    told = {"program": "thoth-watch", "audio_sha256": "abc"}
    for name in FORMATS:
        content = render(Transcript((segment,), "en", 2.0), name, provenance=told)
        (tmp_path / f"talk.{name}").write_bytes(content)

    ours = find_own_transcripts(
        tmp_path, tmp_path / "talk.wav", below=tmp_path, pattern="{stem}.{format}", sha256="abc"
    )

    assert {path.suffix[1:] for path, _ in ours} == set(FORMATS)
