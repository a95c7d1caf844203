"""One event to one command or URL, within a time limit."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import subprocess
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any


class DeliveryError(Exception):
    """A hook did not take an event; the message says why."""


def run_command(command: Sequence[str], event: Mapping[str, Any], *, timeout_s: float) -> None:
    """Run a program, the event as JSON on its standard input and as THOTH_* in its environment.

    No shell is involved: a file name can do nothing. Raises Undelivered.
    """
    facts = {f"THOTH_{key.upper()}": _environment_value(value) for key, value in event.items()}
    try:
        done = subprocess.run(
            list(command),
            input=json.dumps(event),
            env={**os.environ, **facts},
            text=True,
            timeout=timeout_s,
            check=False,
            capture_output=True,
        )
    except subprocess.TimeoutExpired as error:
        raise DeliveryError(f"{command[0]}: stopped after {timeout_s:g} s") from error
    except OSError as error:
        raise DeliveryError(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        raise DeliveryError(f"{command[0]}: ended with {done.returncode} {last}".rstrip())


def post_webhook(
    url: str, event: Mapping[str, Any], *, secret: str | None, timeout_s: float
) -> None:
    """POST the event as JSON, signed where there is a secret. Raises Undelivered."""
    body = json.dumps(event).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "thoth-watch"}
    if secret is not None:
        headers["X-Thoth-Signature"] = sign(body, secret)
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310 - checked in settings
    try:
        with urllib.request.urlopen(request, timeout=timeout_s):  # noqa: S310
            pass
    except OSError as error:  # refused, timed out, or an answer that is no success
        raise DeliveryError(f"{url}: {error}") from error


def sign(body: bytes, secret: str) -> str:
    """`sha256=` and the HMAC of the body, as GitHub's webhooks have it."""
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


def _environment_value(value: Any) -> str:
    text = "\n".join(value) if isinstance(value, list) else "" if value is None else str(value)
    return text.replace("\0", "")
