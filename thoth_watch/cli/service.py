"""`service install` and `service uninstall`: systemd units with the paths of this machine."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from thoth_watch.cli.options import config_option
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
        help="For you alone, without root; or for the machine.",
    ),
    click.option(
        "--destdir",
        type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
        help="Write below this folder and leave the running system alone (for packagers).",
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
    """Let systemd run it: a daemon, or a drain every ten minutes."""


@service.command(
    epilog="""\b
Examples:
  thoth-watch service install --user -c ~/.config/thoth-watch/config.yaml
  sudo thoth-watch service install --system
  sudo thoth-watch service install --system --instance interviews
  thoth-watch service install --system --destdir ./package --program /usr/bin/thoth-watch"""
)
@config_option
@_with_scope
@click.option(
    "--program",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The program that the units start; this one if not given.",
)
@click.option("--instance", help="A daemon of its own beside others: thoth-watch@NAME.")
@click.option("--gpu/--no-gpu", default=None, help="Open NVIDIA devices to it; found by itself.")
@click.option("--downloads", is_flag=True, help="Let it fetch models and reach a server.")
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
    """Write the units, verified, and say what to do next. Nothing is started.

    The configuration is the one given, else ~/.config/thoth-watch/config.yaml with --user and
    /etc/thoth-watch/config.yaml (NAME.yaml for an instance) with --system.
    """
    from thoth_watch.infrastructure.systemd import Installation, render, verify_units

    if for_user is None:
        raise click.UsageError("say for whom: --user (you, without root) or --system (the machine)")
    if instance is not None and for_user:
        raise click.UsageError("--instance goes with --system")
    place = Installation.at(for_user=for_user, destdir=destdir)
    path = config or (place.root / "thoth-watch/config.yaml" if for_user else None)
    path = path or ETC / f"{instance or 'config'}.yaml"
    is_packed = destdir is not None and config is None  # the configuration comes later
    wanted = _wanted(
        program=_find_program(program),
        config=None if is_packed else path.absolute(),
        for_user=for_user,
        instance=instance,
        has_gpu=GPU_DEVICE.exists() if gpu is None else gpu,
        downloads=downloads,
    )
    files = render(wanted)
    found = verify_units(files, program=wanted.program)
    if found:
        raise ConfigError(f"systemd does not like the units, nothing was written:\n{found}")
    for written in place.write(files):
        click.echo(f"wrote {written}")
    click.echo("systemd has verified them" if found == "" else "not verified: no systemd here")
    for line in place.run_commands(*_setup_commands(place)):
        click.echo(line)
    for line in _next_steps(wanted):
        click.echo(line)


@service.command(
    epilog="""\b
Examples:
  thoth-watch service uninstall --user
  sudo thoth-watch service uninstall --system"""
)
@_with_scope
def uninstall(for_user: bool | None, destdir: Path | None) -> None:
    """Stop the service and remove what `install` wrote. Ledger, models and recordings stay."""
    from thoth_watch.infrastructure.systemd import Installation

    if for_user is None:
        raise click.UsageError("say whose: --user or --system")
    place = Installation.at(for_user=for_user, destdir=destdir)
    systemctl = _systemctl(for_user=for_user)
    units = [
        *("thoth-watch.service", "thoth-watch-once.timer", "thoth-watch@*.service"),
        "thoth-watch-hooks.service",
    ]
    said = (
        place.run_commands([*systemctl, "disable", "--now", *units])
        if _has_service_manager(place)
        else []
    )
    removed = place.remove()
    said += place.run_commands([*systemctl, "daemon-reload"]) if _has_service_manager(place) else []
    for path in removed:
        click.echo(f"removed {path}")
    for line in said:
        click.echo(line)
    if not removed:
        click.echo(f"nothing of `thoth-watch service install` lies below {place.root}")


def _wanted(*, program: Path, config: Path | None, for_user: bool, **more: Any) -> UnitOptions:
    """What is to be rendered, with the folders that the configuration names."""
    from thoth_watch.bootstrap import build_settings
    from thoth_watch.domain.file_options import NEXT_TO_SOURCE
    from thoth_watch.infrastructure.ledger import lock_path
    from thoth_watch.infrastructure.systemd import UnitOptions

    if config is None:
        return UnitOptions(program, None, for_user, **more)
    if not config.exists():
        raise ConfigError(f"{config}: is not there; `thoth-watch init --output {config}` makes it")
    settings = build_settings(config, {}, required=True)
    changed = {dict(rule.changes).get("output_dir") for rule in settings.rules}
    outputs = {settings.file_options.output_dir, *changed} - {None, NEXT_TO_SOURCE}
    writable = {inbox.path for inbox in settings.inboxes} | {Path(str(name)) for name in outputs}
    writable |= {inbox.after for inbox in settings.inboxes if inbox.after is not None}
    says_ledger = settings.origins["ledger.url"].source.startswith("file")
    if says_ledger and settings.ledger_url.startswith("sqlite"):
        writable.add(lock_path(settings.ledger_url).parent)
    return UnitOptions(
        program,
        config,
        for_user,
        writable=tuple(sorted(writable)),
        ledger_url=settings.ledger_url if says_ledger else None,
        has_hooks=bool(settings.hooks.command or settings.hooks.webhook),
        **more,
    )


def _find_program(given: Path | None) -> Path:
    """The program that systemd is to start, absolute."""
    beside = Path(sys.executable).with_name("thoth-watch")
    found = given or (beside if beside.exists() else shutil.which("thoth-watch"))
    if found is None:
        raise ConfigError("thoth-watch is not installed as a program; name it with --program")
    return Path(found).absolute()


def _systemctl(*, for_user: bool) -> list[str]:
    return ["systemctl", "--user"] if for_user else ["systemctl"]


def _has_service_manager(place: Any) -> bool:
    """Whether a service manager is there to be told. Source: sd_booted(3)."""
    return bool(place.is_live) and Path("/run/systemd/system").is_dir()


def _setup_commands(place: Any) -> list[list[str]]:
    """What makes the running system notice."""
    commands = []
    if not place.for_user:
        commands += [
            ["systemd-sysusers", "/etc/sysusers.d/thoth-watch.conf"],
            ["systemd-tmpfiles", "--create", "/etc/tmpfiles.d/thoth-watch.conf"],
        ]
    if _has_service_manager(place):
        commands.append([*_systemctl(for_user=place.for_user), "daemon-reload"])
    return commands


def _next_steps(wanted: UnitOptions) -> list[str]:
    systemctl = " ".join(_systemctl(for_user=wanted.for_user))
    if wanted.instance:
        steps = [f"next: {systemctl} enable --now thoth-watch@{wanted.instance}"]
    else:
        steps = [
            f"next: {systemctl} enable --now thoth-watch               (a daemon)",
            f"  or: {systemctl} enable --now thoth-watch-once.timer    (a drain every ten minutes)",
        ]
    if wanted.has_hooks and not wanted.instance:
        steps.append(f" and: {systemctl} enable --now thoth-watch-hooks         (tells your hooks)")
    if wanted.for_user:
        steps.append("to let it run while you are logged out: loginctl enable-linger")
    elif not wanted.downloads:
        steps.append(
            "the service has no network: fetch its model first, or install with --downloads"
        )
    if not wanted.for_user and wanted.ledger_url is None:
        steps.append(
            "its ledger: /var/lib/thoth-watch/; say so in ledger.url for `status` to find it"
        )
    return steps
