"""Events suffice: every recording of a busy folder becomes READY without periodic scans."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes import FakeDecoder
from tests.ledgers import FlatLedger
from thoth_watch.application.scan_schedule import ScanSchedule
from thoth_watch.application.watch_inbox import WatchInbox
from thoth_watch.domain.states import State
from thoth_watch.infrastructure.inbox import FolderInbox, WatchdogWatcher
from thoth_watch.infrastructure.inbox.local_files import LocalFiles
from thoth_watch.infrastructure.service.clock import SystemClock

NEVER_S = 1e9
N_CHANGES = 150
CHANGES_PER_SCAN = 3  # happen before the next scan


class RandomFileActivity:
    """Random changes to a folder, as people and programs make them."""

    def __init__(self, inbox: Path, aside: Path, *, with_folders: bool) -> None:
        self._inbox, self._aside = inbox, aside
        self._random = random.Random(0)
        self._n = 0
        self._actions: list[Callable[[], None]] = [
            self.write,
            self.upload,
            self.append,
            self.replace,
        ]
        if with_folders:
            self._actions += [self.write, self.upload, self.rename, self.delete]
            self._actions += [self.make_folder, self.move_folder_in]
            self._actions += [self.rename_folder, self.remove_folder]

    def act(self) -> None:
        self._random.choice(self._actions)()

    def recordings(self) -> list[Path]:
        return sorted(self._inbox.rglob("*.wav"))

    def write(self) -> None:
        self._new_path(self._pick_folder()).write_bytes(b"x" * self._random.randint(1, 9))

    def upload(self) -> None:
        path = self._new_path(self._pick_folder())
        part = path.with_name(path.name + ".part")
        part.write_bytes(b"uploaded")
        part.rename(path)

    def append(self) -> None:
        if path := self._pick_recording():
            with path.open("ab") as file:
                file.write(b"more")

    def replace(self) -> None:
        if path := self._pick_recording():
            (self._aside / "new").write_bytes(b"another one")
            (self._aside / "new").replace(path)

    def rename(self) -> None:
        if path := self._pick_recording():
            path.rename(self._new_path(self._pick_folder()))

    def delete(self) -> None:
        if path := self._pick_recording():
            path.unlink()

    def make_folder(self) -> None:
        folder = self._new_path(self._pick_folder()).with_suffix("")
        folder.mkdir()
        self._new_path(folder).write_bytes(b"at once")

    def move_folder_in(self) -> None:
        folder = self._new_path(self._aside).with_suffix("")
        (folder / "deep").mkdir(parents=True)
        self._new_path(folder / "deep").write_bytes(b"from elsewhere")
        folder.rename(self._pick_folder() / folder.name)

    def rename_folder(self) -> None:
        if (folder := self._pick_folder()) != self._inbox:
            folder.rename(self._new_path(self._inbox).with_suffix(""))

    def remove_folder(self) -> None:
        if (folder := self._pick_folder()) != self._inbox:
            shutil.rmtree(folder)

    def _new_path(self, folder: Path) -> Path:
        self._n += 1
        return folder / f"{self._n}.wav"

    def _pick_recording(self) -> Path | None:
        recordings = self.recordings()
        return self._random.choice(recordings) if recordings else None

    def _pick_folder(self) -> Path:
        folders = [path for path in self._inbox.rglob("*") if path.is_dir()]
        return self._random.choice([self._inbox, *sorted(folders)])


@pytest.mark.parametrize("with_folders", [False, True])
def test_every_recording_is_found_by_its_event(tmp_path: Path, with_folders: bool) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "aside").mkdir()
    activity = RandomFileActivity(tmp_path / "inbox", tmp_path / "aside", with_folders=with_folders)
    clock, ledger = SystemClock(), FlatLedger.open(f"sqlite:///{tmp_path}/ledger.db")
    watch_inbox = WatchInbox(
        FolderInbox(tmp_path / "inbox"),
        ledger=ledger,
        files=LocalFiles(),
        decoder=FakeDecoder(),
        clock=clock,
        settle_s=0.2,
    )

    def ready() -> dict[Path, tuple[int, int]]:
        return {
            path: (known.signature.size_bytes, known.signature.inode)
            for path, known in ledger.known_files(tmp_path / "inbox").items()
            if known.signature is not None and known.state == State.READY
        }

    def recordings_on_disk() -> dict[Path, tuple[int, int]]:
        return {p: (p.stat().st_size, p.stat().st_ino) for p in activity.recordings()}

    with WatchdogWatcher(
        [(tmp_path / "inbox", True, "inotify")], suffixes=["wav"]
    ) as folder_watcher:
        schedule = ScanSchedule(
            [watch_inbox], folder_watcher=folder_watcher, clock=clock, rescan_s=NEVER_S
        )
        for number in range(N_CHANGES):
            activity.act()
            if number % CHANGES_PER_SCAN == 0:
                folder_watcher.wait(0.0)
                schedule.scan()
        deadline = time.monotonic() + 60.0
        while not recordings_on_disk().items() <= ready().items() and time.monotonic() < deadline:
            folder_watcher.wait(min(1.0, schedule.next_s() - clock.monotonic_s()))
            schedule.scan()

        assert recordings_on_disk().items() <= ready().items()
    ledger.close()
