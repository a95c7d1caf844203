"""`check`: show the configuration with the source of each value, and test everything needed to start."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from thoth_watch.cli.options import config_option, engine_options, json_option, overrides_of
from thoth_watch.cli.text import printable

if TYPE_CHECKING:
    from thoth_watch.cli.doctor import Finding

COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(
    epilog="""\b
Examples:
  thoth-watch check
  thoth-watch check -c /etc/thoth-watch/config.yaml --json
  thoth-watch check --no-engine"""
)
@config_option
@engine_options
@json_option
@click.option("--no-engine", is_flag=True, help="Do not load the engine.")
def check(config: Path | None, as_json: bool, no_engine: bool, **flags: Any) -> None:
    """Show every setting, and test everything needed to start.

    Prints the source of each setting and a fix for each problem. Exits with 0 if the service can
    start, 69 if the engine is unavailable, 75 if a folder or the broker is unavailable, 78 if the
    configuration or the ledger is invalid.
    """
    from thoth_watch.bootstrap import build_settings, builtin_note
    from thoth_watch.cli.doctor import run_checks
    from thoth_watch.cli.tables import print_json

    settings = build_settings(config, overrides_of(flags), required=True)
    values = [
        {"key": key, "value": origin.value, "source": origin.source}
        for key, origin in settings.origins.items()
    ]
    findings = list(run_checks(settings, with_engine=not no_engine))
    note = builtin_note(settings)
    if as_json:
        checks = [finding.as_dict() for finding in findings]
        print_json({"settings": values, "checks": checks, "note": note})
    else:
        _print_settings(values)
        _print_findings(findings)
        if note:
            click.echo(click.style("note  ", fg="yellow") + note)
    sys.exit(next((f.exit_code for f in reversed(findings) if f.exit_code), 0))


def _print_settings(values: Sequence[dict[str, Any]]) -> None:
    from thoth_watch.cli.tables import Column, print_table

    rows = []
    for row in values:
        value = row["value"]
        text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        rows.append((row["key"], text, str(row["source"])))
    columns = [Column("setting"), Column("value", is_wrapped=True), Column("source")]
    print_table(columns, rows, empty="")
    click.echo()


def _print_findings(findings: Sequence[Finding]) -> None:
    for finding in findings:
        level = click.style(f"{finding.level:<4}", fg=COLORS[finding.level])
        click.echo(f"{level}  {printable(finding.what)}: {printable(finding.detail)}")
        if finding.fix:
            click.echo(f"      -> {printable(finding.fix)}")
