"""Which waiting files leave together, and when: the batch policy of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.file_options import FileOptions

AUTO_WAIT_S = 1.0  # `max_wait_s: auto` waits so long, where others are known to come
TARGET_BATCH_S = 30.0  # of computing in a batch whose size is left open
MIN_AUDIO_S = 60.0  # and so much sound at least: windows of short files share a forward pass
INITIAL_AUDIO_S = 300.0  # before the speed is known
MAX_FILES = 1_000  # of a batch whose size is left open
DEFAULT_AUDIO_S = 30.0  # what a file counts for that does not say its length
MIN_SHARE_S = 30.0  # of several engines' batches: short files still share a forward pass at the end
SHARE_DIVISOR = 2  # of several engines each takes a batch of a half of its share of what is left


class Order(StrEnum):
    """Who goes first among the files that wait."""

    AUTO = "auto"  # the oldest; with several engines the longest, so that they end together
    OLDEST = "oldest"
    SHORTEST = "shortest"
    LONGEST = "longest"
    PRIORITY = "priority"


GROUP_KEYS = ("language", "task", "model", "folder")


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """When a batch is full, how long it may wait and take, who may share it and who goes first.

    What is None follows from the load.
    """

    max_files: int | None = None
    max_audio_s: float | None = None
    max_wait_s: float | None = None
    group_by: tuple[str, ...] = ("language",)
    order: str = Order.AUTO
    max_batch_s: float | None = None  # then no other file of it is begun; None: no limit

    def for_engines(self, engines: int) -> BatchPolicy:
        """The same, with the order that so many engines are best served in, where that is left open."""
        if self.order != Order.AUTO:
            return self
        return replace(self, order=Order.LONGEST if engines > 1 else Order.OLDEST)


@dataclass(frozen=True, slots=True)
class Load:
    """What decides how large a batch is and how long it waits, where the policy leaves that open."""

    realtime_factor: float | None = None  # seconds of audio per second of late; None: not known
    engines: int = 1  # that take batches side by side
    backlog_s: float = 0.0  # seconds of sound that wait, for all of them
    expects_more: bool = False  # files are settling

    def wait_s(self, policy: BatchPolicy) -> float:
        """Seconds that a part-full batch waits for company; a lone file does not wait."""
        if policy.max_wait_s is not None:
            return policy.max_wait_s
        return AUTO_WAIT_S if self.expects_more else 0.0

    def audio_s(self, policy: BatchPolicy) -> float:
        """Seconds of sound that fill a batch: work for TARGET_S, or less where engines share the rest."""
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
    audio_s: float = 0.0  # declared seconds; 0 where the file does not say
    attempts: int = 0
    crashes: int = 0  # times it killed or hung the decode worker
    deaths: int = 0  # times the whole program died while it was claimed
    setbacks: int = 0  # environment faults in a row

    @property
    def estimated_audio_s(self) -> float:
        """Seconds of sound that it counts for in a batch."""
        return self.audio_s or DEFAULT_AUDIO_S

    @property
    def is_isolated(self) -> bool:
        """Whether a process died of it, or while it was there: it may not take others with it again."""
        return self.crashes > 0 or self.deaths > 0


@dataclass(frozen=True, slots=True)
class Batch:
    """Files that share a run."""

    files: tuple[WaitingFile, ...]

    @property
    def audio_s(self) -> float:
        """Declared seconds of all its files."""
        return sum(waiting.audio_s for waiting in self.files)

    @property
    def oldest_ready_at_s(self) -> float:
        """When its longest-waiting file became ready, in epoch seconds."""
        return min(waiting.ready_at_s for waiting in self.files)


def form_batches(
    waiting: Collection[WaitingFile],
    policy: BatchPolicy,
    *,
    now_s: float,
    drain: bool = False,
    load: Load = IDLE,
) -> list[Batch]:
    """The batches that should leave now, first to leave first.

    A batch leaves when it is full (files, or seconds of audio) or when its oldest file has waited
    long enough; with `drain` it leaves at once. What must not share a run never does:
    another model, task or output, the keys of `group_by`, and a file that killed a worker.
    """
    max_audio_s = load.audio_s(policy)
    wait_s = load.wait_s(policy)
    groups: dict[tuple[Any, ...], list[WaitingFile]] = {}
    for item in sort_files(waiting, policy):
        groups.setdefault(_group_key(item, policy), []).append(item)
    leaving = []
    for members in groups.values():
        for batch, is_full in _split(members, policy.max_files or MAX_FILES, max_audio_s):
            waited_s = now_s - batch.oldest_ready_at_s
            if is_full or drain or waited_s >= wait_s or waited_s < 0:
                leaving.append(batch)
    rank = _sort_key(policy.order)
    return sorted(leaving, key=lambda batch: rank(batch.files[0]))


def sort_files(waiting: Collection[WaitingFile], policy: BatchPolicy) -> list[WaitingFile]:
    """The files that wait, who goes first first."""
    return sorted(waiting, key=_sort_key(policy.order))


def next_batch_due_s(
    waiting: Iterable[WaitingFile], policy: BatchPolicy, *, load: Load = IDLE
) -> float | None:
    """When the next part-full batch must leave, in epoch seconds; None if nobody waits."""
    oldest_s = min((item.ready_at_s for item in waiting), default=None)
    return None if oldest_s is None else oldest_s + load.wait_s(policy)


def _split(
    members: list[WaitingFile], max_files: int, max_audio_s: float
) -> Iterable[tuple[Batch, bool]]:
    """Seat files in order; a batch that the next file would overfill is full."""
    seated: list[WaitingFile] = []
    audio_s = 0.0
    for item in members:
        if seated and audio_s + item.estimated_audio_s > max_audio_s:
            yield Batch(tuple(seated)), True
            seated, audio_s = [], 0.0
        seated.append(item)
        audio_s += item.estimated_audio_s
        if len(seated) >= max_files or audio_s >= max_audio_s:
            yield Batch(tuple(seated)), True
            seated, audio_s = [], 0.0
    if seated:
        yield Batch(tuple(seated)), False


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
    """Oldest first within equals, so that no file starves among its peers.

    Behind all others goes what was there at a second death of the program: the first in line would
    be blamed for every kill at the start.
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
