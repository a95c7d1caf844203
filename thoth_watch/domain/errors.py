"""Every error that may cross a port, each with the exit code of the program that it ends."""

from __future__ import annotations

EXIT_OK = 0  # done, or nothing to do
EXIT_SOME_FAILED = 1  # some file failed or waits for a person
EXIT_USAGE = 2  # wrong command line
EXIT_UNAVAILABLE = 69  # engine, model or device unavailable (EX_UNAVAILABLE)
EXIT_RETRY_LATER = 75  # lock held, disk full, folder away (EX_TEMPFAIL)
EXIT_CONFIG = 78  # configuration (EX_CONFIG)


class ThothError(Exception):
    """thoth-watch could not go on."""

    exit_code = EXIT_SOME_FAILED

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class ConfigError(ThothError):
    """The configuration is wrong; nothing was started."""

    exit_code = EXIT_CONFIG


class EngineUnavailable(ThothError):
    """The engine, its model or its device cannot be had."""

    exit_code = EXIT_UNAVAILABLE


class LedgerBroken(ThothError):
    """The ledger is not ours, or it is damaged."""

    exit_code = EXIT_CONFIG


class RetryLater(ThothError):
    """Something is in the way now and may not be later: a lock, a full disk, a folder away."""

    exit_code = EXIT_RETRY_LATER


class TranscribedElsewhere(RetryLater):
    """The same recording is being transcribed by another worker."""


class AudioError(ThothError):
    """A recording could not be read; says nothing about the other files of its batch."""


class NotAudio(AudioError):
    """The content is not a recording that can be decoded: the file's own fault."""


class FileChanged(AudioError):
    """The file changed while it was read, or looks unfinished: look again later."""


class AudioTruncated(AudioError):
    """Less sound than the file declares, and it may still be growing."""


class DecoderCrashed(AudioError):
    """Decoding the file killed or hung the decode worker."""


class FileUnreadable(AudioError):
    """The system refused to open the file (permissions, I/O error): the surroundings' fault, not the file's."""


class DiarizationFailed(AudioError):
    """Who speaks in the recording could not be told."""


class FileGone(AudioError):
    """The file is no longer there."""


class NameTaken(ThothError):
    """A file that is not ours has the transcript's name."""
