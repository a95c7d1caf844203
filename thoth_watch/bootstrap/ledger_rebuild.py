"""Rebuilds a lost ledger from the recordings and transcripts in the inboxes."""

from __future__ import annotations

from dataclasses import dataclass
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
                if ours and ledger.adopt(file, sha256=sha256, published=ours, now=now):
                    adopted += 1
                else:
                    left += 1
    return RebuildResult(old, adopted, left)
