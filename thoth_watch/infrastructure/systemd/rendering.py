"""From the units that the program ships to units with the paths of one machine."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MARK = (
    "# Written by `thoth-watch service install`; `thoth-watch service uninstall` takes it back.\n"
)
HOOKS = "thoth-watch-hooks.service"
HOMES = ("/home", "/root", "/run/user")  # what ProtectHome= hides

_IN_THE_WHEEL = Path(__file__).parent / "units"
_IN_THE_SOURCE = Path(__file__).parents[3] / "systemd"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be installed."""

    program: Path  # absolute
    config: Path | None  # absolute; None leaves the one that the unit names
    for_user: bool = False  # the person's own service manager instead of the system's
    instance: str | None = None  # a daemon of its own beside others: thoth-watch@NAME
    writable: tuple[Path, ...] = ()  # inboxes and output folders
    ledger_url: str | None = None  # where the configuration says so itself
    has_gpu: bool = False
    downloads: bool = False  # fetches models, reaches a server
    has_hooks: bool = False  # somebody is to be told


def shipped() -> Path:
    """The folder of the units as they are shipped."""
    return _IN_THE_WHEEL if _IN_THE_WHEEL.is_dir() else _IN_THE_SOURCE


def render(wanted: Wanted) -> dict[Path, str]:
    """Every file to be written, by its path below the root (or below XDG_CONFIG_HOME), with its text."""
    return _for_user(wanted) if wanted.for_user else _for_system(wanted)


def _for_user(wanted: Wanted) -> dict[Path, str]:
    names = ["thoth-watch.service", "thoth-watch-once.service", "thoth-watch-once.timer"]
    names += [HOOKS] if wanted.has_hooks else []
    folder = Path("systemd/user")
    return {folder / name: _unit(shipped() / "user" / name, wanted) for name in names}


def _for_system(wanted: Wanted) -> dict[Path, str]:
    units = Path("etc/systemd/system")
    daemon, once, many = (
        "thoth-watch.service",
        "thoth-watch-once.service",
        "thoth-watch@.service",
    )
    files = {
        Path("etc/sysusers.d/thoth-watch.conf"): _copy("thoth-watch.sysusers"),
        Path("etc/tmpfiles.d/thoth-watch.conf"): _copy("thoth-watch.tmpfiles"),
    }
    if wanted.instance is None:
        services = [daemon, once]
        for name in (daemon, once, "thoth-watch-once.timer"):
            files[units / name] = _unit(shipped() / name, wanted)
        if wanted.has_hooks:
            files[units / HOOKS] = _unit(shipped() / HOOKS, wanted)
            if wanted.config is not None:
                files[units / f"{HOOKS}.d" / "paths.conf"] = _paths(wanted)
    else:
        services = [f"thoth-watch@{wanted.instance}.service"]
        files[units / many] = _unit(shipped() / many, wanted)
    for service in services:
        own = units / f"{service}.d"
        if wanted.config is not None:
            files[own / "paths.conf"] = _paths(wanted)
        if wanted.has_gpu:
            files[own / "gpu.conf"] = _copy("drop-ins/gpu.conf")
        if wanted.downloads:
            files[own / "downloads.conf"] = _copy("drop-ins/downloads.conf")
    return files


def _copy(name: str) -> str:
    return MARK + (shipped() / name).read_text(encoding="utf-8")


def _unit(path: Path, wanted: Wanted) -> str:
    def start(line: re.Match[str]) -> str:
        is_shared = path.name.endswith("@.service")  # its configuration depends on the instance
        config = in_command(wanted.config) if wanted.config and not is_shared else line["config"]
        return f"ExecStart={in_command(wanted.program)} {line['command']} -c {config}"

    text = path.read_text(encoding="utf-8")
    pattern = r"^ExecStart=\S+ (?P<command>\w+) -c (?P<config>\S+)$"
    return MARK + re.sub(pattern, start, text, flags=re.MULTILINE)


def _paths(wanted: Wanted) -> str:
    """The drop-in that opens the box where the configuration needs it."""
    lines = [MARK + f"# What {wanted.config} names.", "[Unit]"]
    lines += [f"RequiresMountsFor={quoted(path)}" for path in wanted.writable]
    lines.append("\n[Service]")
    if wanted.instance is not None and wanted.config is not None:
        command = f"{in_command(wanted.program)} run -c {in_command(wanted.config)}"
        lines += ["ExecStart=", f"ExecStart={command}"]
    lines += [f"ReadWritePaths={quoted(f'-{path}')}" for path in wanted.writable]  # -: may be away
    needed = [wanted.program, *wanted.writable, *([wanted.config] if wanted.config else [])]
    if hidden := [path for path in needed if _is_below(path, HOMES)]:
        lines += [f"# {hidden[0]} lies in a home folder.", "ProtectHome=read-only"]
    if wanted.ledger_url is not None:
        lines.append(f"Environment={quoted('THOTH_WATCH_LEDGER_URL=' + wanted.ledger_url)}")
    return "\n".join(lines) + "\n"


def _is_below(path: Path, folders: Iterable[str]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def quoted(text: object) -> str:
    """One word of a unit file, its specifiers and quotes escaped. Source: systemd.syntax(7)."""
    word = str(text).replace("\\", "\\\\").replace("%", "%%")
    return '"' + word.replace('"', '\\"') + '"' if re.search(r"[\s\"';]", word) else word


def in_command(path: Path) -> str:
    """One word of a command line, where systemd would also read variables."""
    return quoted(path).replace("$", "$$")
