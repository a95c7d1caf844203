"""Real recordings from other projects' tests: awkward files, and recordings of speech.

AWKWARD_CORPUS names a folder with a manifest.json: for each file, the seconds that ffmpeg, PyAV and
soundfile decoded, and those that its header declares. SPEECH_CORPUS names a folder with a manifest.jsonl:
each line has a `file` and, if known, its `duration`. These files may not be redistributed, so the
folders are not part of the repository.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from tests.application.conftest import Harness
from thoth_watch.domain.audio import AUDIO_EXTENSIONS
from thoth_watch.domain.file_options import FileOptions
from thoth_watch.domain.states import State

AWKWARD_CORPUS = os.environ.get("AWKWARD_CORPUS")
SPEECH_CORPUS = os.environ.get("SPEECH_CORPUS")
FINAL_STATES = {State.DONE, State.FAILED, State.QUARANTINED, State.REFUSED, State.CONFLICT}
WEEK_S = 7 * 86_400.0
TOLERANCE_S = 0.25

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.timeout(1800),
]
needs_awkward_corpus = pytest.mark.skipif(
    AWKWARD_CORPUS is None, reason="AWKWARD_CORPUS is not set"
)
needs_speech_corpus = pytest.mark.skipif(SPEECH_CORPUS is None, reason="SPEECH_CORPUS is not set")


def decoded_durations(entry: dict[str, Any]) -> list[float]:
    """Return the duration that each decoder found; fewer than three if one failed."""
    has_succeeded = (entry["ffmpeg"]["exit"] == 0, entry["pyav"]["ok"], entry["soundfile"]["ok"])
    durations = [entry[name]["seconds"] for name in ("ffmpeg", "pyav", "soundfile")]
    return [s for s, succeeded in zip(durations, has_succeeded, strict=True) if succeeded and s]


def serve_corpus(harness: Harness, corpus: Path, names: Collection[str]) -> dict[str, Any]:
    """Process the corpus; return each audio file's row by name. Each is final, and has a reason or is DONE."""
    root = harness.inbox.root
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(corpus / name, root / name)

    def is_over() -> bool:
        states = set(harness.states().values())
        return (bool(states) and states <= FINAL_STATES) or harness.clock.seconds > WEEK_S

    harness.serve(drain=False, until=is_over)

    with harness.ledger.engine.connect() as connection:
        rows = {
            str(Path(row.path).relative_to(root)): row
            for row in connection.exec_driver_sql(
                "SELECT path, state, reason, crashes, verdict, results.duration_s FROM files"
                " LEFT JOIN results USING (sha256, fingerprint)"
            )
        }
    assert set(rows) == {n for n in names if Path(n).suffix[1:].lower() in AUDIO_EXTENSIONS}
    assert [n for n, row in rows.items() if row.state not in FINAL_STATES] == []
    assert [n for n, row in rows.items() if row.state != "DONE" and not row.reason] == []
    assert [n for n, row in rows.items() if row.crashes] == []
    return rows


@needs_awkward_corpus
def test_every_awkward_file_reaches_a_final_state_and_readable_ones_are_transcribed(
    make_harness: Callable[..., Harness],
):
    corpus = Path(str(AWKWARD_CORPUS))
    entries = {e["file"]: e for e in json.loads((corpus / "manifest.json").read_text())}
    rows = serve_corpus(make_harness(), corpus, entries)
    audio_names = set(rows)

    agreed = {
        n
        for n in audio_names
        if len(seconds := decoded_durations(entries[n])) == 3 and max(seconds) - min(seconds) <= 0.1
    }
    assert len(agreed) > 100
    assert {n: rows[n].reason for n in agreed if rows[n].state not in {"DONE", "CONFLICT"}} == {}

    wrong_durations = {
        name: (rows[name].duration_s, decoded_durations(entries[name]))
        for name in agreed
        if rows[name].verdict not in {None, "truncated"}
        and abs(rows[name].duration_s - decoded_durations(entries[name])[0]) > TOLERANCE_S
    }
    assert wrong_durations == {}

    def is_truncated(name: str) -> bool:
        declared = float(entries[name]["declared_seconds"] or 0)
        durations = decoded_durations(entries[name])
        return len(durations) == 3 and declared - max(durations) > max(0.25, 0.01 * declared)

    unreported = {
        name: (entries[name]["declared_seconds"], decoded_durations(entries[name]))
        for name in audio_names
        if is_truncated(name) and rows[name].state == "DONE" and rows[name].verdict != "truncated"
    }
    assert unreported == {}
    assert any(row.verdict == "truncated" for row in rows.values())


@needs_speech_corpus
@pytest.mark.parametrize("channels", ["mix", "split"])
def test_every_speech_recording_is_transcribed_in_full_length(
    make_harness: Callable[..., Harness], channels: str
):
    corpus = Path(str(SPEECH_CORPUS))
    lines = (corpus / "manifest.jsonl").read_text().splitlines()
    entries = {entry["file"]: entry for entry in map(json.loads, lines)}
    harness = make_harness()
    harness.file_options = FileOptions(formats=("txt",), channels=channels)

    rows = serve_corpus(harness, corpus, entries)

    assert {n: row.reason for n, row in rows.items() if row.state not in {"DONE", "CONFLICT"}} == {}
    lengths = {n: e["duration"] for n, e in entries.items() if n in rows and "duration" in e}
    wrong_durations = {
        name: (rows[name].duration_s, declared_s)
        for name, declared_s in lengths.items()
        if abs(rows[name].duration_s - declared_s) > TOLERANCE_S
        and rows[name].verdict != "truncated"
    }
    assert len(lengths) > 20
    assert wrong_durations == {}
