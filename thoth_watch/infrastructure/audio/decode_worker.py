"""The decode worker: a process that decodes files for its parent, so that a crash costs one file.

It loads numpy, libsndfile and FFmpeg, never torch. Files arrive as open descriptors over a socket.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import resource
import signal
import socket
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from thoth_watch.infrastructure.audio.decode import FileDecoder, declared_s
from thoth_watch.infrastructure.audio.landlock import restrict_process
from thoth_watch.infrastructure.audio.limits import DecodeLimits
from thoth_watch.infrastructure.audio.pcm import RefusedError, SpoolError
from thoth_watch.infrastructure.audio.warm_up import warm_up
from thoth_watch.infrastructure.audio.worker_protocol import MAX_TEXT, receive, send

_PR_SET_PDEATHSIG = 1
_HASH_BLOCK_BYTES = 2**20
_MAX_OPEN_FILES = 64


def main(channel_fd: int, parent_pid: int, limits: dict[str, Any]) -> None:
    """Serve the parent until it closes the channel or dies."""
    _die_with_parent(parent_pid)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # the parent ends this process when it has finished
    bounds = DecodeLimits(**limits)
    _set_limits(bounds)
    warm_up(bounds)
    _silence_libraries()
    is_restricted = restrict_process()
    with socket.socket(fileno=channel_fd) as channel:
        send(channel, {"ready": True, "is_restricted": is_restricted})
        with suppress(EOFError, ConnectionError):
            while True:
                _serve_request(channel, bounds)


def _serve_request(channel: socket.socket, limits: DecodeLimits) -> None:
    """Receive one request and send its answer. Raises EOFError when the parent has ended."""
    request, descriptors = receive(channel)
    _set_cpu_limit(limits)
    try:
        answer = _handle_request(channel, request, descriptors, limits)
    except RefusedError as error:
        answer = {"refused": str(error)[:MAX_TEXT]}
    except SpoolError as error:
        answer = {"spool_error": list(error.args)}
    except MemoryError:
        answer = {"out_of_memory": True}
    except OSError as error:  # reading the file failed: I/O error, stale network handle
        answer = {"unreadable": error.strerror or str(error)}
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    send(channel, answer)


def _handle_request(
    channel: socket.socket, request: dict[str, Any], descriptors: list[int], limits: DecodeLimits
) -> dict[str, Any]:
    """Return the answer to a `probe` or `decode` request."""
    source = descriptors[0]
    if request["do"] == "probe":
        return {"declared_s": declared_s(source, limits)}
    sha256 = _sha256(source)
    decoder = FileDecoder(
        source,
        descriptors[1],
        rate_hz=request["rate_hz"],
        block_s=request["block_s"],
        channel=request.get("channel"),
        limits=limits,
        on_declared=lambda seconds: send(channel, {"header_s": seconds}),
    )
    return {"audio": asdict(decoder.run()), "sha256": sha256}


def _sha256(descriptor: int) -> str:
    """Return the hash of all bytes of an open file. Raises OSError if the disk fails."""
    digest = hashlib.sha256()
    at = 0
    while block := os.pread(descriptor, _HASH_BLOCK_BYTES, at):
        digest.update(block)
        at += len(block)
    return digest.hexdigest()


def _die_with_parent(parent_pid: int) -> None:
    """Let the kernel kill this process when its parent dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # the parent died before the call
        raise SystemExit(1)


def _set_limits(limits: DecodeLimits) -> None:
    """Limit memory (decompression bombs raise MemoryError), open files and core dumps."""
    for limit, bound in (
        (resource.RLIMIT_AS, limits.address_space_bytes),
        (resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        resource.setrlimit(limit, (bound if hard < 0 else min(bound, hard), hard))


def _set_cpu_limit(limits: DecodeLimits) -> None:
    """Let the kernel end this process if a file takes too much CPU time, even without its parent."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    bound = int(used.ru_utime + used.ru_stime + limits.work_max_s) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (bound if hard < 0 else min(bound, hard), hard))


def _silence_libraries() -> None:
    """Discard what C libraries print about damaged files; errors are sent as answers."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
