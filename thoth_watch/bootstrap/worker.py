"""Builds the Celery worker, which processes batches of a dispatcher on another machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from thoth_watch.application.ports.engine import NullProgress
from thoth_watch.bootstrap.dispatchers import open_ledger
from thoth_watch.bootstrap.engine_process import build_transcribe_batch
from thoth_watch.bootstrap.engines import Engines, build_decoder, record_failed_start
from thoth_watch.bootstrap.load_settings import file_options_resolver
from thoth_watch.domain.errors import ConfigError

if TYPE_CHECKING:
    from thoth_watch.application.run_leased_batch import RunLeasedBatch
    from thoth_watch.infrastructure.ledger import SqlLedger
    from thoth_watch.infrastructure.settings import Settings


def run_worker(settings: Settings, *, name: str) -> int:
    """Process batches of this configuration's dispatcher until SIGTERM; return the exit code.

    Raises ConfigError if the configuration does not use Celery.
    """
    if not settings.dispatch.is_celery or settings.dispatch.broker is None:
        raise ConfigError(
            "dispatch.kind: this configuration does not use workers; set dispatch.kind: celery, "
            "dispatch.broker, and ledger.url to a PostgreSQL database"
        )
    from thoth_watch.infrastructure.dispatch.celery_worker import run_celery_worker

    return run_celery_worker(
        settings.dispatch.broker,
        name=name,
        create_child=lambda node, is_stopping: WorkerChild(
            settings, node=node, is_stopping=is_stopping
        ),
    )


class WorkerChild:
    """The child process of a worker: loads one engine with its first batch; sends heartbeats from the start."""

    def __init__(self, settings: Settings, *, node: str, is_stopping: Callable[[], bool]) -> None:
        from thoth_watch.application.ports.dispatch import LeaseTerms, WorkerInfo
        from thoth_watch.infrastructure.dispatch.lease_keeper import LeaseKeeperThread
        from thoth_watch.infrastructure.service.process import host_name, owner_token, process_id

        self._settings = settings
        self._is_stopping = is_stopping
        self._terms = LeaseTerms(f"{node} {owner_token()}", settings.dispatch.lease_s)
        self._engines = Engines(settings.engine)
        self._decoder = build_decoder(settings.audio)
        self._ledger: SqlLedger | None = None
        self._run_leased_batch: RunLeasedBatch | None = None
        self._keeper = LeaseKeeperThread(
            lambda: self._open().leases,
            WorkerInfo(node, host_name(), process_id(), settings.engine.device),
            owner=self._terms.owner,
            lease_s=self._terms.lease_s,
        )
        self._keeper.start()

    def run_leased_batch(self, batch_id: int) -> None:
        """Process one batch. Raises EngineUnavailable, RetryLater."""
        if self._run_leased_batch is None:
            self._ledger = self._ledger or self._open()
            self._require_engine(self._ledger)
            self._run_leased_batch = self._build(self._ledger)
        self._run_leased_batch(batch_id)

    def close(self) -> None:
        """Stop the heartbeats, and close the decoder and the ledger."""
        self._keeper.stop()
        self._decoder.close()
        if self._ledger is not None:
            self._ledger.close()

    def _open(self) -> SqlLedger:
        return open_ledger(self._settings)

    def _require_engine(self, ledger: SqlLedger) -> None:
        """Load the engine before a batch is claimed; a worker without one would quickly fail all batches."""
        from thoth_watch.infrastructure.service.clock import SystemClock

        with record_failed_start(self._settings, ledger.runs, SystemClock()):
            self._engines.engine(self._settings.engine.model)

    def _build(self, ledger: SqlLedger) -> RunLeasedBatch:
        from thoth_watch.application.run_leased_batch import RunLeasedBatch
        from thoth_watch.infrastructure.inbox.device_numbers import with_local_device_number
        from thoth_watch.infrastructure.service.clock import SystemClock

        settings = self._settings
        return RunLeasedBatch(
            ledger=ledger.runs,
            leases=ledger.leases,
            keeper=self._keeper,
            transcribe=build_transcribe_batch(
                settings,
                ledger=ledger,
                decoder=self._decoder,
                engines=self._engines,
                progress=NullProgress(),
                leases=ledger.leases,
                is_stopping=self._is_stopping,
            ),
            resolve_file_options=file_options_resolver(settings),
            with_local_device_number=with_local_device_number,
            clock=SystemClock(),
            terms=self._terms,
        )
