"""`run` and `once`: the daemon, and the drain for timers."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from thoth_watch.cli.options import config_option, engine_options, log_options, overrides_of
from thoth_watch.domain.errors import EXIT_OK, EXIT_RETRY_LATER, EXIT_SOME_FAILED, ThothError

if TYPE_CHECKING:
    from thoth_watch.infrastructure.settings import Settings

log = logging.getLogger(__name__)


@click.command(
    epilog="""\b
Examples:
  thoth-watch run
  thoth-watch run -c /etc/thoth-watch/config.yaml --log-format json
  thoth-watch run --device cuda --engine batch"""
)
@config_option
@engine_options
@log_options
def run(config: Path | None, **flags: Any) -> None:
    """Watch the inbox and transcribe new files until stopped.

    SIGTERM or Ctrl-C stops the program.
    """
    _serve(config, flags, drain=False)


@click.command(
    epilog="""\b
Examples:
  thoth-watch once
  */10 * * * * thoth-watch once -c /etc/thoth-watch/config.yaml      (crontab)"""
)
@config_option
@engine_options
@log_options
def once(config: Path | None, **flags: Any) -> None:
    """Drain the inbox and exit.

    The exit code is 1 if at least one file failed or is still waiting.
    """
    settings = _serve(config, flags, drain=True)
    sys.exit(_report_unfinished(settings.ledger_url))


def _serve(config: Path | None, flags: dict[str, Any], *, drain: bool) -> Settings:
    """Serve until stopped, with a new configuration after each accepted SIGHUP. Return the last settings.

    If the new configuration cannot be served (a missing model, a damaged ledger), the previous one is
    used again.
    """
    from thoth_watch.application.serve import StopReason
    from thoth_watch.bootstrap import Engines, build_service, build_settings, builtin_note
    from thoth_watch.cli.progress import progress_display
    from thoth_watch.infrastructure.service.logs import set_up_logging
    from thoth_watch.infrastructure.service.process import exit_now

    settings = build_settings(config, overrides_of(flags), required=True)
    engines = Engines(settings.engine)
    previous: Settings | None = None  # set from a reload until the new configuration is ready

    def reread() -> None:
        nonlocal settings, previous
        reloaded = build_settings(config, overrides_of(flags), required=True)
        settings, previous = reloaded, settings

    def forget_previous() -> None:
        nonlocal previous
        previous = None

    while True:
        set_up_logging(level=settings.log_level, log_format=settings.log_format)
        note = builtin_note(settings)
        if note:
            click.echo(f"thoth-watch: {note}", err=True)
        if not drain:
            folders = ", ".join(str(inbox.path) for inbox in settings.inboxes)
            click.echo(f"thoth-watch: watching {folders}; press Ctrl-C to stop", err=True)
        try:
            with (
                progress_display(has_file_names=not drain) as progress,
                build_service(
                    settings,
                    drain=drain,
                    progress=progress,
                    engines=engines,
                    reread=None if drain else reread,
                    on_ready=forget_previous,
                ) as serve,
            ):
                stop_reason = serve()
                if stop_reason is StopReason.ABANDONED:
                    exit_now(EXIT_RETRY_LATER if drain else EXIT_OK)
        except ThothError as error:
            if previous is None:
                raise
            log.warning(
                "new configuration rejected; the old one stays in effect",
                extra={"event": "reload_refused", "error": str(error)},
            )
            settings, previous = previous, None
            continue
        if stop_reason is not StopReason.RELOAD:
            return settings


def _report_unfinished(ledger_url: str) -> int:
    """Print the files that have no transcript. Return the exit code for them."""
    from thoth_watch.cli.progress import print_unfinished
    from thoth_watch.domain.states import UNFINISHED
    from thoth_watch.infrastructure.ledger.reading import LedgerReader

    with LedgerReader.open(ledger_url) as reader:
        unfinished = reader.files(states=UNFINISHED)
    print_unfinished(unfinished)
    return EXIT_SOME_FAILED if unfinished else EXIT_OK
