"""Measures the service around the engine: overhead, a large backlog and the delay of a single file.

    python -m benchmarks.service [--files N] [--backlog N] [--lone N] [--shared N]
                                 [--only overhead backlog lone devices]

overhead: short files through `once` with an engine of whisper-tiny's shape and full windows; CPU seconds
of everything except the engine (scans, ledger, audio decoding, speech detection, publishing), divided by
the engine's. backlog: tiny files with a fake engine. lone: files dropped one by one into the inbox of an
idle daemon with a fake engine. devices: files per minute with two engine processes, divided by those with
one; one thread each (needs two free cores). Writes benchmarks/out/service.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.service_runs import (
    Workspace,
    cpu_s,
    drain_real,
    drain_shared,
    drain_with_fake_engine,
    watch_with_fake_engine,
    write_wav,
)

OUT = Path("benchmarks/out")
N_TOKENS = 48
LIMITS = {"overhead_share": 0.10, "files_per_s": 300.0, "lone_ms": 50.0, "times_one": 1.7}
SAMPLE_EVERY_S = 1.0

Row = dict[str, Any]


def overhead(folder: Path, n_files: int) -> Row:
    """Measure the CPU seconds of everything except the engine, divided by the engine's."""
    workspace, report_path = Workspace(folder), folder / "report.json"
    config = workspace.configure(**_tiny_model_settings())
    audio_s = _write_short(workspace, n_files)
    _run_in_process(drain_real, config, report_path).join()
    spent = json.loads(report_path.read_text())
    overhead_s = spent["total_cpu_s"] - spent["engine_cpu_s"]
    _check_all_done(workspace, n_files)
    return {
        "row": "overhead",
        "files": n_files,
        "audio_s": audio_s,
        **spent,
        "overhead_share": overhead_s / spent["engine_cpu_s"],
    }


def backlog(folder: Path, n_files: int) -> Row:
    """Measure the files per second from the first claim to the last DONE, and the memory used."""
    workspace = Workspace(folder)
    config = workspace.configure(engine={"vad": "off"})
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, (256, 800))
    for number in range(n_files):
        subfolder = workspace.inbox / f"{number // 1000:03}"
        subfolder.mkdir(exist_ok=True)
        unique = np.array([number % 251, number // 251 % 251, number // 63001]) / 256
        write_wav(subfolder / f"{number:06}.wav", np.concatenate((noise[number % 256], unique)))
    process = _run_in_process(drain_with_fake_engine, config)
    root, samples = psutil.Process(process.pid), []
    used_cpu_s = 0.0
    while process.is_alive():
        time.sleep(SAMPLE_EVERY_S)
        try:
            running_s = sum(sum(p.cpu_times()[:2]) for p in root.children(recursive=True))
            used_cpu_s = running_s + sum(root.cpu_times()[:4])  # includes ended children
            resident = root.memory_info().rss
        except psutil.NoSuchProcess:
            break
        samples.append((_n_done(workspace), resident))
    process.join()
    _check_all_done(workspace, n_files)
    first, last = _work_span(workspace)
    while_running = [rss for done, rss in samples if 0.05 * n_files <= done < n_files]
    half = len(while_running) // 2
    return {
        "row": "backlog",
        "files": n_files,
        "file_system": _file_system_of(folder),
        "files_per_s": n_files / (last - first),
        "cpu_ms_per_file": 1e3 * used_cpu_s / n_files,
        "rss_first_half_mb": max(while_running[:half], default=0) / 1e6,
        "rss_second_half_mb": max(while_running[half:], default=0) / 1e6,
        "samples": samples,
    }


def lone(folder: Path, n_files: int) -> Row:
    """Measure the milliseconds from settled (READY) to when the engine gets the recording."""
    workspace = Workspace(folder)
    config = workspace.configure(engine={"vad": "auto"})
    report_path = folder / "report.json"
    process = _run_in_process(watch_with_fake_engine, config, report_path)
    _wait_until(report_path.exists)
    rng = np.random.default_rng(0)
    dropped = []
    for number in range(n_files + 1):  # the first file only starts the decode worker
        staged = workspace.folder / "staged"
        write_wav(staged, rng.uniform(-0.3, 0.3, 48_000))
        staged.rename(workspace.inbox / f"{number:03}.wav")
        dropped.append(time.time())
        _wait_until(partial(_is_count_done, workspace, number + 1))
        time.sleep(0.3)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGTERM)
    process.join()
    started = json.loads(report_path.read_text())[1:]  # the first start was the engine's self-test
    ready = [row[0] for row in _query(workspace, "SELECT ready_at FROM files ORDER BY id")]
    settled = [datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() for text in ready]
    delays = [1e3 * (s - r) for s, r in zip(started, settled, strict=True)][1:]
    since = [1e3 * (s - d) for s, d in zip(started, dropped, strict=True)][1:]
    return {
        "row": "lone",
        "files": n_files,
        "median_ms": statistics.median(delays),
        "worst_ms": max(delays),
        "median_ms_since_dropped": statistics.median(since),
    }


def devices(folder: Path, n_files: int) -> Row:
    """Measure the files per minute of two engine processes divided by those of one, one thread each."""
    row: Row = {"row": "devices", "files": n_files}
    for count in (1, 2):
        workspace = Workspace(folder / str(count))
        tiny = _tiny_model_settings()
        config = workspace.configure(
            **tiny | {"engine": tiny["engine"] | {"devices": f"cpu x {count}"}}
        )
        _write_short(workspace, n_files)
        before_s = cpu_s()
        _run_in_process(drain_shared, config).join()
        _check_all_done(workspace, n_files)
        first, last = _work_span(workspace)
        row[f"files_per_min_{count}"] = 60 * n_files / (last - first)
        row[f"cpu_s_{count}"] = cpu_s() - before_s
        row[f"engine_s_{count}"] = _query(
            workspace, "SELECT sum(features_s + encode_s + generate_s) FROM runs"
        )[0][0]
    row["times_one"] = row["files_per_min_2"] / row["files_per_min_1"]
    return row


def _tiny_model_settings() -> dict[str, Any]:
    """Return settings for whisper-tiny's shape with random weights and without any retry."""
    from benchmarks.checkpoints import make_checkpoint

    model = make_checkpoint(OUT, "tiny", n_tokens=N_TOKENS)
    return {
        "engine": {
            "engine_type": "batch",
            "model": str(model.resolve()),
            "device": "cpu",
            "language": "en",
        },
        "decoding": {
            "temperature": 0.0,
            "logprob_threshold": None,
            "compression_ratio_threshold": None,
            "no_speech_threshold": None,
            "retry_suspect": False,
        },
        "transcript": {"formats": ["txt", "json"]},
    }


def _write_short(workspace: Workspace, n_files: int) -> float:
    """Fill the inbox with utterances of 3 to 10 s and return their total seconds."""
    import soundfile

    from benchmarks.recordings import make_recordings

    spoken = make_recordings(OUT / "recordings", n_short=32, long_s=60)["short"].files
    rng, audio_s = np.random.default_rng(0), 0.0
    for number in range(n_files):
        samples, rate_hz = soundfile.read(spoken[number % len(spoken)], dtype="float32")
        # With added noise, every file has different content.
        samples = samples + 1e-3 * rng.standard_normal(len(samples))
        soundfile.write(workspace.inbox / f"{number:05}.flac", samples, rate_hz)
        audio_s += len(samples) / rate_hz
    return audio_s


def _run_in_process(run: Callable[..., None], *args: Path) -> multiprocessing.process.BaseProcess:
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
    process = multiprocessing.get_context("spawn").Process(target=run, args=args)
    process.start()
    return process


def _query(workspace: Workspace, sql: str) -> list[Any]:
    connection = sqlite3.connect(f"file:{workspace.database}?mode=ro", uri=True, timeout=60)
    try:
        return connection.execute(sql).fetchall()
    except sqlite3.OperationalError:
        return []  # the tables do not exist yet
    finally:
        connection.close()


def _n_done(workspace: Workspace) -> int:
    if not workspace.database.exists():
        return 0
    rows = _query(workspace, "SELECT count(*) FROM files WHERE state = 'DONE'")
    return int(rows[0][0]) if rows else 0


def _is_count_done(workspace: Workspace, n_files: int) -> bool:
    return _n_done(workspace) == n_files


def _work_span(workspace: Workspace) -> tuple[float, float]:
    first, last = _query(
        workspace, "SELECT (SELECT min(claimed_at) FROM batches), (SELECT max(done_at) FROM files)"
    )[0]
    return tuple(datetime.fromisoformat(text).timestamp() for text in (first, last))  # type: ignore[return-value]


def _check_all_done(workspace: Workspace, n_files: int) -> None:
    states = dict(_query(workspace, "SELECT state, count(*) FROM files GROUP BY state"))
    written = sum(1 for _ in workspace.inbox.rglob("*.txt"))
    if states != {"DONE": n_files} or written != n_files:
        raise SystemExit(f"expected {n_files} files DONE, found {states} and {written} transcripts")


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("timed out after 120 s waiting for the service")
        time.sleep(0.01)


def _file_system_of(folder: Path) -> str:
    resolved = folder.resolve()
    mounts = [p for p in psutil.disk_partitions(all=True) if resolved.is_relative_to(p.mountpoint)]
    return max(mounts, key=lambda p: len(p.mountpoint)).fstype


def show(rows: list[Row], console: Console) -> None:
    """Print the table."""
    table = Table("benchmark", "files", "measured", "target", "details")
    for row in rows:
        match row["row"]:
            case "overhead":
                measured = f"{100 * row['overhead_share']:.1f} % of the engine's CPU s"
                target = f"at most {100 * LIMITS['overhead_share']:.0f} %"
                details = f"CPU s: engine {row['engine_cpu_s']:.1f}, all {row['total_cpu_s']:.1f}"
            case "backlog":
                measured = f"{row['files_per_s']:.0f} files/s on {row['file_system']}"
                target = f"at least {LIMITS['files_per_s']:.0f}"
                details = (
                    f"{row['cpu_ms_per_file']:.2f} CPU ms/file; {row['rss_first_half_mb']:.0f} MB in "
                    f"the first half, {row['rss_second_half_mb']:.0f} MB in the second"
                )
            case "devices":
                measured = f"{row['times_one']:.2f} times the files per minute of one engine"
                target = f"at least {LIMITS['times_one']}"
                details = (
                    f"{row['files_per_min_1']:.0f} and {row['files_per_min_2']:.0f} files/min; "
                    f"{row['cpu_s_1']:.1f} and {row['cpu_s_2']:.1f} CPU s"
                )
            case _:
                measured = f"{row['median_ms']:.0f} ms median"
                target = f"at most {LIMITS['lone_ms']:.0f} ms"
                details = f"worst {row['worst_ms']:.0f}; {row['median_ms_since_dropped']:.0f} since the drop"
        table.add_row(row["row"], str(row["files"]), measured, target, details)
    console.print(table)


def main() -> None:
    """Run the selected benchmarks, write the results and print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--files", type=int, default=1_000)
    parser.add_argument("--backlog", type=int, default=100_000)
    parser.add_argument("--lone", type=int, default=20)
    parser.add_argument("--shared", type=int, default=64)
    parser.add_argument("--only", nargs="+", choices=["overhead", "backlog", "lone", "devices"])
    parser.add_argument(
        "--folder",
        type=Path,
        help="Parent of the working folders; default: the system's temporary folder.",
    )
    args = parser.parse_args()
    runs = {
        "lone": (lone, args.lone),
        "backlog": (backlog, args.backlog),
        "devices": (devices, args.shared),
        "overhead": (overhead, args.files),
    }
    OUT.mkdir(parents=True, exist_ok=True)
    console, rows = Console(width=150), []
    for name, (measure, count) in runs.items():
        if args.only is None or name in args.only:
            folder = Path(tempfile.mkdtemp(prefix="thoth-bench-", dir=args.folder))
            try:
                rows.append(measure(folder, count))
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            (OUT / "service.json").write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    show(rows, console)
    console.print(str(OUT / "service.json"))


if __name__ == "__main__":
    main()
