"""Notify systemd of the service's state. Source: sd_notify(3), sd_watchdog_enabled(3)."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

log = logging.getLogger(__name__)

# Without a timeout, sending blocks forever when the queue (10 datagrams) is full and not read.
SEND_TIMEOUT_S = 1.0


class SystemdNotifier:
    """Sends notifications to the service manager that started this process; does nothing in a shell."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        is_ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._watchdog_s = int(environ.get("WATCHDOG_USEC", "0")) / 1e6 if is_ours else 0.0
        self._is_stalled = False

    @property
    def heartbeat_s(self) -> float | None:
        """Interval for `alive`, a third of the watchdog timeout; None without a watchdog."""
        return self._watchdog_s / 3 or None

    def ready(self) -> None:
        """Report that the service is up: the engine is loaded and tested, the inbox scanned."""
        self._send("READY=1")

    def alive(self, *, silent_s: float = 0.0) -> None:
        """Report that the main loop is running and that the engine made progress `silent_s` ago.

        Nothing is sent while `silent_s` exceeds half of the watchdog timeout: the service manager
        then kills and restarts this process.
        """
        was_stalled, self._is_stalled = self._is_stalled, silent_s > self._watchdog_s / 2
        if not self._watchdog_s:
            return
        if not self._is_stalled:
            self._send("WATCHDOG=1")
        elif not was_stalled:
            log.error(
                "engine makes no progress; the service manager restarts this process if that lasts",
                extra={"event": "engine_stalled", "silent_s": round(silent_s, 1)},
            )

    def reloading(self) -> None:
        """Report that the configuration is being reloaded; `ready` follows."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Report that the service is stopping."""
        self._send("STOPPING=1")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.settimeout(SEND_TIMEOUT_S)
                channel.sendto(state.encode(), self._address)
        except OSError as error:  # no socket or not read; transcribing does not depend on it
            log.debug(
                "cannot notify the service manager; continuing",
                extra={"event": "notify_failed", "error": str(error)},
            )
