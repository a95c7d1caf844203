"""systemd units: shipped as they stand, rendered with the paths of a machine, verified, installed, taken back."""

from thoth_watch.infrastructure.systemd.installation import Installation, verify_units
from thoth_watch.infrastructure.systemd.unit_rendering import UnitOptions, render

__all__ = ["Installation", "UnitOptions", "render", "verify_units"]
