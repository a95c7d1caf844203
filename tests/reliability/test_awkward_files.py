"""Real awkward recordings from other projects' tests, with what three decoders made of each.

AWKWARD_CORPUS names the folder; it has a manifest.json: for each file the seconds that ffmpeg, PyAV and
soundfile got from it, and those that its header declares. Such files are nobody's to give away, so the
folder does not come with the program.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.application.conftest import House
from thoth_watch.domain.audio import AUDIO_EXTENSIONS
from thoth_watch.domain.states import State

CORPUS = os.environ.get("AWKWARD_CORPUS")
ENDS = {State.DONE, State.FAILED, State.QUARANTINED, State.REFUSED, State.CONFLICT}
A_WEEK_S = 7 * 86_400.0

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(CORPUS is None, reason="AWKWARD_CORPUS names no folder"),
]


def seconds(entry: dict[str, Any]) -> list[float]:
    """What each decoder got; fewer than three where one failed."""
    is_fine = (entry["ffmpeg"]["exit"] == 0, entry["pyav"]["ok"], entry["soundfile"]["ok"])
    got = [entry[name]["seconds"] for name in ("ffmpeg", "pyav", "soundfile")]
    return [one for one, fine in zip(got, is_fine, strict=True) if fine and one]


def test_every_awkward_file_has_a_state_and_the_good_ones_are_transcribed(
    workshop: Callable[..., House],
):
    corpus = Path(str(CORPUS))
    entries = {e["file"]: e for e in json.loads((corpus / "manifest.json").read_text())}
    house = workshop()
    root = house.inbox.root
    for name in entries:
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(corpus / name, root / name)

    def is_over() -> bool:
        states = set(house.states().values())
        return (bool(states) and states <= ENDS) or house.clock.seconds > A_WEEK_S

    house.serve(drain=False, until=is_over)

    named = {n for n in entries if Path(n).suffix[1:].lower() in AUDIO_EXTENSIONS}
    with house.ledger.engine.connect() as connection:
        rows = {
            str(Path(row.path).relative_to(root)): row
            for row in connection.exec_driver_sql(
                "SELECT path, state, reason, crashes, verdict FROM files"
                " LEFT JOIN results USING (sha256, fingerprint)"
            )
        }
    assert set(rows) == named
    assert [n for n, row in rows.items() if row.state not in ENDS] == []
    assert [n for n, row in rows.items() if row.state != "DONE" and not row.reason] == []
    assert [n for n, row in rows.items() if row.crashes] == []

    agreed = {
        n for n in named if len(got := seconds(entries[n])) == 3 and max(got) - min(got) <= 0.1
    }
    assert len(agreed) > 100
    assert {n: rows[n].reason for n in agreed if rows[n].state not in {"DONE", "CONFLICT"}} == {}

    def falls_short(name: str) -> bool:
        declared = float(entries[name]["declared_seconds"] or 0)
        got = seconds(entries[name])
        return len(got) == 3 and declared - max(got) > max(0.25, 0.01 * declared)

    silent = {
        name: (entries[name]["declared_seconds"], seconds(entries[name]))
        for name in named
        if falls_short(name) and rows[name].state == "DONE" and rows[name].verdict != "truncated"
    }
    assert silent == {}
    assert any(row.verdict == "truncated" for row in rows.values())
