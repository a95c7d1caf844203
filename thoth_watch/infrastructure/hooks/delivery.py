"""Deliver one event to one command or URL, within a time limit."""

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
    """A hook rejected an event; the message gives the reason."""


def run_command(command: Sequence[str], event: Mapping[str, Any], *, timeout_s: float) -> None:
    """Run a program with the event as JSON on standard input and as THOTH_* environment variables.

    No shell is involved, so that a file name cannot inject commands. Raises DeliveryError.
    """
    variables = {f"THOTH_{key.upper()}": _environment_value(value) for key, value in event.items()}
    try:
        process = subprocess.run(
            list(command),
            input=json.dumps(event),
            env={**os.environ, **variables},
            text=True,
            timeout=timeout_s,
            check=False,
            capture_output=True,
        )
    except subprocess.TimeoutExpired as error:
        raise DeliveryError(f"{command[0]}: stopped after {timeout_s:g} s") from error
    except OSError as error:
        raise DeliveryError(f"{command[0]}: {error.strerror}") from error
    if process.returncode:
        last_line = (process.stderr.strip().splitlines() or [""])[-1]
        message = f"{command[0]}: exit status {process.returncode} {last_line}"
        raise DeliveryError(message.rstrip())


def post_webhook(
    url: str, event: Mapping[str, Any], *, secret: str | None, timeout_s: float
) -> None:
    """POST the event as JSON, signed if there is a secret. Raises DeliveryError."""
    body = json.dumps(event).encode()
    headers = {"Content-Type": "application/json", "User-Agent": "thoth-watch"}
    if secret is not None:
        headers["X-Thoth-Signature"] = sign(body, secret)
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")  # noqa: S310 - checked in settings
    try:
        with urllib.request.urlopen(request, timeout=timeout_s):  # noqa: S310
            pass
    except OSError as error:  # refused, timed out, or an error status
        raise DeliveryError(f"{url}: {error}") from error


def sign(body: bytes, secret: str) -> str:
    """Return `sha256=` and the HMAC-SHA256 of the body, as in GitHub's webhooks."""
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


def _environment_value(value: Any) -> str:
    text = "\n".join(value) if isinstance(value, list) else "" if value is None else str(value)
    return text.replace("\0", "")
