"""Transcripts as files: their formats, and putting them on disk whole and durably."""

from thoth_watch.infrastructure.publishing.formats import render
from thoth_watch.infrastructure.publishing.publisher import DurablePublisher

__all__ = ["DurablePublisher", "render"]
