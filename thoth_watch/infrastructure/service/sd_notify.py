"""What systemd wants to know of a service, told over its socket. Source: sd_notify(3), sd_watchdog_enabled(3)."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

log = logging.getLogger(__name__)

SEND_TIMEOUT_S = (
    1.0  # a manager that does not read: its queue (10 datagrams) would hold us for ever
)


class SystemdNotifier:
    """Whoever started this process and asked to be told; nobody, in a shell."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        is_ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._watchdog_s = int(environ.get("WATCHDOG_USEC", "0")) / 1e6 if is_ours else 0.0
        self._is_stalled = False

    @property
    def heartbeat_s(self) -> float | None:
        """How often it wants to hear that we are alive, with room to spare; None if it does not."""
        return self._watchdog_s / 3 or None

    def ready(self) -> None:
        """The service is up: engine loaded and tried, inbox looked at."""
        self._send("READY=1")

    def alive(self, *, silent_s: float = 0.0) -> None:
        """The loop goes round, and the engine showed itself `silent_s` ago.

        Nothing is told while that is more than half of the time that the manager waits: it will end
        this process, and start another one.
        """
        was_stalled, self._is_stalled = self._is_stalled, silent_s > self._watchdog_s / 2
        if not self._watchdog_s:
            return
        if not self._is_stalled:
            self._send("WATCHDOG=1")
        elif not was_stalled:
            log.error(
                "the engine shows no sign of life; the service manager is left to end this process",
                extra={"event": "engine_stalled", "silent_s": round(silent_s, 1)},
            )

    def reloading(self) -> None:
        """The configuration is being read again; `ready` follows."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The service ends."""
        self._send("STOPPING=1")

    def _send(self, words: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.settimeout(SEND_TIMEOUT_S)
                channel.sendto(words.encode(), self._address)
        except OSError as error:  # it is away or does not read; the work is not its business
            log.debug("not told", extra={"event": "notify_failed", "error": str(error)})
