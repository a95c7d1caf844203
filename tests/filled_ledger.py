"""Creates a ledger with a plausible history of any length."""

from __future__ import annotations

import json
import os
import random
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from thoth_watch.infrastructure.ledger import SqlLedger

END = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
KINDS = (
    ("batch", "openai/whisper-small", "cuda:0", "NVIDIA L4", "float16", 60.0),
    ("accelerated", "openai/whisper-small", "cpu", "AMD EPYC", "bfloat16", 4.0),
    ("standard", "openai/whisper-small", "cpu", "AMD EPYC", "float32", 2.0),
)
FALLBACK = {
    "what": "engine",
    "asked": "batch on cuda in auto",
    "got": "standard on cpu in float32",
    "why": "cuda: no device",
}
FAILURES = (
    ("FAILED", "no audio in it"),
    ("FAILED", "not a recording: <b>Invalid data</b> found when processing input"),
    ("QUARANTINED", "decoding crashed: the decoder ended by SIGSEGV"),
    ("RETRY", "the disk is full; free some space (retrying in 60 s)"),
    (
        "CONFLICT",
        "talk.txt was not written by thoth-watch; it was kept and the transcript is talk.thoth-1a2b3c4d.txt",
    ),
)


def fill_ledger(path: Path, *, n_runs: int, every: timedelta = timedelta(minutes=10)) -> Path:
    """Create a ledger with n_runs runs, the last of which ended at END; the newest 500 have four files each."""
    SqlLedger.open(f"sqlite:///{path}").close()
    rng = random.Random(7)
    runs, files, members, transitions = [], [], [], []
    for run_id in range(1, n_runs + 1):
        started = END - every * (n_runs - run_id + 1)
        kind = KINDS[2] if run_id % 17 == 0 else KINDS[0] if run_id % 3 else KINDS[1]
        engine, model, device, device_name, precision, speed = kind
        n_failed = 1 if run_id % 13 == 0 else 0
        audio_s = rng.uniform(200, 1500)
        wall_s = audio_s / (speed * rng.uniform(0.7, 1.2))
        stages = {
            name: wall_s * part
            for name, part in {
                "load_s": 0.02,
                "queue_s": 0.01,
                "decode_s": 0.1,
                "features_s": 0.05,
                "encode_s": 0.22,
                "generate_s": 0.5,
                "write_s": 0.02,
            }.items()
        }
        runs.append(
            {
                "id": run_id,
                "started_at": _time(started),
                "finished_at": _time(started + timedelta(seconds=wall_s)),
                "status": "PARTIAL" if n_failed else "DONE",
                "engine": engine,
                "engine_asked": "batch",
                "model": model,
                "model_asked": model,
                "device": device,
                "device_asked": "auto",
                "device_name": device_name,
                "precision": precision,
                "precision_asked": "auto",
                "batch_size": 8,
                "files_ok": 4 - n_failed,
                "files_failed": n_failed,
                "audio_s": audio_s,
                "wall_s": wall_s,
                **stages,
                "realtime_factor": audio_s / wall_s,
                "files_per_min": 60 * 4 / wall_s,
                "peak_rss_bytes": 3 * 2**30,
                "peak_gpu_bytes": 2 * 2**30 if device.startswith("cuda") else 0,
                "fallbacks": json.dumps([FALLBACK] if engine == "standard" else []),
                "host": "desk",
                "versions": "{}",
            }
        )
        for number in range(4) if run_id > n_runs - 500 else ():
            state, reason = FAILURES[run_id % 5] if number < n_failed else ("DONE", "")
            file_id = 4 * run_id + number
            name = f"/srv/in/{started:%Y-%m}/talk {run_id}-{number}.wav"
            length_s = audio_s / 4 * rng.uniform(0.5, 1.5)
            files.append(_file(file_id, name, state, reason, length_s, run_id, started))
            claimed_at = started + timedelta(seconds=number)
            transitions.append((file_id, _time(claimed_at), "READY", "CLAIMED", "in a batch", 1))
            if state == "DONE":
                recorded_at = claimed_at + timedelta(seconds=wall_s)
                transitions.append(
                    (file_id, _time(recorded_at), "CLAIMED", "RESULT", "in the ledger", 1)
                )
            members.append((run_id, file_id, name, state, reason, None, length_s, 0))
    for number in range(min(n_runs, 6)):
        name = f"/srv/in/new/wait {number}.mp3"
        length_s = None if number == 5 else 600.0
        files.append(_file(-1 - number, name, "READY", "waiting for a batch", length_s, None, END))
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, rows in (("runs", runs), ("files", files)):
            if rows:
                names = list(rows[0])
                marks = ", ".join(f":{name}" for name in names)
                connection.executemany(
                    f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", rows
                )
        connection.executemany(
            "INSERT INTO transitions (file_id, at, before, after, reason, claim_no)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            transitions,
        )
        connection.executemany("INSERT INTO run_files VALUES (?, ?, ?, ?, ?, ?, ?, ?)", members)
    return path


def _file(
    file_id: int,
    path: str,
    state: str,
    reason: str,
    duration_s: float | None,
    run_id: int | None,
    at: datetime,
) -> dict[str, object]:
    return {
        "id": file_id,
        "path": path,
        "path_raw": os.fsencode(path),
        "inbox": "/srv/in",
        "inbox_raw": b"/srv/in",
        "state": state,
        "reason": reason,
        "size_bytes": 1,
        "duration_s": duration_s,
        "run_id": run_id,
        **dict.fromkeys(("attempts", "generation", "claim_no"), 1),
        **dict.fromkeys(("crashes", "deaths", "setbacks"), 0),
        **dict.fromkeys(("first_seen_at", "last_seen_at", "updated_at"), _time(at)),
    }


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S.%f}Z"
