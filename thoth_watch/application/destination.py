"""The folder and paths of a recording's transcripts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.batching import WaitingFile
from thoth_watch.domain.file_options import NEXT_TO_SOURCE, FileOptions


@dataclass(frozen=True, slots=True)
class Destination:
    """A recording whose transcript is to be published, and the number of its claim."""

    item: WaitingFile
    sha256: str
    claim_no: int

    @property
    def below(self) -> Path:
        """Return the root that nothing may be written outside of: the inbox, or `output_dir`."""
        return destination_of(self.item.file, self.item.file_options)[1]

    @property
    def folder(self) -> Path:
        """Return the folder for the transcripts: the recording's own, or its mirror below `output_dir`."""
        return destination_of(self.item.file, self.item.file_options)[0]


def destination_of(file: AudioFile, file_options: FileOptions) -> tuple[Path, Path]:
    """Return the folder of a recording's transcripts and the root that nothing may be written outside of."""
    if file_options.output_dir == NEXT_TO_SOURCE:
        return file.path.parent, file.inbox
    output_dir = Path(file_options.output_dir)
    return output_dir / file.relative.parent, output_dir


def output_paths(to: Destination, base: str) -> dict[str, Path]:
    """Return the path of each format's file. base: a name that contains `{format}`."""
    return {
        name: to.folder / base.replace("{format}", name) for name in to.item.file_options.formats
    }
