"""Render transcripts in file formats and write them to disk atomically and durably."""

from thoth_watch.infrastructure.publishing.formats import render
from thoth_watch.infrastructure.publishing.mover import DurableMover
from thoth_watch.infrastructure.publishing.own_transcripts import find_own_transcripts
from thoth_watch.infrastructure.publishing.publisher import DurablePublisher

__all__ = ["DurableMover", "DurablePublisher", "find_own_transcripts", "render"]
