"""What must hold between several keys: places apart from each other, names that are no recordings."""

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
    """Refuse an inbox in another one, and a folder for finished recordings that would be seen again.

    at: `inbox`, or `inboxes`, whose items these are. places: of each inbox its path, whether it is
    recursive, and where its finished recordings go.
    """
    for index, (path, _, after) in enumerate(inbox_paths):
        here: Location = at if at == ("inbox",) else (*at, index)
        for other, (outer, recursive, _) in enumerate(inbox_paths):
            same = path == outer and other < index
            if same or (path != outer and recursive and path.is_relative_to(outer)):
                text = f"{path} is watched already, by inboxes[{other}]: {outer}"
                merged.add_problem((*here, "path"), text)
        for inbox, *_ in inbox_paths:
            if after and (after.is_relative_to(inbox) or inbox.is_relative_to(after)):
                text = f"{after} and the inbox {inbox} lie in one another; name a folder apart"
                merged.add_problem((*here, "after"), text)
                break


def check_transcript_names(
    document: Document, merged: MergedSettings, *, extensions: Collection[str]
) -> None:
    """Refuse names that would make a transcript look like a recording and be taken as input."""
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
                .replace("{format}", word)
                .replace("{language}", "en")
                for word in FORMATS
            }
            if any(text.lower().endswith(f".{extension}") for text in filled):
                merged.add_problem(
                    at,
                    f"found {name!r}; a transcript could be named like a recording "
                    f"(.{extension}); let it end in .{{format}}",
                )
                break
