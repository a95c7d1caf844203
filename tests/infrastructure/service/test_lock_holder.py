from __future__ import annotations

import os
from pathlib import Path

from thoth_watch.infrastructure.service.lock import ProcessLock
from thoth_watch.infrastructure.service.lock_holder import lock_holder_pid


def test_the_lock_holder_is_found_without_taking_the_lock(tmp_path: Path):
    path = tmp_path / "ledger.db.lock"
    assert lock_holder_pid(path) is None
    with ProcessLock(path):
        assert lock_holder_pid(path) == os.getpid()
    assert lock_holder_pid(path) is None


def test_locks_of_other_kinds_and_files_are_ignored(tmp_path: Path):
    path = tmp_path / "x"
    path.touch()
    inode = path.stat().st_ino
    locks = f"1: POSIX  ADVISORY  WRITE 12 00:2f:{inode} 0 EOF\n2: FLOCK ADVISORY WRITE 13 00:2f:1{inode} 0 EOF\n"
    assert lock_holder_pid(path, locks=locks) is None
    assert lock_holder_pid(path, locks=locks.replace("POSIX", "FLOCK")) == 12
