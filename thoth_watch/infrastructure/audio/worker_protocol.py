"""Messages between the parent and the decode worker: one JSON object per packet, with file descriptors."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from typing import Any

MAX_PACKET_BYTES = 64 * 1024
MAX_TEXT = 2_000  # characters of one error text; library messages can be long
_MAX_DESCRIPTORS = 2


def send(
    channel: socket.socket, message: dict[str, Any], *, descriptors: Sequence[int] = ()
) -> None:
    """Send one message, with open file descriptors if there are any."""
    packet = json.dumps(message).encode()
    socket.send_fds(channel, [packet], list(descriptors))


def receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Return the next message and the descriptors that came with it; the caller closes them.

    Raises EOFError when the other side has ended, TimeoutError when the channel's timeout expires.
    """
    packet, descriptors, _, _ = socket.recv_fds(channel, MAX_PACKET_BYTES, _MAX_DESCRIPTORS)
    if not packet:
        for descriptor in descriptors:
            os.close(descriptor)
        raise EOFError
    message: dict[str, Any] = json.loads(packet)
    return message, descriptors
