"""What parent and worker say to each other: one JSON object per packet, descriptors beside it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from typing import Any

MAX_PACKET_BYTES = 64 * 1024
MAX_TEXT = 2_000  # characters of one message; libraries can be talkative
_MAX_DESCRIPTORS = 2


def send(
    channel: socket.socket, message: dict[str, Any], *, descriptors: Sequence[int] = ()
) -> None:
    """Send one message, with open files if there are any."""
    packet = json.dumps(message).encode()
    socket.send_fds(channel, [packet], list(descriptors))


def receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The next message and the files that came with it (the caller closes them).

    Raises EOFError when the other side is gone, TimeoutError when the channel's time is over.
    """
    packet, descriptors, _, _ = socket.recv_fds(channel, MAX_PACKET_BYTES, _MAX_DESCRIPTORS)
    if not packet:
        for descriptor in descriptors:
            os.close(descriptor)
        raise EOFError
    message: dict[str, Any] = json.loads(packet)
    return message, descriptors
