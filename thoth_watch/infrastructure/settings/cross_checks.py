"""Checks across several keys: separate folders, and transcript names that are not taken for recordings."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from thoth_watch.domain.file_options import FORMATS
from thoth_watch.infrastructure.settings.document import Location
from thoth_watch.infrastructure.settings.layers import MergedSettings
from thoth_watch.infrastructure.settings.schema import Document


def check_inbox_paths(
    merged: MergedSettings, *, at: Location, inbox_paths: Sequence[tuple[Path, bool, Path | None]]
) -> None:
    """Reject an inbox inside another one, and a folder for finished recordings that overlaps an inbox.

    at: the key of the inboxes, `inbox` or `inboxes`. inbox_paths: for each inbox its path, whether
    it is recursive, and the folder for its finished recordings.
    """
    for index, (path, _, after) in enumerate(inbox_paths):
        inbox_at: Location = at if at == ("inbox",) else (*at, index)
        for other, (outer, recursive, _) in enumerate(inbox_paths):
            same = path == outer and other < index
            if same or (path != outer and recursive and path.is_relative_to(outer)):
                text = (
                    f"{path} is already watched by inboxes[{other}] ({outer}); remove one of them"
                )
                merged.add_problem((*inbox_at, "path"), text)
        for inbox, *_ in inbox_paths:
            if after and (after.is_relative_to(inbox) or inbox.is_relative_to(after)):
                text = (
                    f"{after} overlaps the inbox {inbox}; use a folder neither inside nor above it"
                )
                merged.add_problem((*inbox_at, "after"), text)
                break


def check_transcript_names(
    document: Document, merged: MergedSettings, *, extensions: Collection[str]
) -> None:
    """Reject names with which a transcript would be taken for a recording and transcribed."""
    names: list[tuple[Location, str]] = [(("transcript", "name"), document.transcript.name)]
    names += [
        (("rules", index, "name"), rule.name)
        for index, rule in enumerate(document.rules)
        if rule.name
    ]
    for at, name in names:
        for extension in extensions:
            filled = {
                name.replace("{stem}", f"a.{extension}")
                .replace("{format}", format_name)
                .replace("{language}", "en")
                for format_name in FORMATS
            }
            if any(text.lower().endswith(f".{extension}") for text in filled):
                merged.add_problem(
                    at,
                    f"found {name!r}; a transcript would have the extension of a recording "
                    f"(.{extension}); end the name with .{{format}}",
                )
                break
