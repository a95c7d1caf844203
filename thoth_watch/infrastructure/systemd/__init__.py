"""systemd units: render them with the paths of a machine, verify, install and remove them."""

from thoth_watch.infrastructure.systemd.installation import Installation, verify_units
from thoth_watch.infrastructure.systemd.unit_rendering import UnitOptions, render

__all__ = ["Installation", "UnitOptions", "render", "verify_units"]
