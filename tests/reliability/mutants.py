"""Deliberate bugs, each inserted into a copy of the program: each must make a test fail.

Sixteen lose or duplicate files, and three more move recordings wrongly.

`python -m tests.reliability.mutants`: the last line counts how many of the sixteen were killed; the exit
code is 0 if all nineteen were.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
COPIED_PATHS = ("thoth_watch", "tests", "pyproject.toml")
TIME_LIMIT_S = 900
INFRASTRUCTURE = "thoth_watch/infrastructure"
ORDER_TEST = "tests/reliability/test_power_cuts.py::test_content_is_durable_before_its_name_and_its_name_before_done"


@dataclass(frozen=True)
class Mutant:
    """One bug and the test that must find it."""

    name: str
    file: str
    changes: tuple[tuple[str, str], ...]  # original text, replacement
    test: str


MUTANTS = (
    Mutant(
        "fsync of the content is skipped",
        f"{INFRASTRUCTURE}/publishing/publish_steps.py",
        (
            (
                "            rest = rest[os.write(file, rest) :]\n    os.fsync(file)",
                "            rest = rest[os.write(file, rest) :]",
            ),
        ),
        ORDER_TEST,
    ),
    Mutant(
        "fsync of the folder is skipped",
        f"{INFRASTRUCTURE}/publishing/publish_steps.py",
        (("        os.fsync(folder)", "        pass"),),
        ORDER_TEST,
    ),
    Mutant(
        "commits of the ledger are not durable",
        f"{INFRASTRUCTURE}/ledger/database/connection.py",
        (
            (
                'PRAGMA journal_mode=WAL")\n                connection.execute("PRAGMA synchronous=FULL',
                'PRAGMA journal_mode=WAL")\n                connection.execute("PRAGMA synchronous=NORMAL',
            ),
        ),
        "tests/infrastructure/ledger/test_connection.py",
    ),
    Mutant(
        "publishing replaces a file that has the name",
        f"{INFRASTRUCTURE}/publishing/publish_steps.py",
        (
            ("    link_unnamed,\n    link_named,", "    link_named,"),
            (
                "os.link(temp, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)",
                "os.rename(temp, name, src_dir_fd=folder, dst_dir_fd=folder)",
            ),
        ),
        "tests/infrastructure/publishing/test_publisher.py",
    ),
    Mutant(
        "recordings are opened by path, following symlinks",
        f"{INFRASTRUCTURE}/files/beneath.py",
        (
            (
                "(flags, 0, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS)",
                "(flags & ~os.O_NOFOLLOW, 0, 0)",
            ),
        ),
        "tests/infrastructure/audio/test_hostile_files.py",
    ),
    Mutant(
        "FFmpeg accepts every format",
        f"{INFRASTRUCTURE}/audio/av_source.py",
        (('    "format_whitelist": "wav', '    "metadata": "wav'),),
        "tests/infrastructure/audio/test_hostile_files.py",
    ),
    Mutant(
        "the name of the format whitelist is misspelled",
        f"{INFRASTRUCTURE}/audio/av_source.py",
        (('    "format_whitelist"', '    "format_whitelits"'),),
        "tests/infrastructure/audio/test_hostile_files.py",
    ),
    Mutant(
        "the inbox is scanned only after events",
        "thoth_watch/application/scan_schedule.py",
        (("monotonic_s() + self._rescan_s", "monotonic_s() + 1e9"),),
        "tests/application/test_serve.py",
    ),
    Mutant(
        "attempts are not counted when a file is claimed",
        f"{INFRASTRUCTURE}/ledger/queue.py",
        (('"attempts": row.attempts + 1,', '"attempts": row.attempts,'),),
        "tests/contracts/test_ledger_contract.py",
    ),
    Mutant(
        "write transactions begin without a write lock",
        f"{INFRASTRUCTURE}/ledger/database/connection.py",
        (('"BEGIN IMMEDIATE" if writes else "BEGIN"', '"BEGIN"'),),
        "tests/infrastructure/ledger/test_connection.py::test_a_writer_waits_for_another_before_it_reads_anything",
    ),
    Mutant(
        "a file is not checked for changes after it was read",
        f"{INFRASTRUCTURE}/audio/worker_decoder.py",
        (("        check_unchanged(descriptor, file)\n", ""),),
        "tests/infrastructure/audio/test_hostile_files.py",
    ),
    Mutant(
        "a file counts as settled when only its size is stable",
        "thoth_watch/domain/settling.py",
        (
            (
                "before.signature != file.signature",
                "before.signature.size_bytes != file.signature.size_bytes",
            ),
        ),
        "tests/domain/test_settling.py",
    ),
    Mutant(
        "files are written before their results are recorded",
        "thoth_watch/application/publish_transcript.py",
        (
            (
                "recorded = self._results.record_results(",
                "self._write(planned, {n: {} for n in planned}, outcomes); recorded = self._results.record_results(",
            ),
        ),
        "tests/application/test_batch_publishing.py",
    ),
    Mutant(
        "a transcript that lost its name to another worker is discarded",
        "thoth_watch/application/publish_transcript.py",
        (
            (
                "one.names.advance()  # another worker reserved the name first",
                "outcomes[n] = None",
            ),
        ),
        "tests/application/test_batch_publishing.py",
    ),
    Mutant(
        "a format that is already written gets another name",
        "thoth_watch/application/output_names.py",
        (("{**self._paths_of(base), **self.written}", "dict(self._paths_of(base))"),),
        "tests/application/test_transcribe_batch.py",
    ),
    Mutant(
        "partial transcripts outlive the complete one",
        f"{INFRASTRUCTURE}/ledger/results.py",
        (("for table in (results, unfinished, hearings):", "for table in (results, hearings):"),),
        "tests/contracts/test_ledger_contract.py",
    ),
)
MOVE_MUTANTS = (
    Mutant(
        "a move replaces a file that has the name",
        f"{INFRASTRUCTURE}/publishing/mover.py",
        (
            (
                "renameat2(old, file.path.name, to.name, RENAME_NOREPLACE, to=new)",
                "renameat2(old, file.path.name, to.name, 0, to=new)",
            ),
        ),
        "tests/infrastructure/publishing/test_mover.py",
    ),
    Mutant(
        "a copy is not compared before the original is deleted",
        f"{INFRASTRUCTURE}/publishing/mover.py",
        (("if digest.hexdigest() != sha256 or not", "if not"),),
        "tests/infrastructure/publishing/test_mover.py",
    ),
    Mutant(
        "the inbox is scanned before an interrupted move is recorded",
        "thoth_watch/application/serve.py",
        (
            (
                "        self._service.move_finished()  # before the scan",
                "        pass  # before the scan",
            ),
        ),
        "tests/application/test_move_finished.py",
    ),
)


def has_failing_test(mutant: Mutant | None, tests: list[str]) -> bool:
    """Return True if a test fails in a copy of the program with that bug (or with none)."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder)
        for name in COPIED_PATHS:
            source = REPOSITORY / name
            copy_function = shutil.copytree if source.is_dir() else shutil.copy
            copy_function(source, copy / name)
        if mutant is not None:
            apply_mutant(copy / mutant.file, mutant)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests],
            cwd=copy,
            timeout=TIME_LIMIT_S,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in (0, 1):
            raise SystemExit(f"the tests cannot run:\n{done.stdout[-3000:]}{done.stderr}")
        return done.returncode == 1


def apply_mutant(path: Path, mutant: Mutant) -> None:
    """Insert the bug. Exits with an error unless the original text occurs exactly once."""
    text = path.read_text()
    for old, new in mutant.changes:
        if text.count(old) != 1:
            raise SystemExit(
                f"{mutant.name}: {path.name} must contain {old!r} exactly once; update the mutant"
            )
        text = text.replace(old, new)
    path.write_text(text)


def count_killed(mutants: tuple[Mutant, ...]) -> int:
    """Test each mutant, print whether it was killed, and return the number of killed ones."""
    n_killed = 0
    for mutant in mutants:
        killed = has_failing_test(mutant, [mutant.test])
        n_killed += killed
        print(f"{'killed  ' if killed else 'SURVIVED'} {mutant.name}", flush=True)
    print(f"{n_killed} of {len(mutants)} killed", flush=True)
    return n_killed


def main() -> None:
    tests = sorted({mutant.test for mutant in (*MOVE_MUTANTS, *MUTANTS)})
    if has_failing_test(None, tests):
        raise SystemExit("the tests fail without a mutant; fix them first")
    survived = len(MOVE_MUTANTS) - count_killed(MOVE_MUTANTS)
    survived += len(MUTANTS) - count_killed(MUTANTS)
    sys.exit(survived > 0)


if __name__ == "__main__":
    main()
