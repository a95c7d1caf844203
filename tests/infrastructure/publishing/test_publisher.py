from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.fakes import publish_one
from thoth_watch.application.ports.publishing import Output
from thoth_watch.domain.errors import NameTaken, RetryLater
from thoth_watch.infrastructure.publishing import DurablePublisher
from thoth_watch.infrastructure.publishing.publish_steps import CREATE_STRATEGIES

OLD, NEW = b"the older words\n", b"the words\n"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(
    params=range(len(CREATE_STRATEGIES)), ids=[strategy.__name__ for strategy in CREATE_STRATEGIES]
)
def publisher(request: pytest.FixtureRequest) -> DurablePublisher:
    """A publisher per creation strategy."""
    return DurablePublisher(strategies=CREATE_STRATEGIES[request.param :])


def test_a_transcript_is_written_completely_with_the_mode_of_the_umask(publisher, tmp_path) -> None:
    before = os.umask(0o027)
    try:
        publish_one(publisher, Output(tmp_path / "a.txt", NEW))
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").read_bytes() == NEW
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640
    assert names_in(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("count", [0, 1, 2, 7, 50])
def test_each_of_many_outputs_gets_its_own_problem(publisher, tmp_path, count: int) -> None:
    outputs = [Output(tmp_path / f"{number}.txt", NEW) for number in range(count)]
    taken = range(0, count, 3)
    for number in taken:
        outputs[number].path.write_bytes(b"theirs")
    if count > 2:
        outputs[2] = Output(tmp_path / "missing" / "2.txt", NEW)

    problems = publisher.publish_all(outputs)

    kinds = [type(problem) for problem in problems]
    expected = [NameTaken if n in taken else type(None) for n in range(count)]
    if count > 2:
        expected[2] = RetryLater
    assert kinds == expected
    for output, kind in zip(outputs, kinds, strict=True):
        if kind is type(None):
            assert output.path.read_bytes() == NEW


def test_an_empty_transcript_is_written(publisher, tmp_path) -> None:
    publish_one(publisher, Output(tmp_path / "a.txt", b""))
    assert (tmp_path / "a.txt").read_bytes() == b""


def test_a_file_of_the_same_bytes_is_adopted(publisher, tmp_path) -> None:
    publish_one(publisher, Output(tmp_path / "a.txt", NEW))
    inode = (tmp_path / "a.txt").stat().st_ino
    publish_one(publisher, Output(tmp_path / "a.txt", NEW))
    assert (tmp_path / "a.txt").stat().st_ino == inode


@pytest.mark.parametrize(
    "kind", ["file", "symlink", "dangling", "folder", "fifo", "same through symlink"]
)
def test_a_foreign_entry_keeps_its_name_and_its_bytes(publisher, tmp_path, kind: str) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(NEW if kind == "same through symlink" else b"mine")
    path = tmp_path / "in" / "a.txt"
    path.parent.mkdir()
    if kind == "file":
        path.write_bytes(b"mine")
    elif kind in ("symlink", "same through symlink"):
        path.symlink_to(victim)
    elif kind == "dangling":
        path.symlink_to(tmp_path / "nowhere")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    status = path.lstat()
    with pytest.raises(NameTaken, match="left alone"):
        publish_one(publisher, Output(path, NEW, replaces_sha256=sha256(OLD)))
    assert path.lstat() == status
    assert victim.read_bytes() in (b"mine", NEW)
    assert not (tmp_path / "nowhere").exists()
    assert names_in(path.parent) == ["a.txt"]
    assert publisher.is_foreign(path, below=path.parent, ours_sha256=())
    assert publisher.is_foreign(path, below=path.parent, ours_sha256={sha256(OLD)})


def test_our_own_older_transcript_is_replaced(publisher, tmp_path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(OLD)
    assert not publisher.is_foreign(path, below=path.parent, ours_sha256={sha256(OLD)})
    publish_one(publisher, Output(path, NEW, replaces_sha256=sha256(OLD)))
    assert path.read_bytes() == NEW
    assert names_in(tmp_path) == ["a.txt"]


def test_an_edited_older_transcript_is_kept(publisher, tmp_path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(OLD + b"a remark")
    with pytest.raises(NameTaken):
        publish_one(publisher, Output(path, NEW, replaces_sha256=sha256(OLD)))
    assert path.read_bytes() == OLD + b"a remark"


def test_a_file_that_appears_during_the_exchange_gets_its_name_back(tmp_path, monkeypatch) -> None:
    from thoth_watch.infrastructure.publishing import publisher as module

    path = tmp_path / "a.txt"
    path.write_bytes(OLD)
    real = module.renameat2

    def swap_before_rename(folder: int, old: str, new: str, flags: int) -> None:
        if path.read_bytes() == OLD:
            path.unlink()
            path.write_bytes(b"mine")
        real(folder, old, new, flags)

    monkeypatch.setattr(module, "renameat2", swap_before_rename)
    with pytest.raises(NameTaken, match="changed while"):
        publish_one(DurablePublisher(), Output(path, NEW, replaces_sha256=sha256(OLD)))
    assert path.read_bytes() == b"mine"
    assert names_in(tmp_path) == ["a.txt"]


def test_a_missing_file_is_not_foreign(publisher, tmp_path) -> None:
    assert not publisher.is_foreign(tmp_path / "a.txt", below=tmp_path, ours_sha256=())
    assert not publisher.is_foreign(
        tmp_path / "no" / "a.txt", below=tmp_path, ours_sha256={sha256(OLD)}
    )


def test_a_missing_folder_raises_retry_later_and_is_not_created(publisher, tmp_path) -> None:
    path = tmp_path / "gone" / "a.txt"
    with pytest.raises(RetryLater, match="gone: the folder does not exist"):
        publish_one(publisher, Output(path, NEW))
    assert names_in(tmp_path) == []


def test_an_output_folder_is_created(publisher, tmp_path) -> None:
    path = tmp_path / "out" / "fr" / "a.txt"
    publish_one(publisher, Output(path, NEW, creates_folder=True))
    assert path.read_bytes() == NEW


def test_a_file_with_the_name_of_an_output_folder_raises_retry_later(publisher, tmp_path) -> None:
    (tmp_path / "out").write_bytes(b"mine")
    with pytest.raises(RetryLater):
        publish_one(publisher, Output(tmp_path / "out" / "a.txt", NEW, creates_folder=True))
    assert (tmp_path / "out").read_bytes() == b"mine"


def test_a_symlink_instead_of_the_folder_is_not_followed(publisher, tmp_path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "in").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RetryLater, match="symlink"):
        publish_one(publisher, Output(tmp_path / "in" / "a.txt", NEW))
    assert names_in(tmp_path / "elsewhere") == []


@pytest.mark.parametrize("name", [b"\xff\xfe.txt", b"a\nb.txt", b"-rf.txt", "ü北.txt".encode()])
def test_any_file_name_can_be_written(publisher, tmp_path, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    publish_one(publisher, Output(path, NEW))
    assert [os.fsencode(each) for each in names_in(tmp_path)] == [name]
    with pytest.raises(NameTaken) as error:
        publish_one(publisher, Output(path, OLD))
    str(error.value).encode()  # can be printed


def test_a_name_that_is_too_long_counts_as_taken(publisher, tmp_path) -> None:
    path = tmp_path / ("a" * 300)
    assert publisher.is_foreign(path, below=path.parent, ours_sha256=())
    with pytest.raises(NameTaken, match="too long"):
        publish_one(publisher, Output(path, NEW))


def test_a_full_disk_raises_retry_later_and_leaves_nothing(publisher, mount_tmpfs) -> None:
    folder = mount_tmpfs("size=64k")
    (folder / "ballast").write_bytes(b"x" * 40_000)
    with pytest.raises(RetryLater, match="the disk is full; free some space"):
        publish_one(publisher, Output(folder / "a.txt", NEW * 5_000))
    assert names_in(folder) == ["ballast"]
    (folder / "ballast").unlink()
    publish_one(publisher, Output(folder / "a.txt", NEW * 5_000))
    assert (folder / "a.txt").read_bytes() == NEW * 5_000


def test_a_full_disk_keeps_the_older_transcript(mount_tmpfs) -> None:
    folder = mount_tmpfs("size=64k")
    (folder / "a.txt").write_bytes(OLD)
    output = Output(folder / "a.txt", NEW * 10_000, replaces_sha256=sha256(OLD))
    with pytest.raises(RetryLater):
        publish_one(DurablePublisher(), output)
    assert (folder / "a.txt").read_bytes() == OLD
    assert names_in(folder) == ["a.txt"]


def test_a_disk_without_inodes_raises_retry_later(publisher, mount_tmpfs) -> None:
    folder = mount_tmpfs("nr_inodes=2")
    (folder / "last").touch()
    with pytest.raises(RetryLater, match="the disk is full"):
        publish_one(publisher, Output(folder / "a.txt", NEW))
    assert names_in(folder) == ["last"]


def test_a_read_only_disk_raises_retry_later(publisher, mount_tmpfs) -> None:
    folder = mount_tmpfs("ro")
    with pytest.raises(RetryLater, match="read-only; remount it"):
        publish_one(publisher, Output(folder / "a.txt", NEW))


def test_a_folder_without_write_access_raises_retry_later(publisher, tmp_path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "in").mkdir(mode=0o500)
    with pytest.raises(RetryLater, match="permission denied; give this user write access"):
        publish_one(publisher, Output(tmp_path / "in" / "a.txt", NEW))


def test_a_process_that_races_for_the_name_loses_nothing(publisher, tmp_path) -> None:
    inbox, victim, own = tmp_path / "in", tmp_path / "victim", tmp_path / "own"
    inbox.mkdir()
    own.mkdir()
    victim.write_bytes(b"mine")
    stopped = threading.Event()

    def race() -> None:
        kinds = 0
        while not stopped.is_set():
            kinds += 1
            path = inbox / f"{kinds % 7}.txt"
            try:
                if kinds % 3 == 0:
                    path.symlink_to(victim)
                elif kinds % 3 == 1:
                    path.mkdir()
                else:
                    os.link(victim, path)
            except OSError:
                continue
            if kinds % 2:
                path.rmdir() if kinds % 3 == 1 else path.unlink()

    racer = threading.Thread(target=race)
    racer.start()
    written = 0
    try:
        for number in range(60):
            path = inbox / f"{number % 7}.txt"
            content = f"words {number}\n".encode()
            try:
                publish_one(publisher, Output(path, content))
            except NameTaken:
                continue
            written += 1
            assert path.lstat().st_nlink == 1
            assert path.read_bytes() == content
            path.rename(own / f"{number}.txt")
    finally:
        stopped.set()
        racer.join()
    assert victim.read_bytes() == b"mine"
    assert len(names_in(own)) == written
    assert not [name for name in names_in(inbox) if name.startswith(".thoth")]


def test_concurrent_writers_of_the_same_name_leave_one_complete_file(publisher, tmp_path) -> None:
    results: list[str] = []

    def publish(content: bytes) -> None:
        try:
            publish_one(publisher, Output(tmp_path / "a.txt", content))
            results.append("written")
        except NameTaken:
            results.append("taken")

    threads = [threading.Thread(target=publish, args=(bytes([n]) * 9999,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["taken"] * 7 + ["written"]
    assert len(set((tmp_path / "a.txt").read_bytes())) == 1


def test_content_is_durable_before_its_name_and_the_name_before_the_return(tmp_path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    log = tmp_path / "trace"
    (tmp_path / "in").mkdir()
    code = (
        "import sys; from pathlib import Path; from thoth_watch.application.ports.publishing import Output;"
        "from thoth_watch.infrastructure.publishing import DurablePublisher;"
        "DurablePublisher().publish_all([Output(Path(sys.argv[1]), b'words')])"
    )
    calls = "trace=fsync,fdatasync,linkat,renameat2"
    command = ["strace", "-f", "-y", "-e", calls, "-o", str(log), sys.executable, "-c", code]
    done = subprocess.run(
        [*command, str(tmp_path / "in" / "a.txt")], capture_output=True, text=True, check=False
    )
    if "ptrace" in done.stderr.lower():
        pytest.skip("strace is not allowed to trace")
    assert done.returncode == 0, done.stderr
    lines = [line for line in log.read_text().splitlines() if "(" in line and "+++" not in line]
    called = [line.split(maxsplit=1)[1].split("(")[0] for line in lines]
    assert called == ["fsync", "linkat", "fsync"]
    assert lines[2].split("<")[1].startswith(f"{tmp_path}/in>")


@pytest.mark.parametrize("creates_folder", [False, True])
def test_a_symlink_instead_of_a_parent_folder_is_not_followed(
    publisher, tmp_path, creates_folder
) -> None:
    outside = tmp_path / "outside"
    (outside / "b").mkdir(parents=True)
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "a").symlink_to(outside)
    path = tmp_path / "inbox" / "a" / "b" / "talk.txt"

    with pytest.raises(RetryLater, match="symlink"):
        publish_one(
            publisher, Output(path, NEW, below=tmp_path / "inbox", creates_folder=creates_folder)
        )
    with pytest.raises(RetryLater, match="symlink"):
        publisher.is_foreign(path, below=tmp_path / "inbox", ours_sha256=())
    assert list(outside.rglob("*")) == [outside / "b"]
