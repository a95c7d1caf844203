"""systemd units: shipped as they stand, rendered with the paths of a machine, verified, installed, taken back."""

from thoth_watch.infrastructure.systemd.installing import Installation, complaints
from thoth_watch.infrastructure.systemd.rendering import Wanted, render

__all__ = ["Installation", "Wanted", "complaints", "render"]
