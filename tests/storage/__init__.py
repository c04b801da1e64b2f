"""The pool on real file systems: needs root, loop devices, btrfs-progs and xfsprogs."""
