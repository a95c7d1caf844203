"""Fifty thousand files. The figures are printed (`pytest -s`), not judged: machines are shared."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.contracts.test_ledger_contract import INBOX, record, recording
from thoth_watch.domain.treatment import Treatment
from thoth_watch.infrastructure.ledger import SqlLedger

N_FILES = 50_000


@contextmanager
def timed(what: str) -> Iterator[None]:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    yield
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    print(f"{what}: {wall_s:.2f} s (processor {cpu_s:.2f} s)")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fifty_thousand_files_are_no_trouble(ledger: SqlLedger) -> None:
    files = [recording(f"{n % 100}/{n}.wav") for n in range(N_FILES)]
    treatment = Treatment()
    with timed("50,000 new files"):
        record(ledger, seen=[(file, "new") for file in files])
    with timed("known"):
        assert len(ledger.known(INBOX)) == N_FILES
    some = files[:5000]
    with timed("5,000 settled"):
        record(ledger, ready=[(file, 1.0) for file in some])
    with timed("5,000 waiting"):
        assert len(ledger.waiting(lambda _: treatment)) == len(some)
    with timed("5,000 gone"):
        record(ledger, gone=[file.path for file in some])
