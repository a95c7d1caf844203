"""Nothing outside a root is opened, whatever takes the place of a folder or of a file."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from thoth_watch.infrastructure.files import (
    PATH_FLAGS,
    READ_FLAGS,
    ROOT_FLAGS,
    beneath,
    open_below,
    open_folder_below,
)

SECRET = b"outside"


def failing_openat2(code: int) -> Callable[..., int]:
    def openat2(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    return openat2


@pytest.fixture(params=["openat2", "old kernel", "seccomp filter"], autouse=True)
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Opens by the one system call, and folder by folder where it is not allowed."""
    code = {"old kernel": errno.ENOSYS, "seccomp filter": errno.EPERM}.get(request.param)
    if code:
        monkeypatch.setattr(beneath, "openat2", failing_openat2(code))
    return request.param


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """A folder with in/a/talk.wav, beside a folder outside with the same names."""
    for root, content in (("inbox", b"inside"), ("outside", SECRET)):
        folder = tmp_path / root / "in" / "a"
        folder.mkdir(parents=True)
        (folder / "talk.wav").write_bytes(content)
    return tmp_path / "inbox"


@pytest.fixture
def root(inbox: Path) -> Iterator[int]:
    descriptor = os.open(inbox, ROOT_FLAGS)
    yield descriptor
    os.close(descriptor)


@pytest.fixture(autouse=True)
def _no_descriptor_is_leaked(root: int) -> Iterator[None]:
    before = set(Path("/proc/self/fd").iterdir())
    yield
    assert set(Path("/proc/self/fd").iterdir()) == before


def read(root: int, path: str | Path) -> bytes:
    descriptor = open_below(root, path, READ_FLAGS)
    try:
        return os.read(descriptor, 100)
    finally:
        os.close(descriptor)


def failure(root: int, path: str | Path, flags: int = READ_FLAGS) -> int | None:
    with pytest.raises(OSError) as raised:  # noqa: PT011 - the caller tests the number
        os.close(open_below(root, path, flags))
    return raised.value.errno


@pytest.mark.parametrize("path", ["in/a/talk.wav", "in//a/talk.wav", "./in/./a/talk.wav"])
def test_a_file_in_folders_is_opened(root: int, path: str):
    assert read(root, path) == b"inside"


@pytest.mark.parametrize("flags", [READ_FLAGS, PATH_FLAGS])
@pytest.mark.parametrize("link", ["in", "in/a"])
@pytest.mark.parametrize("target", ["absolute", "relative", "inside"])
def test_a_symlink_in_the_place_of_a_folder_is_refused(
    inbox: Path, root: int, flags: int, link: str, target: str
):
    aside = inbox / "aside"
    (inbox / link).rename(aside)
    outside = inbox.parent / "outside" / link
    targets = {
        "absolute": outside,
        "relative": Path(os.path.relpath(outside, (inbox / link).parent)),
        "inside": Path(os.path.relpath(aside, (inbox / link).parent)),
    }
    (inbox / link).symlink_to(targets[target])

    assert failure(root, "in/a/talk.wav", flags) == errno.ELOOP
    with pytest.raises(NotADirectoryError):
        open_folder_below(root, link)
    with pytest.raises(NotADirectoryError):
        open_folder_below(root, "in/a")


def test_a_symlink_as_the_last_name_is_never_followed(inbox: Path, root: int):
    path = inbox / "in" / "a" / "talk.wav"
    path.unlink()
    path.symlink_to(inbox.parent / "outside" / "in" / "a" / "talk.wav")

    assert failure(root, "in/a/talk.wav") == errno.ELOOP
    descriptor = open_below(root, "in/a/talk.wav", PATH_FLAGS)
    status = os.fstat(descriptor)
    os.close(descriptor)
    assert status == path.lstat()  # the link itself


def test_a_dangling_and_a_circular_symlink_are_refused(inbox: Path, root: int):
    (inbox / "nowhere").symlink_to("nothing")
    (inbox / "circle").symlink_to("circle")
    for name in ("nowhere", "circle"):
        assert failure(root, name) == errno.ELOOP
        assert failure(root, f"{name}/talk.wav") == errno.ELOOP


@pytest.mark.parametrize(
    "path",
    ["..", "../outside/in/a/talk.wav", "in/../../outside/in/a/talk.wav", "in/../in/a/talk.wav"],
)
def test_a_path_with_two_dots_is_refused_even_if_it_stays_below(root: int, path: str):
    assert failure(root, path) == errno.EXDEV
    with pytest.raises(OSError, match="cross-device"):
        open_folder_below(root, path)


def test_an_absolute_path_is_refused(inbox: Path, root: int):
    assert failure(root, inbox / "in" / "a" / "talk.wav") == errno.EXDEV


def test_a_magic_link_is_refused(inbox: Path):
    """The kernel resolves these links to files, not to paths: a check of the path would not see it."""
    secret = os.open(inbox.parent / "outside", ROOT_FLAGS)
    proc = os.open("/proc/self", ROOT_FLAGS)
    try:
        assert failure(proc, f"fd/{secret}/in/a/talk.wav") == errno.ELOOP
        assert failure(proc, f"fd/{secret}") == errno.ELOOP
        assert failure(proc, "root/etc/passwd") == errno.ELOOP
        with pytest.raises(NotADirectoryError):
            open_folder_below(proc, "cwd")
    finally:
        os.close(proc)
        os.close(secret)


def test_what_is_missing_and_what_is_no_folder_are_told_apart(root: int):
    assert failure(root, "in/b/talk.wav") == errno.ENOENT
    assert failure(root, "in/a/other.wav") == errno.ENOENT
    assert failure(root, "in/a/talk.wav/more") == errno.ENOTDIR
    with pytest.raises(FileNotFoundError):
        open_folder_below(root, "in/b")
    with pytest.raises(NotADirectoryError):
        open_folder_below(root, "in/a/talk.wav")


def test_a_pipe_is_opened_without_waiting_for_a_writer(inbox: Path, root: int):
    os.mkfifo(inbox / "pipe.wav")
    for flags in (READ_FLAGS, PATH_FLAGS):
        os.close(open_below(root, "pipe.wav", flags))
    with pytest.raises(NotADirectoryError):
        open_folder_below(root, "pipe.wav")


def test_rights_are_those_of_the_caller(
    inbox: Path, root: int, without_rights: Callable[[], AbstractContextManager[None]]
):
    inbox.parent.chmod(0o755)
    (inbox / "in" / "a" / "talk.wav").chmod(0)
    with without_rights():
        assert failure(root, "in/a/talk.wav") == errno.EACCES
        os.close(open_below(root, "in/a/talk.wav", PATH_FLAGS))  # only to ask what it is
    (inbox / "in" / "a" / "talk.wav").chmod(0o644)
    (inbox / "in").chmod(0o711)
    with without_rights():
        assert read(root, "in/a/talk.wav") == b"inside"  # passing through needs no list of names
    (inbox / "in").chmod(0o700 if os.geteuid() == 0 else 0)
    with without_rights():
        assert failure(root, "in/a/talk.wav", PATH_FLAGS) == errno.EACCES
    (inbox / "in").chmod(0o755)


def test_a_folder_is_opened_for_listing_and_creating(inbox: Path, root: int):
    for path in (".", "in", "in/a", Path("in/a")):
        folder = open_folder_below(root, path)
        assert set(os.listdir(folder)) == {p.name for p in (inbox / path).iterdir()}  # noqa: PTH208
        os.close(os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
        os.close(folder)
        assert (inbox / path / "new").exists()


def test_a_path_that_is_too_long_for_one_call_is_walked(inbox: Path, root: int):
    names = ["d" * 250] * 20  # 5,019 bytes; the kernel takes at most 4,096 at once
    folder = os.dup(root)
    for name in names:
        os.mkdir(name, dir_fd=folder)
        inner = os.open(name, ROOT_FLAGS, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(os.open("talk.wav", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)

    assert read(root, Path(*names, "talk.wav")) == b""
    os.close(open_folder_below(root, Path(*names)))
    assert failure(root, "n" * 256) == errno.ENAMETOOLONG


def test_a_name_that_is_not_utf_8_is_opened(inbox: Path, root: int):
    name = os.fsdecode(b"\xff\n-rf.wav")
    (inbox / name).write_bytes(b"x")
    assert read(root, name) == b"x"


def test_a_folder_that_is_swapped_all_the_time_never_leads_outside(inbox: Path, root: int):
    is_stopped = threading.Event()

    def swap() -> None:
        while not is_stopped.is_set():
            (inbox / "in").rename(inbox / "away")
            (inbox / "in").symlink_to(inbox.parent / "outside" / "in")
            (inbox / "in").unlink()
            (inbox / "away").rename(inbox / "in")

    attacker = threading.Thread(target=swap)
    attacker.start()
    contents, failures = set(), set()
    try:
        for _ in range(3_000):
            try:
                contents.add(read(root, "in/a/talk.wav"))
            except OSError as error:
                failures.add(error.errno)
    finally:
        is_stopped.set()
        attacker.join()

    assert contents <= {b"inside"}
    assert failures <= {errno.ENOENT, errno.ELOOP}
    assert failures  # the attacker was there


def test_a_failed_open_leaves_the_root_open(root: int):
    assert failure(root, "nothing/here") == errno.ENOENT
    assert read(root, "in/a/talk.wav") == b"inside"
