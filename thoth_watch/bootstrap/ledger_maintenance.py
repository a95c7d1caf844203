"""Maintains the ledger for the commands: retries, integrity check, backup, and rebuild from the inboxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from thoth_watch.bootstrap.load_settings import build_inbox, file_options_resolver
from thoth_watch.domain.errors import AudioError, RetryLater
from thoth_watch.domain.naming import UNDETERMINED

if TYPE_CHECKING:
    from thoth_watch.infrastructure.settings import Settings


@dataclass(frozen=True, slots=True)
class RebuildResult:
    """The result of a rebuild."""

    old: Path | None  # where the previous ledger was moved
    adopted: int  # recordings that are DONE
    left: int  # recordings without a transcript written by thoth-watch


def retry_files(
    settings: Settings,
    *,
    states: Sequence[str] | None,
    paths: Sequence[Path] | None,
    made_by: str | None,
) -> int:
    """Make the selected files READY with no attempts; return their number. See SqlLedger.retry."""
    from thoth_watch.infrastructure.ledger import SqlLedger

    with SqlLedger.open(settings.ledger_url, create=False) as ledger:
        return ledger.administration.retry(states=states, paths=paths, made_by=made_by)


def check_ledger(settings: Settings) -> Path:
    """Read every page of the ledger; return its file. Raises LedgerBroken with the first problem."""
    from thoth_watch.infrastructure.ledger.database import maintenance

    maintenance.check_integrity(settings.ledger_url)
    return maintenance.ledger_file(settings.ledger_url)


def back_up_ledger(settings: Settings, target: Path | None) -> Path:
    """Write a consistent copy of the ledger; return its path, by default next to the ledger.

    Raises RetryLater if the target exists or cannot be written.
    """
    from thoth_watch.infrastructure.ledger.database import maintenance

    ledger = maintenance.ledger_file(settings.ledger_url)
    target = target or ledger.with_name(f"{ledger.name}.{datetime.now(UTC):%Y%m%dT%H%M%S}.backup")
    maintenance.back_up(settings.ledger_url, target)
    return target


def rebuild_ledger(settings: Settings) -> RebuildResult:
    """Move the ledger aside and create one from the inboxes, adopting transcripts of thoth-watch.

    Raises RetryLater if another process uses the ledger, or an inbox cannot be scanned completely.
    """
    from thoth_watch.application.output_names import destination_of
    from thoth_watch.infrastructure.audio.safe_open import sha256_of
    from thoth_watch.infrastructure.ledger import SqlLedger
    from thoth_watch.infrastructure.ledger.database import maintenance
    from thoth_watch.infrastructure.ledger.database.connection import lock_path
    from thoth_watch.infrastructure.publishing import find_own_transcripts
    from thoth_watch.infrastructure.service.clock import SystemClock
    from thoth_watch.infrastructure.service.lock import ProcessLock
    from thoth_watch.infrastructure.settings.languages import LANGUAGES

    resolve, now, adopted, left = file_options_resolver(settings), SystemClock().now(), 0, 0
    with ProcessLock(lock_path(settings.ledger_url)):
        scans = [build_inbox(inbox).scan() for inbox in settings.inboxes]
        for scan in scans:
            if scan.problem:
                raise RetryLater(scan.problem)
        old = maintenance.move_aside(settings.ledger_url, now=now)
        with SqlLedger.open(settings.ledger_url) as ledger:
            for file in (file for scan in scans for file in scan.files):
                file_options = resolve(file)
                try:
                    sha256 = sha256_of(file)
                except AudioError:  # it changes or is unreadable: the daemon will report it
                    left += 1
                    continue
                folder, below = destination_of(file, file_options)
                ours = find_own_transcripts(
                    folder,
                    file.path,
                    below=below,
                    pattern=file_options.name,
                    sha256=sha256,
                    layout=settings.subtitles,
                    languages=(*LANGUAGES, UNDETERMINED),
                )
                if ours and ledger.administration.adopt(
                    file, sha256=sha256, published=ours, now=now
                ):
                    adopted += 1
                else:
                    left += 1
    return RebuildResult(old, adopted, left)
