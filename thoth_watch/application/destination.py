"""Where a recording's transcripts go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.batching import WaitingFile
from thoth_watch.domain.file_options import NEXT_TO_SOURCE, FileOptions


@dataclass(frozen=True, slots=True)
class Destination:
    """A recording whose transcript is to be published, and the claim under which."""

    item: WaitingFile
    sha256: str
    claim_no: int

    @property
    def below(self) -> Path:
        """The folder that nothing may be written outside of: the inbox, or `output_dir`."""
        return destination_of(self.item.file, self.item.file_options)[1]

    @property
    def folder(self) -> Path:
        """Where its transcripts go: beside it, or in the same place below `output_dir`."""
        return destination_of(self.item.file, self.item.file_options)[0]


def destination_of(file: AudioFile, file_options: FileOptions) -> tuple[Path, Path]:
    """The folder of a recording's transcripts, and the one that nothing may be written outside of."""
    if file_options.output_dir == NEXT_TO_SOURCE:
        return file.path.parent, file.inbox
    output_dir = Path(file_options.output_dir)
    return output_dir / file.relative.parent, output_dir


def output_paths(to: Destination, base: str) -> dict[str, Path]:
    """The path of each format."""
    return {
        name: to.folder / base.replace("{format}", name) for name in to.item.file_options.formats
    }
