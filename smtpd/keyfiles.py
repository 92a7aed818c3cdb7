"""Certificates and private keys that only root may read: a configuration comes in, the contents of its files go out.

Where the workers are somebody else, the supervisor reads these files and hands their contents down, at the start and
at each reload. Nothing of them is written anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel

from hsl.smtpd.certificates import CertificateError, read_file
from hsl.smtpd.config import Config

FIELDS = frozenset({"certificate", "privatekey", "ca"})


class KeyFiles:
    """Reads key files: those whose contents were handed down, and the others from disk."""

    def __init__(self) -> None:
        self.contents: Mapping[Path, bytes] = {}

    def hand_down(self, contents: Mapping[str, str]) -> None:
        """Take over what the supervisor has read (`read_keys`)."""
        self.contents = {Path(name): text.encode("latin-1") for name, text in contents.items()}

    def read(self, path: Path) -> bytes:
        """Raises CertificateError."""
        found = self.contents.get(path)
        return read_file(path) if found is None else found


def key_paths(section: BaseModel) -> Iterator[Path]:
    """The key files that a section names, at any depth."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if name in FIELDS and isinstance(value, Path):
            yield value
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, BaseModel):
                yield from key_paths(item)


def read_keys(config: Config) -> dict[str, str]:
    """All key files, as JSON takes them. One that cannot be read is left out: its reader will say so."""
    found: dict[str, str] = {}
    for path in key_paths(config):
        with suppress(CertificateError):
            found[str(path)] = read_file(path).decode("latin-1")
    return found
