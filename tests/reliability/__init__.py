"""Tests that nothing is lost: crashes, power cuts, full disks, hostile files and hostile programs."""
