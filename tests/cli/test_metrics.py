"""`metrics`, parsed with the parser of the Prometheus client."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.filled_ledger import fill_ledger
from thoth_watch.domain import errors

RULES = Path(__file__).parents[2] / "docs/examples/alert-rules.yaml"


@pytest.fixture
def filled_ledger(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("inbox: {path: .}\n")
    return fill_ledger(tmp_path / "thoth-watch.db", n_runs=40)


def samples(text: str) -> dict[str, float]:
    """Return the sum over all labels by metric name."""
    totals: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
    return totals


def test_a_file_has_the_figures_of_the_ledger(run, filled_ledger: Path, tmp_path: Path):
    done = run("metrics", "--output", "thoth-watch.prom")

    assert (done.returncode, done.stdout) == (0, "")
    text = (tmp_path / "thoth-watch.prom").read_text()
    values = samples(text)
    assert values["thoth_watch_runs_total"] == 40
    assert values["thoth_watch_transcribed_files_total"] == 4 * 40 - 3
    assert values["thoth_watch_failed_files_total"] == 3
    assert values["thoth_watch_files"] == 4 * 40 + 6
    assert values["thoth_watch_fallback_runs_total"] == 2
    assert values["thoth_watch_working"] == 0
    assert values["thoth_watch_audio_seconds_total"] > values["thoth_watch_run_seconds_total"] > 0
    assert 'thoth_watch_files{state="QUARANTINED"} ' in text
    assert [path.name for path in tmp_path.glob("*.prom*")] == ["thoth-watch.prom"]


def test_http_requests_get_current_figures(filled_ledger: Path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "thoth_watch", "metrics", "--port", port]
    with subprocess.Popen(
        command, cwd=filled_ledger.parent, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            assert f"127.0.0.1:{port}/metrics" in process.stderr.readline()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
                assert samples(response.read().decode())["thoth_watch_runs_total"] == 40
        finally:
            process.kill()


def test_exactly_one_destination_is_required(run, filled_ledger: Path):
    assert run("metrics").returncode == errors.EXIT_USAGE
    assert run("metrics", "-o", "x", "--port", "1").returncode == errors.EXIT_USAGE
    done = run("metrics", "-o", "missing/x.prom")
    assert done.returncode == errors.EXIT_RETRY_LATER
    assert "missing/x.prom" in done.stderr


def test_alert_rules_use_only_metrics_that_exist(run, filled_ledger: Path, tmp_path: Path):
    run("metrics", "--output", "thoth-watch.prom")
    known = set(samples((tmp_path / "thoth-watch.prom").read_text()))
    for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]:
        names = set(re.findall(r"thoth_watch_\w+", rule["expr"]))
        assert names
        assert names <= known
