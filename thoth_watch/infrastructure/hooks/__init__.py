"""Tells others what happened: a command, or a webhook with a signature."""

from __future__ import annotations

from thoth_watch.infrastructure.hooks.bookmark import Bookmark
from thoth_watch.infrastructure.hooks.deliver import Undelivered, run_command, sign, to_webhook

__all__ = ["Bookmark", "Undelivered", "run_command", "sign", "to_webhook"]
