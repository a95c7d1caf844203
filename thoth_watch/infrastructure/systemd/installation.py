"""Install and remove rendered units; never overwrite or remove a foreign file."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from thoth_watch.domain.errors import ConfigError, RetryLater
from thoth_watch.infrastructure.systemd.unit_rendering import GENERATED_MARKS

_SYSTEM_FOLDERS = ("etc/systemd/system", "etc/sysusers.d", "etc/tmpfiles.d")
_USER_FOLDERS = ("systemd/user",)
COMMAND_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Installation:
    """A target for units: the system, the user's configuration folder, or a packaging folder."""

    root: Path
    for_user: bool
    is_live: bool  # True if the running system is changed too

    @classmethod
    def at(cls, *, for_user: bool, destdir: Path | None) -> Installation:
        """Return the target for the options of `service install`."""
        user_root = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        root = user_root if for_user else Path("/")
        if destdir is not None:
            root = destdir / root.relative_to("/")
        return cls(root, for_user, is_live=destdir is None)

    def write(self, files: Mapping[Path, str]) -> list[Path]:
        """Write all files or none and return their paths. Raises ConfigError if a foreign file exists."""
        targets = {self.root / path: text for path, text in files.items()}
        for target in targets:
            if target.exists() and not _is_ours(target):
                raise ConfigError(
                    f"{target}: not written by `thoth-watch service install`; move it aside"
                )
        try:
            for target, text in targets.items():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
        except OSError as error:
            raise RetryLater(
                f"{error.filename}: {error.strerror}; run as root (sudo), or use --user"
            ) from error
        return list(targets)

    def remove(self) -> list[Path]:
        """Remove every file that `write` created and return their paths."""
        ours = list(self._ours())
        try:
            for path in ours:
                path.unlink()
                if path.parent.name.endswith(".d") and path.parent.name.startswith("thoth-watch"):
                    _remove_if_empty(path.parent)
        except OSError as error:
            raise RetryLater(f"{error.filename}: {error.strerror}; run as root (sudo)") from error
        return ours

    def run_commands(self, *commands: list[str]) -> list[str]:
        """Run commands on the running system; return one line per command with its result."""
        lines = []
        for command in commands if self.is_live else ():
            if shutil.which(command[0]) is None:
                lines.append(f"not run, {command[0]} is not installed: {' '.join(command)}")
                continue
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT_S
            )
            prefix = "ran: " if done.returncode == 0 else f"failed ({done.stderr.strip()}): "
            lines.append(f"{prefix}{' '.join(command)}")
        return lines

    def _ours(self) -> Iterator[Path]:
        for folder in _USER_FOLDERS if self.for_user else _SYSTEM_FOLDERS:
            for pattern in ("thoth-watch*", "thoth-watch*.d/*.conf"):
                for path in sorted((self.root / folder).glob(pattern)):
                    if path.is_file() and _is_ours(path):
                        yield path


def verify_units(files: Mapping[Path, str], *, program: Path) -> str | None:
    """Return systemd's complaints about the units, "" if there are none; None without systemd-analyze.

    A program that does not exist yet (while a package is built) is not reported.
    """
    if shutil.which("systemd-analyze") is None:
        return None
    with tempfile.TemporaryDirectory(prefix="thoth-watch-") as name:
        units = []
        for path, text in files.items():
            target = Path(name, *path.parts[-2:]) if path.parent.name.endswith(".d") else None
            if target is None and path.suffix in (".service", ".timer"):
                target = Path(name, path.name)
                units.append(target)
            if target is not None:
                target.parent.mkdir(exist_ok=True)
                is_installed = program.exists()
                target.write_text(text if is_installed else text.replace(str(program), "/bin/true"))
        command = ["systemd-analyze", "verify", "--man=no"]
        done = subprocess.run(
            [*command, *map(str, units)],
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_TIMEOUT_S,
        )
    complaints = done.stderr.strip()
    return (
        complaints
        if complaints or not done.returncode
        else f"systemd-analyze: exit {done.returncode}"
    )


def _is_ours(path: Path) -> bool:
    try:
        return path.read_text(encoding="utf-8", errors="replace").startswith(GENERATED_MARKS)
    except OSError:
        return False


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()
