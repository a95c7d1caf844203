"""Which waiting files leave together, and when: the batch policy of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.treatment import Treatment

AUTO_MAX_WAIT_S = 1.0  # what `max_wait_s: auto` waits for company


class Order(StrEnum):
    """Who goes first among the files that wait."""

    OLDEST = "oldest"
    SHORTEST = "shortest"
    LONGEST = "longest"
    PRIORITY = "priority"


GROUP_KEYS = ("language", "task", "model", "folder")


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """When a batch is full, how long it may wait and take, who may share it and who goes first."""

    max_files: int = 16
    max_audio_s: float = 1800.0
    max_wait_s: float | None = None  # None: auto
    group_by: tuple[str, ...] = ("language",)
    order: str = Order.OLDEST
    max_batch_s: float | None = None  # then no other file of it is begun; None: no limit

    @property
    def wait_s(self) -> float:
        """Seconds that a part-full batch waits for company."""
        return AUTO_MAX_WAIT_S if self.max_wait_s is None else self.max_wait_s


@dataclass(frozen=True, slots=True)
class WaitingFile:
    """A settled file that waits for a batch."""

    file_id: int
    file: AudioFile
    treatment: Treatment
    ready_at_s: float  # epoch seconds
    audio_s: float = 0.0  # declared seconds; 0 where the file does not say
    attempts: int = 0
    crashes: int = 0  # times it killed or hung the decode worker
    deaths: int = 0  # times the whole program died while it was claimed
    setbacks: int = 0  # environment faults in a row

    @property
    def travels_alone(self) -> bool:
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
    waiting: Iterable[WaitingFile], policy: BatchPolicy, *, now_s: float, drain: bool = False
) -> list[Batch]:
    """The batches that should leave now, first to leave first.

    A batch leaves when it is full (files, or seconds of audio) or when its oldest file has waited
    `policy.wait_s`; with `drain` it leaves at once. What must not share a run never does:
    another model, task or output, the keys of `group_by`, and a file that killed a worker.
    """
    groups: dict[tuple[Any, ...], list[WaitingFile]] = {}
    for item in sorted(waiting, key=_sort_key(policy.order)):
        groups.setdefault(_group_key(item, policy), []).append(item)
    leaving = []
    for members in groups.values():
        for batch, is_full in _cut(members, policy):
            waited_s = now_s - batch.oldest_ready_at_s
            if is_full or drain or waited_s >= policy.wait_s or waited_s < 0:
                leaving.append(batch)
    rank = _sort_key(policy.order)
    return sorted(leaving, key=lambda batch: rank(batch.files[0]))


def next_departure_s(waiting: Iterable[WaitingFile], policy: BatchPolicy) -> float | None:
    """When the next part-full batch must leave, in epoch seconds; None if nobody waits."""
    return min((item.ready_at_s + policy.wait_s for item in waiting), default=None)


def _cut(members: list[WaitingFile], policy: BatchPolicy) -> Iterable[tuple[Batch, bool]]:
    """Seat files in order; a batch that the next file would overfill is full."""
    seated: list[WaitingFile] = []
    audio_s = 0.0
    for item in members:
        if seated and audio_s + item.audio_s > policy.max_audio_s:
            yield Batch(tuple(seated)), True
            seated, audio_s = [], 0.0
        seated.append(item)
        audio_s += item.audio_s
        if len(seated) >= policy.max_files or audio_s >= policy.max_audio_s:
            yield Batch(tuple(seated)), True
            seated, audio_s = [], 0.0
    if seated:
        yield Batch(tuple(seated)), False


def _group_key(item: WaitingFile, policy: BatchPolicy) -> tuple[Any, ...]:
    treatment = item.treatment
    choices: dict[str, Any] = {
        "language": treatment.language,
        "task": treatment.task,
        "model": treatment.model,
        "folder": item.file.path.parent,
    }
    always = (
        treatment.model,
        treatment.task,
        treatment.formats,
        treatment.output_dir,
        treatment.name,
        item.file_id if item.travels_alone else None,
    )
    return always + tuple(choices[key] for key in policy.group_by)


def _sort_key(order: str) -> Callable[[WaitingFile], tuple[float, ...]]:
    """Oldest first within equals, so that no file starves among its peers."""
    match order:
        case Order.SHORTEST:
            return lambda item: (item.audio_s, item.ready_at_s, item.file_id)
        case Order.LONGEST:
            return lambda item: (-item.audio_s, item.ready_at_s, item.file_id)
        case Order.PRIORITY:
            return lambda item: (-item.treatment.priority, item.ready_at_s, item.file_id)
        case _:
            return lambda item: (item.ready_at_s, item.file_id)
