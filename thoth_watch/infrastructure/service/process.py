"""Information about this process and its host."""

from __future__ import annotations

import logging
import os
import resource
import socket
import sys
from pathlib import Path
from typing import NoReturn


def peak_rss_bytes() -> int:
    """Return the peak resident memory of this process so far.

    Read from /proc if possible: the value of getrusage starts at that of the parent process.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(kib) * 1024
    except (OSError, StopIteration):
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def host_name() -> str:
    """Return the name of this machine."""
    return socket.gethostname()


def process_id() -> int:
    """Return the id of this process."""
    return os.getpid()


def owner_token() -> str:
    """Return a unique name of this process: boot id, process id and start time. Source: proc(5)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        started = Path("/proc/self/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[19]
    except OSError:
        boot, started = socket.gethostname(), "0"
    return f"{boot}:{os.getpid()}:{started}"


def exit_now(code: int) -> NoReturn:
    """End the process without waiting for its threads; all important data is already on disk."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
