"""Nothing is lost: crashes, power cuts, full disks, hostile files and hostile neighbours."""
