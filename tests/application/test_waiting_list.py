"""The list of waiting files: when it is read again, and when dispatching comes before a scan."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import INBOX, FakeClock, make_file
from thoth_watch.application.waiting_list import MANY_FILES, MAX_CANDIDATES, WaitingList
from thoth_watch.domain.batching import BatchPolicy, WaitingFile
from thoth_watch.domain.file_options import FileOptions


class SlowQueue:
    """READY files of which each read takes a second."""

    def __init__(self, clock: FakeClock, n_files: int) -> None:
        self.clock, self.n_reads = clock, 0
        self.ready = [waiting_file(number) for number in range(n_files)]

    def waiting(self, resolve_file_options) -> list[WaitingFile]:
        self.n_reads += 1
        self.clock.advance(1.0)
        return list(self.ready)


class Engines:
    is_busy = False


class Scans:
    has_more = False


def waiting_file(number: int, *, inbox: Path = INBOX, ready_at_s: float = 0.0) -> WaitingFile:
    return WaitingFile(
        number, make_file(f"{number}.wav", inbox=inbox), FileOptions(), ready_at_s=ready_at_s
    )


class Setup:
    def __init__(self, n_files: int, **policy: object) -> None:
        self.clock, self.engines, self.scans = FakeClock(), Engines(), Scans()
        self.queue = SlowQueue(self.clock, n_files)
        self.list = WaitingList(
            self.queue,
            scan_schedule=self.scans,
            dispatcher=self.engines,
            resolve_file_options=lambda _: FileOptions(),
            policy=BatchPolicy(**policy),
            clock=self.clock,
        )

    def files(self, *unavailable: Path) -> list[WaitingFile]:
        return self.list.files(unavailable=unavailable)


def test_a_list_that_is_not_outdated_is_read_once():
    setup = Setup(3)

    assert setup.files() == setup.files() == setup.queue.ready
    assert setup.queue.n_reads == 1


def test_an_empty_list_is_read_at_every_step():
    setup = Setup(0)
    setup.files()
    setup.queue.ready = [waiting_file(1)]

    assert setup.files() == setup.queue.ready


def test_an_outdated_list_is_read_again_when_the_backoff_is_over():
    setup = Setup(3)
    setup.files()
    setup.queue.ready.append(waiting_file(9))
    setup.list.mark_outdated()

    assert len(setup.files()) == 3
    setup.clock.advance(4.0)
    assert len(setup.files()) == 4


def test_a_failed_dispatch_reads_the_list_without_waiting_for_the_backoff():
    setup = Setup(3)
    setup.files()
    setup.queue.ready.pop()

    assert len(setup.list.read_again(unavailable=())) == 2


def test_files_of_an_unavailable_inbox_are_left_out():
    other = Path("/other")
    setup = Setup(1)
    setup.queue.ready.append(waiting_file(9, inbox=other))

    assert [item.file_id for item in setup.files(other)] == [0]
    assert [item.file_id for item in setup.files()] == [0, 9]


def test_dispatched_files_are_not_listed_again():
    setup = Setup(3)
    setup.list.keep(setup.files()[1:])

    assert [item.file_id for item in setup.files()] == [1, 2]
    assert setup.queue.n_reads == 1


@pytest.mark.parametrize(("n_files", "precedes"), [(MANY_FILES, True), (MANY_FILES - 1, False)])
def test_a_long_list_precedes_the_scan_once_a_busy_engine_is_free(n_files: int, precedes: bool):
    setup = Setup(n_files)
    setup.files()
    setup.list.end_step()
    assert not setup.list.precedes_scan  # the engines were idle

    setup.engines.is_busy = True
    setup.list.end_step()
    assert not setup.list.precedes_scan
    setup.engines.is_busy = False
    assert setup.list.precedes_scan is precedes


@pytest.mark.parametrize(("order", "n_reads"), [("oldest", 1), ("shortest", 2)])
def test_a_very_long_list_in_arrival_order_waits_until_all_settled_files_are_recorded(
    order: str, n_reads: int
):
    setup = Setup(MAX_CANDIDATES, order=order)
    setup.files()
    setup.scans.has_more = True
    setup.list.mark_outdated()
    setup.clock.advance(60.0)
    setup.files()

    assert setup.queue.n_reads == n_reads
