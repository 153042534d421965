"""
Whether SQLite's locks and write-ahead log can be trusted where a database lies.

WAL needs shared memory between processes and `flock` that means what it says; network file
systems give neither. The type is read from the kernel's mount table; where there is none (macOS),
nothing is refused.
"""

from __future__ import annotations

from pathlib import Path

from aiq.errors import StoreError

NETWORK_TYPES = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "gpfs"}
    | {
        "beegfs",
        "davfs",
        "fuse.sshfs",
        "fuse.s3fs",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.rclone",
    }
)


def refuse_network_file_system(path: Path, *, mounts: Path = Path("/proc/self/mounts")) -> None:
    """Raise `StoreError` if the database would lie on a network file system."""
    kind = _file_system_type(path.absolute().parent, mounts)
    if kind in NETWORK_TYPES:
        raise StoreError(
            f"{path} lies on a network file system ({kind}), where SQLite can lose data",
            hint="put the database on a local disk with `--db`, and copy it when the run is over",
        )


def _file_system_type(directory: Path, mounts: Path) -> str | None:
    try:
        table = mounts.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    real = f"{directory.resolve()}/"
    longest, kind = -1, None  # of the mount points above it; the last of equal ones covers the rest
    for row in table.split("\n"):
        fields = row.split(" ")
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ").rstrip("/")
        if real.startswith(f"{point}/") and len(point) >= longest:
            longest, kind = len(point), fields[2]
    return kind
