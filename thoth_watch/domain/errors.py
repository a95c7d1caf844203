"""All errors that may cross a port, each with the exit code of the program. A docstring is the default message."""

from __future__ import annotations

EXIT_OK = 0  # success, or nothing to do
EXIT_SOME_FAILED = 1  # at least one file failed or needs attention
EXIT_USAGE = 2  # usage error: invalid command line
EXIT_UNAVAILABLE = 69  # engine, model or device unavailable (EX_UNAVAILABLE)
EXIT_RETRY_LATER = 75  # temporary failure: lock held, disk full or folder unavailable (EX_TEMPFAIL)
EXIT_CONFIG = 78  # invalid configuration, or unusable ledger (EX_CONFIG)


class ThothError(Exception):
    """thoth-watch could not continue."""

    exit_code = EXIT_SOME_FAILED

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class ConfigError(ThothError):
    """The configuration is invalid; nothing was started."""

    exit_code = EXIT_CONFIG


class EngineUnavailable(ThothError):
    """The engine, its model or its device is unavailable."""

    exit_code = EXIT_UNAVAILABLE


class LedgerBroken(ThothError):
    """The database is damaged, or it is not a ledger of thoth-watch."""

    exit_code = EXIT_CONFIG


class RetryLater(ThothError):
    """A temporary condition prevents the work: a lock, a full disk, or an unavailable folder."""

    exit_code = EXIT_RETRY_LATER


class TranscribedElsewhere(RetryLater):
    """The same recording is being transcribed by another worker."""


class AudioError(ThothError):
    """The recording could not be read; other files of its batch are not affected."""


class NotAudio(AudioError):
    """The content is not audio that can be decoded; the cause is in the file."""


class FileChanged(AudioError):
    """The file changed while it was read, or appears to be incomplete; it is checked again later."""


class AudioTruncated(AudioError):
    """The file contains less audio than it declares, and may still be growing."""


class DecoderCrashed(AudioError):
    """Decoding the file crashed or hung the decode worker."""


class FileUnreadable(AudioError):
    """The system refused to open the file (permissions, I/O error); the cause is the environment, not the file."""


class DiarizationFailed(AudioError):
    """Speaker diarization of the recording failed."""


class FileGone(AudioError):
    """The file no longer exists."""


class NameTaken(ThothError):
    """A file that thoth-watch did not write has the transcript's name."""
