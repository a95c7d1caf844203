"""What people ask of one configuration: several inboxes, each with rules, places and names of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.reliability.place import Place, write_recording


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    document = {
        "inboxes": [
            {"path": "calls", "settle_s": 0.1, "after": "archive"},
            {"path": "uploads", "settle_s": 0.1, "sentinel": ".ready"},
        ],
        "engine": {"vad": "off"},  # what is dropped here is noise
        "ledger": {"url": f"sqlite:///{made.database}"},
        "rules": [
            {"match": "fr/**", "language": "fr", "name": "{stem}.{language}.{format}"},
            {"match": "*.wav", "formats": ["srt"], "output_dir": "texts"},
        ],
        "transcript": {"formats": ["txt"]},
    }
    made.config.write_text(json.dumps(document))
    return made


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_each_recording_is_treated_as_its_inbox_and_its_rules_say(place: Place):
    for number, name in enumerate(
        ("calls/a.wav", "calls/fr/b.wav", "uploads/c.wav", "uploads/fr/d.wav", "uploads/late.wav")
    ):
        write_recording(place.folder / name, seed=number)
    for name in ("uploads/c.wav.ready", "uploads/fr/d.ready"):
        (place.folder / name).touch()

    assert place.run("once") == 1, place.log()  # one waits for its sentinel

    assert files(place.folder / "calls") == {"fr/b.en.txt"}
    assert files(place.folder / "archive") == {"a.wav", "fr/b.wav"}
    assert files(place.folder / "texts") == {"a.srt", "c.srt"}
    assert files(place.folder / "uploads") == {
        *("c.wav", "c.wav.ready", "fr/d.wav", "fr/d.ready", "fr/d.en.txt", "late.wav"),
    }
    (waits,) = place.query("SELECT path, state, reason FROM failures")
    assert waits[:2] == (str(place.folder / "uploads/late.wav"), "SEEN")
    assert ".ready" in waits[2]

    (place.folder / "uploads/late.ready").touch()
    assert place.run("once") == 0, place.log()
    assert "late.srt" in files(place.folder / "texts")
