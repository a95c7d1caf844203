"""The worker process may die, hang or be killed: one file fails, the next one succeeds."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.infrastructure.audio.audio_writers import tone, write_with_soundfile
from thoth_watch.domain.audio import AudioFile
from thoth_watch.domain.errors import DecoderCrashed, RetryLater
from thoth_watch.infrastructure.audio import DecodeLimits, WorkerDecoder
from thoth_watch.infrastructure.files import audio_file


@pytest.fixture
def recording(tmp_path: Path) -> AudioFile:
    return audio_file(write_with_soundfile(tmp_path / "a.wav", tone(16_000), 16_000))


@pytest.fixture
def stopped_decoder(recording: AudioFile) -> Iterator[WorkerDecoder]:
    """A decoder whose worker has decoded one file and is then stopped with SIGSTOP."""
    with WorkerDecoder() as decoder:
        decoder.decode(recording)
        assert decoder.worker_pid is not None
        os.kill(decoder.worker_pid, signal.SIGSTOP)
        yield decoder


def open_files() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_dead(pid: int) -> None:
    for _ in range(600):
        if not is_alive(pid):
            return
        time.sleep(0.05)
    pytest.fail("the worker is still running")


def test_a_killed_worker_fails_one_file_and_the_next_one_succeeds(
    stopped_decoder: WorkerDecoder, recording: AudioFile
) -> None:
    pid = stopped_decoder.worker_pid
    assert pid is not None
    killer = threading.Timer(0.1, os.kill, (pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(DecoderCrashed, match="SIGKILL"):
        stopped_decoder.decode(recording)
    killer.join()
    assert stopped_decoder.decode(recording).duration_s == 3.0
    assert stopped_decoder.worker_pid != pid


def test_a_hanging_worker_is_killed_at_the_deadline(
    stopped_decoder: WorkerDecoder, recording: AudioFile
) -> None:
    pid = stopped_decoder.worker_pid
    assert pid is not None
    stopped_decoder._limits = DecodeLimits(work_base_s=0.3, work_per_audio_s=0, deadline_factor=1)
    with pytest.raises(DecoderCrashed, match="hung"):
        stopped_decoder.decode(recording)
    assert not is_alive(pid)
    stopped_decoder._limits = DecodeLimits()
    assert stopped_decoder.decode(recording).duration_s == 3.0


def test_no_file_fails_when_an_idle_worker_has_died(recording: AudioFile) -> None:
    with WorkerDecoder() as decoder:
        decoder.decode(recording)
        pid = decoder.worker_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_until_dead(pid)
        assert decoder.decode(recording).duration_s == 3.0


def test_close_from_another_thread_ends_a_decode(
    stopped_decoder: WorkerDecoder, recording: AudioFile
) -> None:
    closer = threading.Timer(0.1, stopped_decoder.close)
    closer.start()
    with pytest.raises(DecoderCrashed):
        stopped_decoder.decode(recording)
    closer.join()
    with pytest.raises(DecoderCrashed, match="closed"):
        stopped_decoder.decode(recording)
    assert stopped_decoder.probe(recording) is None


def test_probing_does_not_wait_for_decoding(
    stopped_decoder: WorkerDecoder, recording: AudioFile
) -> None:
    def decode() -> None:
        with pytest.raises(DecoderCrashed):
            stopped_decoder.decode(recording)

    decoding = threading.Thread(target=decode)
    decoding.start()
    assert stopped_decoder.probe(recording) == 3.0
    assert decoding.is_alive()
    stopped_decoder.close()
    decoding.join()


def test_the_worker_outlives_the_thread_that_first_needed_it(recording: AudioFile) -> None:
    """The kernel sends the parent-death signal when the thread that started a child ends."""
    with WorkerDecoder() as decoder:
        first = threading.Thread(target=decoder.decode, args=(recording,))
        first.start()
        first.join()
        pid = decoder.worker_pid
        decoder.decode(recording)
        assert decoder.worker_pid == pid


def test_ctrl_c_and_sigterm_leave_the_worker_alone(recording: AudioFile) -> None:
    with WorkerDecoder() as decoder:
        decoder.decode(recording)
        pid = decoder.worker_pid
        assert pid is not None
        assert os.getpgid(pid) != os.getpgrp()
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
        decoder.decode(recording)
        assert decoder.worker_pid == pid


def test_the_worker_is_restarted_after_files_per_worker(recording: AudioFile) -> None:
    with WorkerDecoder(limits=DecodeLimits(files_per_worker=2)) as decoder:
        pids = []
        for _ in range(4):
            decoder.decode(recording)
            pids.append(decoder.worker_pid)
    assert pids[0] == pids[1] != pids[2] == pids[3]


@pytest.mark.parametrize(("resident_bytes", "is_kept"), [(2**40, True), (1, False)])
def test_a_worker_that_uses_too_much_memory_is_restarted_sooner(
    recording: AudioFile, resident_bytes: int, is_kept: bool
) -> None:
    limits = DecodeLimits(files_per_check=2, resident_bytes=resident_bytes)
    with WorkerDecoder(limits=limits) as decoder:
        pids = []
        for _ in range(3):
            decoder.decode(recording)
            pids.append(decoder.worker_pid)
    assert pids[0] == pids[1]
    assert (pids[1] == pids[2]) is is_kept


def test_no_process_runs_before_it_is_needed_or_after_close(recording: AudioFile) -> None:
    decoder = WorkerDecoder()
    assert decoder.worker_pid is None
    decoder.decode(recording)
    pid = decoder.worker_pid
    assert pid is not None
    decoder.close()
    decoder.close()
    assert not is_alive(pid)


def test_a_garbage_collected_decoder_ends_its_worker(recording: AudioFile) -> None:
    decoder = WorkerDecoder()
    decoder.decode(recording)
    pid = decoder.worker_pid
    assert pid is not None
    del decoder
    assert not is_alive(pid)


PARENT = """
import os, sys
from pathlib import Path
from thoth_watch.infrastructure.audio import WorkerDecoder
from thoth_watch.infrastructure.files import audio_file
decoder = WorkerDecoder()
decoder.decode(audio_file(Path(sys.argv[1])))
loaded = Path(f"/proc/{decoder.worker_pid}/maps").read_text()
print(decoder.worker_pid, "torch" in loaded, "torch" in sys.modules, flush=True)
os.kill(os.getpid(), 9)
"""


def test_the_worker_loads_no_torch_and_dies_with_its_parent(recording: AudioFile) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PARENT, recording.path],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    pid, *torch_loaded = done.stdout.split()
    assert torch_loaded == ["False", "False"]
    wait_until_dead(int(pid))


def test_a_worker_that_cannot_start_is_not_blamed_on_the_file(
    recording: AudioFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if "lib/python" in entry][:1])
    with WorkerDecoder() as decoder, pytest.raises(RetryLater, match="ModuleNotFoundError"):
        decoder.decode(recording)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with WorkerDecoder() as decoder, pytest.raises(RetryLater, match="No such file"):
        decoder.decode(recording)


def test_no_descriptor_is_left_open(recording: AudioFile, tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_text("not audio")
    bad = audio_file(text)
    before = open_files()
    with WorkerDecoder() as decoder:
        held = [decoder.decode(recording) for _ in range(3)]
        during = open_files()
        for _ in range(3):
            decoder.probe(bad)
            with pytest.raises(Exception, match="not a readable recording"):
                decoder.decode(bad)
        decoder.probe(recording)
        assert len(open_files() - during) == 1  # the channel of the probe worker
        for decoded in held:
            decoded.close()
        del held, decoded
    assert open_files() == before


def test_closing_a_recording_frees_its_disk_space(recording: AudioFile) -> None:
    with WorkerDecoder() as decoder:
        decoded = decoder.decode(recording)
    spool = decoded.close.__self__  # type: ignore[attr-defined]
    held = os.dup(spool.fileno())
    assert os.fstat(held).st_blocks > 0
    decoded.close()
    assert os.fstat(held).st_blocks == 0
    assert not decoded.samples.any()
    os.close(held)


def test_a_full_disk_raises_retry_later(recording: AudioFile) -> None:
    with WorkerDecoder() as decoder:
        decoder.decode(recording)
        assert decoder.worker_pid is not None
        resource.prlimit(decoder.worker_pid, resource.RLIMIT_FSIZE, (1_000, 1_000))
        with pytest.raises(RetryLater, match="TMPDIR"):
            decoder.decode(recording)


def test_an_hour_of_silence_takes_no_memory_in_this_process(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    with soundfile.SoundFile(path, "w", 8_000, 1) as file:
        for _ in range(60):
            file.write(np.zeros(8_000 * 60, np.int16))

    def resident_bytes() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

    before = resident_bytes()
    with WorkerDecoder() as decoder:
        decoded = decoder.decode(audio_file(path))
        assert decoded.duration_s == 3_600
        assert resident_bytes() - before < 100e6
        worker = Path(f"/proc/{decoder.worker_pid}/status").read_text()
        peak_kb = int(worker.split("VmHWM:")[1].split()[0])
        assert peak_kb < 300_000
        decoded.close()


def test_the_worker_cannot_open_files_or_folders(recording: AudioFile, tmp_path: Path) -> None:
    """Run in a separate process, restricted like the worker: the kernel refuses, not our code."""
    code = (
        "import os, socket, sys\n"
        "from thoth_watch.infrastructure.audio.landlock import restrict_process\n"
        "kept = os.open(sys.argv[1], os.O_RDONLY)\n"
        "if not restrict_process(): sys.exit(7)\n"
        "def attempt(action):\n"
        "    try: action()\n"
        "    except PermissionError: return 'refused'\n"
        "    except OSError as error: return repr(error)\n"
        "    return 'done'\n"
        "print(attempt(lambda: os.open(sys.argv[1], os.O_RDONLY)),\n"
        "      attempt(lambda: os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT)),\n"
        "      attempt(lambda: os.listdir('/')), len(os.read(kept, 4)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(recording.path), str(tmp_path / "new")],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 7:
        pytest.skip("this kernel has no Landlock")

    assert done.stdout.split() == ["refused", "refused", "refused", "4"], done.stderr
    assert not (tmp_path / "new").exists()
    with WorkerDecoder() as decoder:
        decoder.decode(recording)
        assert decoder._decode_worker.is_restricted


def test_the_kernel_limits_the_workers_cpu_time_and_open_files(recording: AudioFile) -> None:
    with WorkerDecoder() as decoder:
        decoder.decode(recording)
        assert decoder.worker_pid is not None
        soft, _ = resource.prlimit(decoder.worker_pid, resource.RLIMIT_CPU)
        assert 0 < soft < 2 * DecodeLimits().work_max_s
        open_files, _ = resource.prlimit(decoder.worker_pid, resource.RLIMIT_NOFILE)
        assert open_files <= 64
