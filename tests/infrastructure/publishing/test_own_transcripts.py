from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.infrastructure.publishing.test_subtitles import timed_segment
from thoth_watch.domain.file_options import FORMATS
from thoth_watch.domain.subtitles import SubtitleLayout
from thoth_watch.domain.transcript import Transcript
from thoth_watch.infrastructure.publishing import find_own_transcripts, render

NARROW = SubtitleLayout(max_line_width=10, highlight_words=True)


def test_subtitles_with_timed_words_are_recognized_in_their_own_layout_only(
    tmp_path: Path,
) -> None:
    transcript = Transcript((timed_segment(" one two three four five", 0.0, 5.0),), "en", 5.0)
    provenance = {"program": "thoth-watch", "audio_sha256": "abc"}
    for name in ("json", "srt", "vtt", "txt"):
        content = render(transcript, name, provenance=provenance, layout=NARROW)
        (tmp_path / f"talk.{name}").write_bytes(content)

    def recognized(layout: SubtitleLayout | None) -> set[str]:
        source = tmp_path / "talk.wav"
        ours = find_own_transcripts(
            tmp_path, source, below=tmp_path, pattern="{stem}.{format}", sha256="abc", layout=layout
        )
        return {path.suffix for path, _ in ours}

    assert recognized(NARROW) == {".json", ".srt", ".vtt", ".txt"}
    assert recognized(None) == {".json", ".txt"}


def test_transcripts_with_speakers_are_recognized(tmp_path: Path) -> None:
    segment = replace(timed_segment(" one two", 0.0, 2.0), speaker="SPEAKER_01")
    provenance = {"program": "thoth-watch", "audio_sha256": "abc"}
    for name in FORMATS:
        content = render(Transcript((segment,), "en", 2.0), name, provenance=provenance)
        (tmp_path / f"talk.{name}").write_bytes(content)

    ours = find_own_transcripts(
        tmp_path, tmp_path / "talk.wav", below=tmp_path, pattern="{stem}.{format}", sha256="abc"
    )

    assert {path.suffix[1:] for path, _ in ours} == set(FORMATS)
