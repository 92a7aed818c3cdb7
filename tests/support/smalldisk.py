"""A disk that is small and can be filled: a tmpfs of its own. Mounting one needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MIB = 1024 * 1024
BALLAST = "ballast"


class SmallDisk:
    """A mounted tmpfs. `fill` leaves so many bytes free, `empty` takes that back."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def free(self) -> int:
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    def fill(self, leave: int = 0) -> None:
        """By a file of whole blocks; with nothing left not even the last block is."""
        with (self.path / BALLAST).open("ab") as file:
            os.posix_fallocate(file.fileno(), file.tell(), self.free - leave)
        assert self.free <= leave

    def empty(self) -> None:
        (self.path / BALLAST).unlink()


@contextmanager
def small_disk(path: Path, size: int) -> Iterator[SmallDisk]:
    """A tmpfs of `size` bytes at `path`, gone at the end. Fails the test, and says why, when it cannot be mounted."""
    if os.geteuid() != 0:
        pytest.fail(
            "this test mounts a tmpfs to fill it: run it as root (or in a container where you are)", pytrace=False
        )
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        pytest.fail(f"cannot mount a tmpfs (CAP_SYS_ADMIN is needed): {done.stderr}", pytrace=False)
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], timeout=30, check=True)
