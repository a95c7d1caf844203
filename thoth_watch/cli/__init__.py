"""The command line, the only code that prints. One module per group of commands, each with its heavy imports inside."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import NoReturn

import click

from thoth_watch import __version__
from thoth_watch.domain.errors import EXIT_USAGE, ThothError

COMMANDS = {
    "run": "serve",
    "once": "serve",
    "worker": "worker",
    "transcribe": "transcribe",
    "demo": "demo",
    "init": "init",
    "check": "check",
    "model": "model",
    "status": "status",
    "runs": "runs",
    "files": "files",
    "tail": "tail",
    "report": "report",
    "metrics": "metrics",
    "retry": "files",
    "hooks": "hooks",
    "performance": "performance",
    "bench": "bench",
    "db": "db",
    "service": "service",
}

EPILOG = """\b
Examples:
  thoth-watch demo                          transcribe the bundled sample recordings
  thoth-watch init                          write a configuration for this machine
  thoth-watch transcribe talk.mp3           transcribe only this file, without a ledger
  thoth-watch run -c config.yaml            watch the inbox until stopped
  thoth-watch once -c config.yaml           drain the inbox and exit (for cron and timers)
  thoth-watch status -c config.yaml         show what is waiting, what failed and why
\b
Exit codes: 0 done or nothing to do, 1 at least one file failed, 2 usage error,
69 engine unavailable, 75 try later (lock held, disk full), 78 configuration error."""


class Commands(click.Group):
    """A group that imports a command's module only when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all commands, in the order in which a new user needs them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command with this name, or None."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"thoth_watch.cli.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command


@click.command(
    cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, "-V", "--version", prog_name="thoth-watch")
def program() -> None:
    """Transcribe audio files dropped into a folder; write transcripts next to them and one row per run to SQLite."""


def main() -> NoReturn:
    """Run the command line and exit with a code that timers and scripts can act on."""
    try:
        program.main(prog_name="thoth-watch", standalone_mode=False)
    except click.exceptions.Exit as exit_request:
        sys.exit(exit_request.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except ThothError as error:
        click.echo(f"thoth-watch: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    sys.exit(0)
