"""Twenty-five ways in which a recording comes into a folder."""

from __future__ import annotations

import mmap
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SETTLE_S = 1.5
STALL_S = 2 * SETTLE_S  # with the file open: nobody may take it for finished
PAUSE_S = 0.05  # with the file closed: too short to be taken for finished


@dataclass(frozen=True)
class Arrival:
    """Where one recording is to come, what it is, and a place outside of the inbox."""

    folder: Path
    content: bytes
    outside: Path

    @property
    def path(self) -> Path:
        return self.folder / "a.wav"

    def made_outside(self, name: str = "a.wav") -> Path:
        path = self.outside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.content)
        return path

    def parts(self, n: int = 8) -> list[bytes]:
        size = -(-len(self.content) // n)
        return [self.content[at : at + size] for at in range(0, len(self.content), size)]


def copied(to: Arrival) -> Path:
    to.path.write_bytes(to.content)
    return to.path


def copied_by_the_kernel(to: Arrival) -> Path:
    return Path(shutil.copyfile(to.made_outside(), to.path))


def written_slowly_with_a_stall(to: Arrival) -> Path:
    with to.path.open("wb", buffering=0) as file:
        for part in to.parts(2):
            file.write(part)
            time.sleep(STALL_S)
    return to.path


def written_backwards_into_reserved_room(to: Arrival) -> Path:
    file = os.open(to.path, os.O_CREAT | os.O_RDWR)
    os.posix_fallocate(file, 0, len(to.content))
    half = len(to.content) // 2
    for at, end in ((half, len(to.content)), (0, half)):
        os.pwrite(file, to.content[at:end], at)
        time.sleep(STALL_S)
    os.close(file)
    return to.path


def written_through_a_memory_map(to: Arrival) -> Path:
    file = os.open(to.path, os.O_CREAT | os.O_RDWR)
    os.ftruncate(file, len(to.content))
    with mmap.mmap(file, len(to.content)) as memory:
        half = len(to.content) // 2
        memory[:half] = to.content[:half]
        time.sleep(STALL_S)
        memory[half:] = to.content[half:]
    os.close(file)
    return to.path


def closed_after_each_part(to: Arrival) -> Path:
    for part in to.parts():
        with to.path.open("ab") as file:
            file.write(part)
        time.sleep(PAUSE_S)
    return to.path


def written_again_from_the_beginning(to: Arrival) -> Path:
    for end in (100, len(to.content) // 2, len(to.content)):
        to.path.write_bytes(to.content[:end])
        time.sleep(PAUSE_S)
    return to.path


def renamed_from_a_hidden_name(to: Arrival) -> Path:
    hidden = to.folder / ".a.wav.Xy12zQ"
    hidden.write_bytes(to.content)
    return hidden.rename(to.path)


def renamed_from_a_download(to: Arrival) -> Path:
    partial = to.folder / "a.wav.part"
    partial.write_bytes(to.content)
    time.sleep(STALL_S)
    return partial.rename(to.path)


def put_in_the_place_of_an_empty_file(to: Arrival) -> Path:
    to.path.touch()
    time.sleep(STALL_S)
    return renamed_from_a_download(to)


def written_into_an_empty_file(to: Arrival) -> Path:
    to.path.touch()
    time.sleep(STALL_S)
    return copied(to)


def moved_in(to: Arrival) -> Path:
    return to.made_outside().rename(to.path)


def moved_in_with_old_times(to: Arrival) -> Path:
    made = to.made_outside()
    os.utime(made, (1e9, 1e9))
    return made.rename(to.path)


def linked_in(to: Arrival) -> Path:
    to.path.hardlink_to(to.made_outside())
    return to.path


def linked_from_an_unnamed_file(to: Arrival) -> Path:
    file = os.open(to.folder, os.O_WRONLY | os.O_TMPFILE)
    os.write(file, to.content)
    folder = os.open(to.folder, os.O_RDONLY)
    os.link(f"/proc/self/fd/{file}", to.path.name, dst_dir_fd=folder, follow_symlinks=True)
    os.close(folder)
    os.close(file)
    return to.path


def moved_in_with_its_folders(to: Arrival) -> Path:
    to.made_outside("deep/er/a.wav")
    (to.outside / "deep").rename(to.folder / "deep")
    return to.folder / "deep/er/a.wav"


def made_together_with_its_folders(to: Arrival) -> Path:
    path = to.folder / "one/two/three/a.wav"
    path.parent.mkdir(parents=True)
    path.write_bytes(to.content)
    return path


def renamed_twice(to: Arrival) -> Path:
    first = to.folder / "first.wav"
    first.write_bytes(to.content)
    time.sleep(PAUSE_S)
    second = first.rename(to.folder / "second.mp3")
    time.sleep(PAUSE_S)
    return second.rename(to.path)


def renamed_in_another_case(to: Arrival) -> Path:
    to.path.write_bytes(to.content)
    time.sleep(PAUSE_S)
    return to.path.rename(to.folder / "A.WAV")


def moved_to_another_folder(to: Arrival) -> Path:
    to.path.write_bytes(to.content)
    other = to.folder / "other"
    other.mkdir()
    time.sleep(PAUSE_S)
    return to.path.rename(other / "a.wav")


def in_a_folder_that_is_renamed(to: Arrival) -> Path:
    folder = to.folder / "before"
    folder.mkdir()
    (folder / "a.wav").write_bytes(to.content)
    time.sleep(PAUSE_S)
    return folder.rename(to.folder / "after") / "a.wav"


def deleted_and_made_again(to: Arrival) -> Path:
    to.path.write_bytes(to.content[: len(to.content) // 2])
    time.sleep(PAUSE_S)
    to.path.unlink()
    return copied(to)


def put_in_the_place_of_a_shorter_one(to: Arrival) -> Path:
    to.path.write_bytes(to.content[: len(to.content) // 2])
    time.sleep(PAUSE_S)
    return to.made_outside().rename(to.path)


def touched_while_it_settles(to: Arrival) -> Path:
    to.path.write_bytes(to.content)
    for second in range(5):
        os.utime(to.path, (1e9 + second, 1e9 + second))
        to.path.chmod(0o440)
        time.sleep(PAUSE_S)
    return to.path


def put_in_the_place_of_a_symlink(to: Arrival) -> Path:
    to.path.symlink_to(to.made_outside())
    time.sleep(STALL_S)
    return to.made_outside("b.wav").rename(to.path)


WAYS: tuple[Callable[[Arrival], Path], ...] = (
    copied,
    copied_by_the_kernel,
    written_slowly_with_a_stall,
    written_backwards_into_reserved_room,
    written_through_a_memory_map,
    closed_after_each_part,
    written_again_from_the_beginning,
    renamed_from_a_hidden_name,
    renamed_from_a_download,
    put_in_the_place_of_an_empty_file,
    written_into_an_empty_file,
    moved_in,
    moved_in_with_old_times,
    linked_in,
    linked_from_an_unnamed_file,
    moved_in_with_its_folders,
    made_together_with_its_folders,
    renamed_twice,
    renamed_in_another_case,
    moved_to_another_folder,
    in_a_folder_that_is_renamed,
    deleted_and_made_again,
    put_in_the_place_of_a_shorter_one,
    touched_while_it_settles,
    put_in_the_place_of_a_symlink,
)
