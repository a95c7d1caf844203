"""Find a checkpoint and load it onto a device."""
