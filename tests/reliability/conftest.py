"""Fixtures: a workspace for each test, and the service built in this process."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.application.conftest import Harness, empty_ledger
from tests.fakes import FakeClock, FakeEngines, HashingEngine
from tests.ledgers import FlatLedger
from tests.reliability.workspace import Workspace
from thoth_watch.infrastructure.audio import DecodeLimits, WorkerDecoder
from thoth_watch.infrastructure.inbox import FolderInbox
from thoth_watch.infrastructure.inbox.local_files import LocalFiles
from thoth_watch.infrastructure.publishing import DurablePublisher

__all__ = ["empty_ledger"]

SHM_FOLDER = Path("/dev/shm")


@pytest.fixture
def ram_folder(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder in memory: fsync costs nothing there, and kill -9 loses no written data."""
    if not os.access(SHM_FOLDER, os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="thoth-", dir=SHM_FOLDER))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def workspace(ram_folder: Path) -> Iterator[Workspace]:
    created = Workspace(ram_folder / "workspace")
    yield created
    created.close()


@pytest.fixture
def make_harness(ram_folder: Path, empty_ledger: Path) -> Iterator[Callable[..., Harness]]:
    """Yield a factory of harnesses with a real folder, decoder and publisher, but a fake clock."""
    with ExitStack() as stack:
        numbers = iter(range(10**6))

        def make(
            limits: DecodeLimits | None = None, decoder: WorkerDecoder | None = None
        ) -> Harness:
            folder = ram_folder / f"harness-{next(numbers)}"
            (folder / "inbox").mkdir(parents=True)
            path = folder / "thoth-watch.db"
            shutil.copy(empty_ledger, path)
            clock = FakeClock()
            clock.time = datetime.now(UTC)
            return Harness(
                stack.enter_context(FlatLedger.open(f"sqlite:///{path}")),
                path,
                clock=clock,
                inbox=FolderInbox(folder / "inbox"),  # type: ignore[arg-type]
                files=LocalFiles(),  # type: ignore[arg-type]
                decoder=decoder or stack.enter_context(WorkerDecoder(limits=limits)),  # type: ignore[arg-type]
                engines=FakeEngines(HashingEngine()),
                publisher=DurablePublisher(),  # type: ignore[arg-type]
            )

        yield make
