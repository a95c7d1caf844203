"""Transcripts as files: their formats, and putting them on disk whole and durably."""

from thoth_watch.infrastructure.publishing.formats import render
from thoth_watch.infrastructure.publishing.mover import RecordingMover
from thoth_watch.infrastructure.publishing.publisher import DurablePublisher
from thoth_watch.infrastructure.publishing.recognising import ours_beside

__all__ = ["DurablePublisher", "RecordingMover", "ours_beside", "render"]
