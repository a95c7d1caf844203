"""`service install` and `service uninstall`: manage systemd units with the paths of this machine."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from thoth_watch.cli.options import unit_config_option
from thoth_watch.domain.errors import ConfigError

if TYPE_CHECKING:
    from thoth_watch.infrastructure.systemd import UnitOptions

ETC = Path("/etc/thoth-watch")
GPU_DEVICE = Path("/dev/nvidiactl")

scope_options = (
    click.option(
        "--user/--system",
        "for_user",
        default=None,
        help="Use user units (no root required) or system-wide units.",
    ),
    click.option(
        "--destdir",
        type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
        help="Use this folder as the root for installed files and do not change the running system (for packagers).",
    ),
)


def _with_scope(command: Any) -> Any:
    for option in reversed(scope_options):
        command = option(command)
    return command


@click.group(
    epilog="""\b
Examples:
  thoth-watch service install --user
  sudo thoth-watch service install --system
  sudo thoth-watch service uninstall --system"""
)
def service() -> None:
    """Install or remove systemd units.

    The units run a daemon, or a timer that drains the inbox every ten minutes.
    """


@service.command(
    epilog="""\b
Examples:
  thoth-watch service install --user -c ~/.config/thoth-watch/config.yaml
  sudo thoth-watch service install --system
  sudo thoth-watch service install --system --instance interviews
  thoth-watch service install --system --destdir ./package --program /usr/bin/thoth-watch"""
)
@unit_config_option
@_with_scope
@click.option(
    "--program",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Program that the units start; default: this one.",
)
@click.option("--instance", help="Install an additional daemon, thoth-watch@NAME.")
@click.option(
    "--gpu/--no-gpu",
    default=None,
    help="Give the service access to NVIDIA devices; enabled by default if this machine has any.",
)
@click.option(
    "--downloads",
    is_flag=True,
    help="Give the service network access, to download models or reach a server.",
)
def install(
    *,
    config: Path | None,
    for_user: bool | None,
    destdir: Path | None,
    program: Path | None,
    instance: str | None,
    gpu: bool | None,
    downloads: bool,
) -> None:
    """Write and verify systemd units, and print the next steps.

    Nothing is started. The default configuration is ~/.config/thoth-watch/config.yaml with --user and
    /etc/thoth-watch/config.yaml (NAME.yaml for an instance) with --system.
    """
    from thoth_watch.infrastructure.systemd import Installation, render, verify_units

    if for_user is None:
        raise click.UsageError(
            "choose --user (for you, without root) or --system (for the machine)"
        )
    if instance is not None and for_user:
        raise click.UsageError("--instance requires --system")
    installation = Installation.at(for_user=for_user, destdir=destdir)
    path = config or (installation.root / "thoth-watch/config.yaml" if for_user else None)
    path = path or ETC / f"{instance or 'config'}.yaml"
    # the configuration of a package is written after its installation
    is_packed = destdir is not None and config is None
    options = _unit_options(
        program=_find_program(program),
        config=None if is_packed else path.absolute(),
        for_user=for_user,
        instance=instance,
        has_gpu=GPU_DEVICE.exists() if gpu is None else gpu,
        downloads=downloads,
    )
    files = render(options)
    problems = verify_units(files, program=options.program)
    if problems:
        raise ConfigError(f"systemd rejected the units; nothing was written:\n{problems}")
    for written in installation.write(files):
        click.echo(f"wrote {written}")
    click.echo(
        "verified by systemd" if problems == "" else "not verified: systemd is not installed"
    )
    for line in installation.run_commands(*_setup_commands(installation)):
        click.echo(line)
    for line in _next_steps(options):
        click.echo(line)


@service.command(
    epilog="""\b
Examples:
  thoth-watch service uninstall --user
  sudo thoth-watch service uninstall --system"""
)
@_with_scope
def uninstall(for_user: bool | None, destdir: Path | None) -> None:
    """Stop the service and remove its units.

    This removes the files that `install` wrote. The ledger, models and recordings stay.
    """
    from thoth_watch.infrastructure.systemd import Installation

    if for_user is None:
        raise click.UsageError("choose --user or --system")
    installation = Installation.at(for_user=for_user, destdir=destdir)
    systemctl = _systemctl(for_user=for_user)
    units = [
        *("thoth-watch.service", "thoth-watch-once.timer", "thoth-watch@*.service"),
        "thoth-watch-hooks.service",
    ]
    messages = (
        installation.run_commands([*systemctl, "disable", "--now", *units])
        if _has_service_manager(installation)
        else []
    )
    removed = installation.remove()
    messages += (
        installation.run_commands([*systemctl, "daemon-reload"])
        if _has_service_manager(installation)
        else []
    )
    for path in removed:
        click.echo(f"removed {path}")
    for line in messages:
        click.echo(line)
    if not removed:
        click.echo(
            f"nothing written by `thoth-watch service install` found below {installation.root}"
        )


def _unit_options(
    *, program: Path, config: Path | None, for_user: bool, **more: Any
) -> UnitOptions:
    """Return the options for the units, with the folders that the configuration names."""
    from thoth_watch.bootstrap import build_settings
    from thoth_watch.domain.file_options import NEXT_TO_SOURCE
    from thoth_watch.infrastructure.ledger.reading import lock_path
    from thoth_watch.infrastructure.systemd import UnitOptions

    if config is None:
        return UnitOptions(program, None, for_user, **more)
    if not config.exists():
        raise ConfigError(
            f"{config}: not found; create it with `thoth-watch init --output {config}`"
        )
    settings = build_settings(config, {}, required=True)
    changed = {dict(rule.changes).get("output_dir") for rule in settings.rules}
    outputs = {settings.file_options.output_dir, *changed} - {None, NEXT_TO_SOURCE}
    writable = {inbox.path for inbox in settings.inboxes} | {Path(str(name)) for name in outputs}
    writable |= {inbox.after for inbox in settings.inboxes if inbox.after is not None}
    is_ledger_in_file = settings.origins["ledger.url"].source.startswith("file")
    if is_ledger_in_file and settings.ledger_url.startswith("sqlite"):
        writable.add(lock_path(settings.ledger_url).parent)
    return UnitOptions(
        program,
        config,
        for_user,
        writable=tuple(sorted(writable)),
        ledger_url=settings.ledger_url if is_ledger_in_file else None,
        has_hooks=bool(settings.hooks.command or settings.hooks.webhook),
        **more,
    )


def _find_program(given: Path | None) -> Path:
    """Return the absolute path of the program that systemd starts."""
    sibling = Path(sys.executable).with_name("thoth-watch")
    program = given or (sibling if sibling.exists() else shutil.which("thoth-watch"))
    if program is None:
        raise ConfigError("thoth-watch is not on the PATH; give its path with --program")
    return Path(program).absolute()


def _systemctl(*, for_user: bool) -> list[str]:
    return ["systemctl", "--user"] if for_user else ["systemctl"]


def _has_service_manager(installation: Any) -> bool:
    """Return True if systemd is running and the units are for this system. Source: sd_booted(3)."""
    return bool(installation.is_live) and Path("/run/systemd/system").is_dir()


def _setup_commands(installation: Any) -> list[list[str]]:
    """Return the commands that make the running system load the units."""
    commands = []
    if not installation.for_user:
        commands += [
            ["systemd-sysusers", "/etc/sysusers.d/thoth-watch.conf"],
            ["systemd-tmpfiles", "--create", "/etc/tmpfiles.d/thoth-watch.conf"],
        ]
    if _has_service_manager(installation):
        commands.append([*_systemctl(for_user=installation.for_user), "daemon-reload"])
    return commands


def _next_steps(options: UnitOptions) -> list[str]:
    systemctl = " ".join(_systemctl(for_user=options.for_user))
    if options.instance:
        steps = [f"next: {systemctl} enable --now thoth-watch@{options.instance}"]
    else:
        steps = [
            f"next: {systemctl} enable --now thoth-watch               (the daemon)",
            f"  or: {systemctl} enable --now thoth-watch-once.timer    (drains the inbox every ten minutes)",
        ]
    if options.has_hooks and not options.instance:
        steps.append(
            f" and: {systemctl} enable --now thoth-watch-hooks         (sends events to your hooks)"
        )
    if options.for_user:
        steps.append("to keep it running while you are logged out: loginctl enable-linger")
    elif not options.downloads:
        steps.append(
            "the service has no network access: download its model first, or install with --downloads"
        )
    if not options.for_user and options.ledger_url is None:
        steps.append(
            "its ledger is in /var/lib/thoth-watch/; set ledger.url so that `status` finds it"
        )
    return steps
