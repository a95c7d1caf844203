"""Twenty-five ways to create a recording in a folder."""

from __future__ import annotations

import mmap
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SETTLE_S = 1.5
STALL_S = 2 * SETTLE_S  # while the file is open: it must not count as complete
PAUSE_S = 0.05  # while the file is closed: too short for the file to settle


@dataclass(frozen=True)
class Arrival:
    """The target folder and the content of one recording, and a folder outside of the inbox."""

    folder: Path
    content: bytes
    outside: Path

    @property
    def path(self) -> Path:
        return self.folder / "a.wav"

    def create_outside(self, name: str = "a.wav") -> Path:
        path = self.outside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.content)
        return path

    def split_content(self, n: int = 8) -> list[bytes]:
        size = -(-len(self.content) // n)
        return [self.content[at : at + size] for at in range(0, len(self.content), size)]


def copy_file(arrival: Arrival) -> Path:
    arrival.path.write_bytes(arrival.content)
    return arrival.path


def copy_in_kernel(arrival: Arrival) -> Path:
    return Path(shutil.copyfile(arrival.create_outside(), arrival.path))


def write_with_pause(arrival: Arrival) -> Path:
    with arrival.path.open("wb", buffering=0) as file:
        for part in arrival.split_content(2):
            file.write(part)
            time.sleep(STALL_S)
    return arrival.path


def write_backwards_into_preallocated_file(arrival: Arrival) -> Path:
    file = os.open(arrival.path, os.O_CREAT | os.O_RDWR)
    os.posix_fallocate(file, 0, len(arrival.content))
    half = len(arrival.content) // 2
    for at, end in ((half, len(arrival.content)), (0, half)):
        os.pwrite(file, arrival.content[at:end], at)
        time.sleep(STALL_S)
    os.close(file)
    return arrival.path


def write_through_mmap(arrival: Arrival) -> Path:
    file = os.open(arrival.path, os.O_CREAT | os.O_RDWR)
    os.ftruncate(file, len(arrival.content))
    with mmap.mmap(file, len(arrival.content)) as memory:
        half = len(arrival.content) // 2
        memory[:half] = arrival.content[:half]
        time.sleep(STALL_S)
        memory[half:] = arrival.content[half:]
    os.close(file)
    return arrival.path


def append_and_close_each_part(arrival: Arrival) -> Path:
    for part in arrival.split_content():
        with arrival.path.open("ab") as file:
            file.write(part)
        time.sleep(PAUSE_S)
    return arrival.path


def rewrite_from_start(arrival: Arrival) -> Path:
    for end in (100, len(arrival.content) // 2, len(arrival.content)):
        arrival.path.write_bytes(arrival.content[:end])
        time.sleep(PAUSE_S)
    return arrival.path


def rename_from_hidden_name(arrival: Arrival) -> Path:
    hidden = arrival.folder / ".a.wav.Xy12zQ"
    hidden.write_bytes(arrival.content)
    return hidden.rename(arrival.path)


def rename_from_partial_download(arrival: Arrival) -> Path:
    partial = arrival.folder / "a.wav.part"
    partial.write_bytes(arrival.content)
    time.sleep(STALL_S)
    return partial.rename(arrival.path)


def replace_empty_file(arrival: Arrival) -> Path:
    arrival.path.touch()
    time.sleep(STALL_S)
    return rename_from_partial_download(arrival)


def write_into_empty_file(arrival: Arrival) -> Path:
    arrival.path.touch()
    time.sleep(STALL_S)
    return copy_file(arrival)


def move_in(arrival: Arrival) -> Path:
    return arrival.create_outside().rename(arrival.path)


def move_in_with_old_mtime(arrival: Arrival) -> Path:
    original = arrival.create_outside()
    os.utime(original, (1e9, 1e9))
    return original.rename(arrival.path)


def hard_link(arrival: Arrival) -> Path:
    arrival.path.hardlink_to(arrival.create_outside())
    return arrival.path


def link_from_unnamed_file(arrival: Arrival) -> Path:
    file = os.open(arrival.folder, os.O_WRONLY | os.O_TMPFILE)
    os.write(file, arrival.content)
    folder = os.open(arrival.folder, os.O_RDONLY)
    os.link(f"/proc/self/fd/{file}", arrival.path.name, dst_dir_fd=folder, follow_symlinks=True)
    os.close(folder)
    os.close(file)
    return arrival.path


def move_in_folder_tree(arrival: Arrival) -> Path:
    arrival.create_outside("deep/er/a.wav")
    (arrival.outside / "deep").rename(arrival.folder / "deep")
    return arrival.folder / "deep/er/a.wav"


def create_with_parent_folders(arrival: Arrival) -> Path:
    path = arrival.folder / "one/two/three/a.wav"
    path.parent.mkdir(parents=True)
    path.write_bytes(arrival.content)
    return path


def rename_twice(arrival: Arrival) -> Path:
    first = arrival.folder / "first.wav"
    first.write_bytes(arrival.content)
    time.sleep(PAUSE_S)
    second = first.rename(arrival.folder / "second.mp3")
    time.sleep(PAUSE_S)
    return second.rename(arrival.path)


def rename_to_upper_case(arrival: Arrival) -> Path:
    arrival.path.write_bytes(arrival.content)
    time.sleep(PAUSE_S)
    return arrival.path.rename(arrival.folder / "A.WAV")


def move_to_other_folder(arrival: Arrival) -> Path:
    arrival.path.write_bytes(arrival.content)
    other = arrival.folder / "other"
    other.mkdir()
    time.sleep(PAUSE_S)
    return arrival.path.rename(other / "a.wav")


def rename_parent_folder(arrival: Arrival) -> Path:
    folder = arrival.folder / "before"
    folder.mkdir()
    (folder / "a.wav").write_bytes(arrival.content)
    time.sleep(PAUSE_S)
    return folder.rename(arrival.folder / "after") / "a.wav"


def delete_and_recreate(arrival: Arrival) -> Path:
    arrival.path.write_bytes(arrival.content[: len(arrival.content) // 2])
    time.sleep(PAUSE_S)
    arrival.path.unlink()
    return copy_file(arrival)


def replace_shorter_file(arrival: Arrival) -> Path:
    arrival.path.write_bytes(arrival.content[: len(arrival.content) // 2])
    time.sleep(PAUSE_S)
    return arrival.create_outside().rename(arrival.path)


def touch_while_settling(arrival: Arrival) -> Path:
    arrival.path.write_bytes(arrival.content)
    for second in range(5):
        os.utime(arrival.path, (1e9 + second, 1e9 + second))
        arrival.path.chmod(0o440)
        time.sleep(PAUSE_S)
    return arrival.path


def replace_symlink(arrival: Arrival) -> Path:
    arrival.path.symlink_to(arrival.create_outside())
    time.sleep(STALL_S)
    return arrival.create_outside("b.wav").rename(arrival.path)


ARRIVAL_METHODS: tuple[Callable[[Arrival], Path], ...] = (
    copy_file,
    copy_in_kernel,
    write_with_pause,
    write_backwards_into_preallocated_file,
    write_through_mmap,
    append_and_close_each_part,
    rewrite_from_start,
    rename_from_hidden_name,
    rename_from_partial_download,
    replace_empty_file,
    write_into_empty_file,
    move_in,
    move_in_with_old_mtime,
    hard_link,
    link_from_unnamed_file,
    move_in_folder_tree,
    create_with_parent_folders,
    rename_twice,
    rename_to_upper_case,
    move_to_other_folder,
    rename_parent_folder,
    delete_and_recreate,
    replace_shorter_file,
    touch_while_settling,
    replace_symlink,
)
