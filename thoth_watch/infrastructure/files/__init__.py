"""Path handling below the adapters: files below a root, signatures, and files that a person named."""

from thoth_watch.infrastructure.files.beneath import (
    FOLDER_FLAGS,
    PATH_FLAGS,
    READ_FLAGS,
    ROOT_FLAGS,
    open_below,
    open_folder_below,
)
from thoth_watch.infrastructure.files.signatures import audio_file, signature_of

__all__ = [
    "FOLDER_FLAGS",
    "PATH_FLAGS",
    "READ_FLAGS",
    "ROOT_FLAGS",
    "audio_file",
    "open_below",
    "open_folder_below",
    "signature_of",
]
