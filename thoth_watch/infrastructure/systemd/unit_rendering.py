"""Render the shipped units with the paths of one machine."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

GENERATED_MARK = (
    "# Written by `thoth-watch service install`; `thoth-watch service uninstall` removes it.\n"
)
# First lines of files that `uninstall` may remove; the second one is from earlier versions.
GENERATED_MARKS = (
    GENERATED_MARK,
    "# Written by `thoth-watch service install`; `thoth-watch service uninstall` takes it back.\n",
)
HOOKS_UNIT = "thoth-watch-hooks.service"
HOME_FOLDERS = ("/home", "/root", "/run/user")  # the folders that ProtectHome= hides

_WHEEL_UNITS = Path(__file__).parent / "units"
_SOURCE_UNITS = Path(__file__).parents[3] / "systemd"


@dataclass(frozen=True, slots=True)
class UnitOptions:
    """Options of the units to install."""

    program: Path  # absolute
    config: Path | None  # absolute; None keeps the path in the unit
    for_user: bool = False  # for the user's service manager instead of the system's
    instance: str | None = None  # name of a further daemon: thoth-watch@NAME
    writable: tuple[Path, ...] = ()  # inboxes and output folders
    ledger_url: str | None = None  # None if the configuration does not set it
    has_gpu: bool = False
    downloads: bool = False  # downloads models or connects to a server
    has_hooks: bool = False  # the configuration has a hook


def shipped_units_folder() -> Path:
    """Return the folder of the shipped units."""
    return _WHEEL_UNITS if _WHEEL_UNITS.is_dir() else _SOURCE_UNITS


def render(options: UnitOptions) -> dict[Path, str]:
    """Return the text of every file to write, by its path below the root (or below XDG_CONFIG_HOME)."""
    return _for_user(options) if options.for_user else _for_system(options)


def _for_user(options: UnitOptions) -> dict[Path, str]:
    names = ["thoth-watch.service", "thoth-watch-once.service", "thoth-watch-once.timer"]
    names += [HOOKS_UNIT] if options.has_hooks else []
    folder = Path("systemd/user")
    return {
        folder / name: _render_unit(shipped_units_folder() / "user" / name, options)
        for name in names
    }


def _for_system(options: UnitOptions) -> dict[Path, str]:
    units = Path("etc/systemd/system")
    daemon, once, template = (
        "thoth-watch.service",
        "thoth-watch-once.service",
        "thoth-watch@.service",
    )
    files = {
        Path("etc/sysusers.d/thoth-watch.conf"): _read_shipped("thoth-watch.sysusers"),
        Path("etc/tmpfiles.d/thoth-watch.conf"): _read_shipped("thoth-watch.tmpfiles"),
    }
    if options.instance is None:
        services = [daemon, once]
        for name in (daemon, once, "thoth-watch-once.timer"):
            files[units / name] = _render_unit(shipped_units_folder() / name, options)
        if options.has_hooks:
            files[units / HOOKS_UNIT] = _render_unit(shipped_units_folder() / HOOKS_UNIT, options)
            if options.config is not None:
                files[units / f"{HOOKS_UNIT}.d" / "paths.conf"] = _render_paths_drop_in(options)
    else:
        services = [f"thoth-watch@{options.instance}.service"]
        files[units / template] = _render_unit(shipped_units_folder() / template, options)
    for service in services:
        drop_ins = units / f"{service}.d"
        if options.config is not None:
            files[drop_ins / "paths.conf"] = _render_paths_drop_in(options)
        if options.has_gpu:
            files[drop_ins / "gpu.conf"] = _read_shipped("drop-ins/gpu.conf")
        if options.downloads:
            files[drop_ins / "downloads.conf"] = _read_shipped("drop-ins/downloads.conf")
    return files


def _read_shipped(name: str) -> str:
    return GENERATED_MARK + (shipped_units_folder() / name).read_text(encoding="utf-8")


def _render_unit(path: Path, options: UnitOptions) -> str:
    def start(line: re.Match[str]) -> str:
        is_template = path.name.endswith("@.service")  # its configuration depends on the instance
        config = (
            quote_command_word(options.config)
            if options.config and not is_template
            else line["config"]
        )
        return f"ExecStart={quote_command_word(options.program)} {line['command']} -c {config}"

    text = path.read_text(encoding="utf-8")
    pattern = r"^ExecStart=\S+ (?P<command>\w+) -c (?P<config>\S+)$"
    return GENERATED_MARK + re.sub(pattern, start, text, flags=re.MULTILINE)


def _render_paths_drop_in(options: UnitOptions) -> str:
    """Return the drop-in that gives the service access to the configured paths."""
    lines = [GENERATED_MARK + f"# Paths from {options.config}.", "[Unit]"]
    lines += [f"RequiresMountsFor={quote_word(path)}" for path in options.writable]
    lines.append("\n[Service]")
    if options.instance is not None and options.config is not None:
        command = (
            f"{quote_command_word(options.program)} run -c {quote_command_word(options.config)}"
        )
        lines += ["ExecStart=", f"ExecStart={command}"]
    # A path with `-` may be missing.
    lines += [f"ReadWritePaths={quote_word(f'-{path}')}" for path in options.writable]
    needed = [options.program, *options.writable, *([options.config] if options.config else [])]
    if hidden := [path for path in needed if _is_below(path, HOME_FOLDERS)]:
        lines += [f"# {hidden[0]} is in a home folder.", "ProtectHome=read-only"]
    if options.ledger_url is not None:
        lines.append(f"Environment={quote_word('THOTH_WATCH_LEDGER_URL=' + options.ledger_url)}")
    return "\n".join(lines) + "\n"


def _is_below(path: Path, folders: Iterable[str]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def quote_word(text: object) -> str:
    """Quote a word of a unit file; specifiers and quotes are escaped. Source: systemd.syntax(7)."""
    word = str(text).replace("\\", "\\\\").replace("%", "%%")
    return '"' + word.replace('"', '\\"') + '"' if re.search(r"[\s\"';]", word) else word


def quote_command_word(path: Path) -> str:
    """Quote a word of a command line, where systemd also expands variables."""
    return quote_word(path).replace("$", "$$")
