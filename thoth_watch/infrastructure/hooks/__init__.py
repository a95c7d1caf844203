"""Delivery of events to hooks: a command, or a signed webhook."""

from __future__ import annotations

from thoth_watch.infrastructure.hooks.cursor_file import CursorFile
from thoth_watch.infrastructure.hooks.delivery import DeliveryError, post_webhook, run_command, sign

__all__ = ["CursorFile", "DeliveryError", "post_webhook", "run_command", "sign"]
