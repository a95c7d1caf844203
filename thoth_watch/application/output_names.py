"""Output names of transcripts: the destination folder, and the search for names that are free."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.batching import WaitingFile
from thoth_watch.domain.file_options import NEXT_TO_SOURCE, FileOptions

ALTERNATE = "alternate"  # a foreign file has the preferred name
ANOTHER = "another"  # transcripts of other recordings have the preferred names


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


class NameSearch:
    """Walks through the candidate names of one transcript, best first, until all formats have a free one.

    After a foreign file was found under a name, only names of the kind `alternate` follow. A format
    that is already written keeps its name.
    """

    def __init__(
        self,
        candidates: Iterator[tuple[str, str]],
        paths_of: Callable[[str], Mapping[str, Path]],
    ) -> None:
        """candidates: base names with their kind, from `candidate_names`. paths_of: path per format."""
        self._candidates = candidates
        self._paths_of = paths_of
        self.foreign: Path | None = None  # the first foreign file that was found under a name
        self.written: dict[str, Path] = {}  # formats that keep their name
        self._kind = ""
        self.paths: dict[str, Path] | None = (
            None  # the current candidate; None: no candidate is left
        )
        self.advance()

    def advance(self, *, foreign: Path | None = None) -> None:
        """Go on to the next candidate. foreign: the file that is in the way of the current one."""
        self.foreign = self.foreign or foreign
        for base, kind in self._candidates:
            if self.foreign is None or kind == ALTERNATE:
                self._kind = kind
                self.paths = {**self._paths_of(base), **self.written}
                return
        self.paths = None

    @property
    def kind(self) -> str:
        """Return the kind of the current candidate: stem, full, alternate or another."""
        is_alternate = self._kind == ALTERNATE
        return ANOTHER if is_alternate and self.foreign is None else self._kind
