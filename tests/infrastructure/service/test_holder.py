from __future__ import annotations

import os
from pathlib import Path

from thoth_watch.infrastructure.service.holder import holder_of
from thoth_watch.infrastructure.service.lock import ProcessLock


def test_the_process_that_works_on_a_ledger_is_named_without_taking_its_lock(tmp_path: Path):
    path = tmp_path / "ledger.db.lock"
    assert holder_of(path) is None
    with ProcessLock(path):
        assert holder_of(path) == os.getpid()
    assert holder_of(path) is None


def test_other_kinds_of_locks_say_nothing(tmp_path: Path):
    path = tmp_path / "x"
    path.touch()
    inode = path.stat().st_ino
    other = f"1: POSIX  ADVISORY  WRITE 12 00:2f:{inode} 0 EOF\n2: FLOCK ADVISORY WRITE 13 00:2f:1{inode} 0 EOF\n"
    assert holder_of(path, locks=other) is None
    assert holder_of(path, locks=other.replace("POSIX", "FLOCK")) == 12
