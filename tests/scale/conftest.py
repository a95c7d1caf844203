"""Fixtures: a complete fleet on this machine (dispatcher, workers, broker, database) with a fake engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.servers import RabbitMQ, Redis, require, running, wait_until

TIMEOUT_S = 240.0  # generous, for busy machines


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    require(binaries=("redis-server",), modules=("redis",))
    with running(Redis) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQ]:
    require(binaries=("rabbitmq-server", "epmd"), modules=("celery",))
    with running(RabbitMQ) as server:
        yield server


@dataclass
class Fleet:
    """The files, configuration and processes of one test."""

    folder: Path
    broker_url: str
    ledger_url: str
    seconds: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.inbox = self.folder / "inbox"
        self.inbox.mkdir(parents=True)
        self.log = self.folder / "log.txt"
        self.log.touch()
        self.config = self.folder / "config.yaml"

    def configure(self, **dispatch: Any) -> None:
        dispatch = {"kind": "celery", "broker": self.broker_url, "lease_s": 8, **dispatch}
        document = {
            "inbox": {"path": "./inbox", "settle_s": 0.2},
            "batch": {"max_files": 5, "group_by": []},
            "transcript": {"formats": ["txt"]},
            "ledger": {"url": self.ledger_url},
            "dispatch": dispatch,
            **self.settings,
        }
        self.config.write_text(json.dumps(document))

    def put(self, *texts: str) -> None:
        """Write one recording for each of these texts into the inbox."""
        for number, text in enumerate(texts):
            (self.inbox / f"{number:05}.wav").write_text(text)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the program with the fake engine in its own process group."""
        with (self.folder / f"{arguments[0]}{len(self.processes)}.out").open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.scale.program", *arguments, "-c", str(self.config)],
                env={
                    **os.environ,
                    "THOTH_TEST_LOG": str(self.log),
                    "THOTH_TEST_SECONDS": str(self.seconds),
                },
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def workers(self, n: int = 2) -> list[subprocess.Popen[bytes]]:
        """Start `n` workers and wait until the ledger lists them all."""
        workers = [self.start("worker", "--name", f"w{number}") for number in range(n)]
        self.wait(lambda: len(self.query("SELECT 1 FROM workers")) >= n, "live workers")
        return workers

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return rows of the ledger; none while the database does not answer."""
        import psycopg

        address = self.ledger_url.replace("+psycopg", "")
        with suppress(psycopg.Error), psycopg.connect(address, connect_timeout=5) as connection:
            return connection.execute(sql).fetchall()
        return []

    def states(self) -> Counter[str]:
        return Counter(state for (state,) in self.query("SELECT state FROM files"))

    def log_entries(self, kind: str) -> list[tuple[float, int, str]]:
        """Return the time, process id and text of all log entries of that kind."""
        lines = [line.split(" ", 3) for line in self.log.read_text().splitlines()]
        return [
            (float(at), int(pid), text) for at, pid, entry_kind, text in lines if entry_kind == kind
        ]

    def transcripts(self) -> dict[str, str]:
        return {path.stem: path.read_text().strip() for path in sorted(self.inbox.glob("*.txt"))}

    def wait(self, condition: Callable[[], bool], description: str) -> None:
        wait_until(
            condition, lambda: f"timed out waiting for {description}: {self}", timeout_s=TIMEOUT_S
        )

    def wait_done(self, n: int) -> None:
        """Wait until `n` files are DONE and no batch is open."""
        self.wait(lambda: self.states()["DONE"] >= n, f"{n} files done")
        open_batches = "SELECT 1 FROM batches WHERE state = 'OPEN'"
        self.wait(lambda: not self.query(open_batches), "the last batch")

    def __str__(self) -> str:
        outputs = "\n".join(
            f"{p.name}:\n{p.read_text()[-3000:]}" for p in self.folder.glob("*.out")
        )
        return f"{self.states()}\n{self.log.read_text()[-1500:]}\n{outputs}"

    def close(self) -> None:
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def child_of(process: subprocess.Popen[bytes]) -> int:
    """Return the pid of a worker's child process, which holds the engine."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return int(path.read_text().split()[-1])


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> Any:
    """Return each of the two brokers in turn, with an empty queue."""
    require(modules=("celery", "psycopg"))
    server = request.getfixturevalue(request.param)
    from thoth_watch.infrastructure.dispatch.celery_app import create_app

    with create_app(server.url).connection_for_write() as connection, suppress(Exception):
        connection.default_channel.queue_purge("thoth")
    return server


@pytest.fixture
def fleet(tmp_path: Path, broker: Any, new_postgres_ledger: Callable[[], str]) -> Iterator[Fleet]:
    created = Fleet(tmp_path / "fleet", broker.url, new_postgres_ledger())
    created.configure()
    yield created
    created.close()
    time.sleep(0.1)
