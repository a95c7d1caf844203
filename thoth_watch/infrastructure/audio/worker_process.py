"""The parent's side of a decode worker: starts it when needed and kills it at the deadline."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import psutil

from thoth_watch.domain.errors import DecoderCrashed, RetryLater
from thoth_watch.infrastructure.audio.limits import DecodeLimits
from thoth_watch.infrastructure.audio.worker_protocol import receive, send

_BOOT = (
    "import json, sys; job = json.loads(sys.argv[1]); sys.path[:] = job.pop('path'); "
    "from thoth_watch.infrastructure.audio.decode_worker import main; main(**job)"
)
# The stacks of further threads would count against the memory limit.
_SINGLE_THREAD_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_STOP_TIMEOUT_S = 2.0
_MAX_STDERR_BYTES, _MAX_STDERR_CHARACTERS = 65_536, 300


class WorkerProcess:
    """A decode worker that is started on demand; not thread-safe except `kill`."""

    def __init__(self, limits: DecodeLimits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._spawner: threading.Thread | None = None
        self._channel: socket.socket | None = None
        self._n_requests = 0
        self.is_restricted = False  # True if the kernel keeps it from opening files

    @property
    def pid(self) -> int | None:
        """Process id of the worker; None before the first start."""
        return self._process.pid if self._process else None

    def call(
        self,
        request: dict[str, Any],
        descriptors: Sequence[int],
        *,
        deadline_s: Callable[[float | None], float],
    ) -> dict[str, Any]:
        """Send a request to the worker and return its answer.

        deadline_s: returns the allowed wall seconds since the call for the declared seconds of
        audio; called with None first, and again when the worker has read the header.
        Raises DecoderCrashed when the worker dies or exceeds the deadline (it is then killed),
        RetryLater when no worker starts.
        """
        if self._is_due_for_restart():
            self.stop()
        self._n_requests += 1
        channel = self._ready_channel(request, descriptors)
        began = time.monotonic()
        allowed_s = deadline_s(None)
        try:
            while True:
                answer = self._receive_answer(channel, began + allowed_s)
                if "header_s" not in answer:
                    return answer
                allowed_s = deadline_s(answer["header_s"])
        except TimeoutError as error:
            self.kill()
            self.stop()
            raise DecoderCrashed(
                f"decoding hung: stopped after {allowed_s:.0f} s; convert the file to wav or flac"
            ) from error
        except (EOFError, ConnectionError) as error:
            raise DecoderCrashed(
                f"decoding crashed: {self._describe_exit()}; convert the file to wav or flac"
            ) from error

    def stop(self) -> None:
        """Close the channel so that the worker ends; kill it if it does not end within 2 s."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        self._wait_for_exit(_STOP_TIMEOUT_S)

    def kill(self) -> None:
        """Kill the worker; may be called from another thread during `call`."""
        process = self._process
        if process is not None:
            process.kill()

    def _is_due_for_restart(self) -> bool:
        """Return True if the worker should be restarted because its libraries may have leaked memory.

        A start costs as much as decoding hundreds of short files.
        """
        if self._n_requests >= self._limits.files_per_worker:
            return True
        if self._n_requests == 0 or self._n_requests % self._limits.files_per_check:
            return False
        try:
            resident_bytes = psutil.Process(self.pid).memory_info().rss
        except psutil.Error:
            return False  # it has ended; sending the request notices that
        return bool(resident_bytes > self._limits.resident_bytes)

    def _ready_channel(self, request: dict[str, Any], descriptors: Sequence[int]) -> socket.socket:
        """Send the request and return the channel; start a new worker if the idle one has died."""
        if self._channel is not None:
            try:
                self._channel.settimeout(self._limits.start_s)
                send(self._channel, request, descriptors=descriptors)
            except OSError:
                self.stop()
            else:
                return self._channel
        channel = self._start()
        send(channel, request, descriptors=descriptors)
        return channel

    @staticmethod
    def _receive_answer(channel: socket.socket, until: float) -> dict[str, Any]:
        """Return the next message. Raises TimeoutError at `until` on the monotonic clock."""
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        channel.settimeout(left_s)
        return receive(channel)[0]

    def _start(self) -> socket.socket:
        """Start a worker and return its channel once it is ready. Raises RetryLater."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, tempfile.TemporaryFile() as stderr:
            try:
                self._spawn(theirs.fileno(), stderr.fileno())
                theirs.close()
                hello = self._receive_answer(ours, time.monotonic() + self._limits.start_s)
                self.is_restricted = bool(hello["is_restricted"])
            except (OSError, EOFError) as error:
                ours.close()
                self.kill()
                self._wait_for_exit(_STOP_TIMEOUT_S)
                text = os.pread(stderr.fileno(), _MAX_STDERR_BYTES, 0).decode(errors="replace")
                cause = " ".join(text.split())[-_MAX_STDERR_CHARACTERS:] or repr(error)
                raise RetryLater(f"the decode worker did not start: {cause}") from error
        self._channel, self._n_requests = ours, 1
        return ours

    def _spawn(self, channel: int, stderr: int) -> None:
        """Start the process from a thread that lives as long as the process does.

        The kernel sends the parent-death signal when the *thread* that started the child ends.
        """
        job = {
            "path": [entry or os.getcwd() for entry in sys.path],  # noqa: PTH109 - a str for JSON
            "channel_fd": channel,
            "parent_pid": os.getpid(),
            "limits": asdict(self._limits),
        }
        started: list[subprocess.Popen[bytes] | OSError] = []
        is_started = threading.Event()

        def spawn_and_wait() -> None:
            try:
                process = subprocess.Popen(
                    [sys.executable, "-I", "-c", _BOOT, json.dumps(job)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    pass_fds=(channel,),
                    cwd="/",
                    env=os.environ | _SINGLE_THREAD_ENVIRONMENT,
                    process_group=0,  # Ctrl-C reaches the parent only
                )
            except OSError as error:
                started.append(error)
                is_started.set()
                return
            started.append(process)
            is_started.set()
            process.wait()

        self._spawner = threading.Thread(
            target=spawn_and_wait, name="decode-worker-keeper", daemon=True
        )
        self._spawner.start()
        is_started.wait()
        outcome = started[0]
        if isinstance(outcome, OSError):
            raise outcome
        self._process = outcome

    def _wait_for_exit(self, timeout_s: float) -> None:
        """Wait until the process has ended; kill it after `timeout_s`."""
        if self._spawner is not None:
            self._spawner.join(timeout_s)
            if self._spawner.is_alive():
                self.kill()
                self._spawner.join(_STOP_TIMEOUT_S)
        self._spawner = None

    def _describe_exit(self) -> str:
        """Return a text on how a worker ended unexpectedly."""
        self.stop()
        code = self._process.returncode if self._process else None
        if code is None or code >= 0:
            return f"the decode worker ended with exit code {code}"
        with suppress(ValueError):
            return f"the decode worker was killed by {signal.Signals(-code).name}"
        return f"the decode worker was killed by signal {-code}"
