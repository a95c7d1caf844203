"""Forms batches from waiting files according to the batch policy of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.file_options import FileOptions

AUTO_WAIT_S = 1.0  # wait of `max_wait_s: auto` while more files are settling
TARGET_BATCH_S = 30.0  # processing time to aim for in a batch without a configured size
MIN_AUDIO_S = 60.0  # minimum audio per batch: windows of short files share a forward pass
INITIAL_AUDIO_S = 300.0  # audio per batch while the speed is unknown
MAX_FILES = 1_000  # files in a batch without a configured size
DEFAULT_AUDIO_S = 30.0  # assumed length of a file that declares none
# with several engines each batch holds half of an engine's share of the backlog, so that batches
# shrink toward the end and all engines finish at about the same time
SHARE_DIVISOR = 2
MIN_SHARE_S = 30.0  # minimum audio of such a batch: short files still share a forward pass


class Order(StrEnum):
    """Order in which waiting files are processed."""

    AUTO = "auto"  # oldest first; with several engines longest first, so that they finish together
    OLDEST = "oldest"
    SHORTEST = "shortest"
    LONGEST = "longest"
    PRIORITY = "priority"


GROUP_KEYS = ("language", "task", "model", "folder")


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """Limits on the size, waiting time and duration of batches, and their grouping and order.

    A limit that is None follows from the load.
    """

    max_files: int | None = None
    max_audio_s: float | None = None
    max_wait_s: float | None = None
    group_by: tuple[str, ...] = ("language",)
    order: str = Order.AUTO
    max_batch_s: float | None = None  # after that no further file starts; None: no limit

    def for_engines(self, engines: int) -> BatchPolicy:
        """Return the policy with `order: auto` replaced by the best order for that number of engines."""
        if self.order != Order.AUTO:
            return self
        return replace(self, order=Order.LONGEST if engines > 1 else Order.OLDEST)


@dataclass(frozen=True, slots=True)
class Load:
    """Determines the size and waiting time of batches if the policy does not set them."""

    realtime_factor: float | None = None  # recent seconds of audio per second; None: unknown
    engines: int = 1  # that process batches in parallel
    backlog_s: float = 0.0  # seconds of audio that wait, for all engines
    expects_more: bool = False  # files are settling

    def wait_s(self, policy: BatchPolicy) -> float:
        """Return the seconds that a partial batch waits for more files."""
        if policy.max_wait_s is not None:
            return policy.max_wait_s
        return AUTO_WAIT_S if self.expects_more else 0.0

    def audio_s(self, policy: BatchPolicy) -> float:
        """Return the seconds of audio that fill a batch: about TARGET_BATCH_S of processing.

        Less if several engines share the backlog.
        """
        if policy.max_audio_s is not None:
            full_s = policy.max_audio_s
        elif self.realtime_factor is None:
            full_s = INITIAL_AUDIO_S
        else:
            full_s = max(MIN_AUDIO_S, TARGET_BATCH_S * self.realtime_factor)
        if self.engines > 1 and policy.max_wait_s is None:
            share_s = self.backlog_s / (SHARE_DIVISOR * self.engines)
            full_s = min(full_s, max(MIN_SHARE_S, share_s))
        return full_s


IDLE = Load()


@dataclass(frozen=True, slots=True)
class WaitingFile:
    """A settled file that waits for a batch."""

    file_id: int
    file: AudioFile
    file_options: FileOptions
    ready_at_s: float  # epoch seconds
    audio_s: float = 0.0  # declared seconds; 0: not declared
    attempts: int = 0
    crashes: int = 0  # times it crashed or hung the decode worker
    deaths: int = 0  # times the whole program died while the file was claimed
    setbacks: int = 0  # environment failures in a row

    @property
    def estimated_audio_s(self) -> float:
        """Return the seconds of audio that the file counts for in a batch."""
        return self.audio_s or DEFAULT_AUDIO_S

    @property
    def is_isolated(self) -> bool:
        """Return True if a process died while it handled the file, which then gets a batch of its own."""
        return self.crashes > 0 or self.deaths > 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Files that share a run."""

    files: tuple[WaitingFile, ...]

    @property
    def audio_s(self) -> float:
        """Return the declared seconds of all files."""
        return sum(waiting.audio_s for waiting in self.files)

    @property
    def oldest_ready_at_s(self) -> float:
        """Return when the longest-waiting file became ready, in epoch seconds."""
        return min(waiting.ready_at_s for waiting in self.files)


def form_batches(
    waiting: Collection[WaitingFile],
    policy: BatchPolicy,
    *,
    now_s: float,
    drain: bool = False,
    load: Load = IDLE,
) -> list[Batch]:
    """Return the batches that should start now, in processing order.

    A batch starts when it is full (files, or seconds of audio) or when its oldest file has waited
    long enough; with `drain` it starts immediately. Files never share a batch if they differ in
    model, task, output or a key of `group_by`; a file that killed a worker gets its own batch.
    """
    max_audio_s = load.audio_s(policy)
    wait_s = load.wait_s(policy)
    groups: dict[tuple[Any, ...], list[WaitingFile]] = {}
    for item in sort_files(waiting, policy):
        groups.setdefault(_group_key(item, policy), []).append(item)
    due = []
    for members in groups.values():
        for batch, is_full in _split(members, policy.max_files or MAX_FILES, max_audio_s):
            waited_s = now_s - batch.oldest_ready_at_s
            if is_full or drain or waited_s >= wait_s or waited_s < 0:
                due.append(batch)
    rank = _sort_key(policy.order)
    return sorted(due, key=lambda batch: rank(batch.files[0]))


def sort_files(waiting: Collection[WaitingFile], policy: BatchPolicy) -> list[WaitingFile]:
    """Return the waiting files in processing order."""
    return sorted(waiting, key=_sort_key(policy.order))


def next_batch_due_s(
    waiting: Iterable[WaitingFile], policy: BatchPolicy, *, load: Load = IDLE
) -> float | None:
    """Return when the next partial batch must start, in epoch seconds; None if no file waits."""
    oldest_s = min((item.ready_at_s for item in waiting), default=None)
    return None if oldest_s is None else oldest_s + load.wait_s(policy)


def _split(
    members: list[WaitingFile], max_files: int, max_audio_s: float
) -> Iterable[tuple[Batch, bool]]:
    """Yield batches of the files in order, each with True if it is full.

    A batch is also full if the next file would exceed the limit.
    """
    current: list[WaitingFile] = []
    audio_s = 0.0
    for item in members:
        if current and audio_s + item.estimated_audio_s > max_audio_s:
            yield Batch(tuple(current)), True
            current, audio_s = [], 0.0
        current.append(item)
        audio_s += item.estimated_audio_s
        if len(current) >= max_files or audio_s >= max_audio_s:
            yield Batch(tuple(current)), True
            current, audio_s = [], 0.0
    if current:
        yield Batch(tuple(current)), False


def _group_key(item: WaitingFile, policy: BatchPolicy) -> tuple[Any, ...]:
    file_options = item.file_options
    choices: dict[str, Any] = {
        "language": file_options.language,
        "task": file_options.task,
        "model": file_options.model,
        "folder": item.file.path.parent,
    }
    always = (
        file_options.model,
        file_options.task,
        file_options.formats,
        file_options.output_dir,
        file_options.name,
        item.file_id if item.is_isolated else None,
    )
    return always + tuple(choices[key] for key in policy.group_by)


def _sort_key(order: str) -> Callable[[WaitingFile], tuple[float, ...]]:
    """Return a sort key for the order; equal files are sorted oldest first, so that none starves.

    A file that was claimed when the program died for the second time goes behind all others;
    otherwise the first file in line would be blamed whenever the program is killed at its start.
    """
    first = _RANKS.get(order, _no_rank)
    return lambda item: (max(0, item.deaths - 1), first(item), item.ready_at_s, item.file_id)


def _no_rank(_: WaitingFile) -> float:
    return 0.0


_RANKS: dict[str, Callable[[WaitingFile], float]] = {
    Order.SHORTEST: lambda item: item.audio_s,
    Order.LONGEST: lambda item: -item.audio_s,
    Order.PRIORITY: lambda item: -item.file_options.priority,
}
