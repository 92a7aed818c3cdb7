"""Data loss prevention: rules come in, parts and what archives hold are looked at, the rules that matched go out.

A rule has patterns by type: regular expressions on `filename`, `mimetype` and `content`, hex digests for the hashes.
ZIP archives (Office documents are such too) are opened, member by member, within limits.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO

from hsl.errors import ScriptError
from hsl.regex import Pattern, compile_pattern

TEXTS = ("filename", "mimetype", "content")
HASHES = {"md5hash": "md5", "sha1hash": "sha1", "sha256hash": "sha256"}
TYPES = (*TEXTS, *HASHES)
UNKNOWN, PROTECTED, TOO_DEEP = b"ERR_UNKNOWN_ERROR", b"ERR_PASSWORD_PROTECTED", b"ERR_RECURSION_LIMIT"
MAX_RULES = 1_000
MAX_PATTERNS = 1_000  # of one rule
MAX_MEMBERS = 10_000  # of archives in one message
MAX_MEMBER = 16 * 1024 * 1024  # bytes of one member
MAX_UNPACKED = 64 * 1024 * 1024  # bytes of all members
BLOCK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Rule:
    """Patterns of one name: any of them makes it match."""

    texts: Mapping[str, Sequence[Pattern]]
    hashes: Mapping[str, frozenset[str]]


def read_rule(name: str, patterns: Mapping[str, Sequence[bytes]]) -> Rule:
    """Raises ScriptError for an unknown type, a wrong digest, an invalid expression, or too many patterns."""
    if sum(map(len, patterns.values())) > MAX_PATTERNS:
        raise ScriptError(f"rule {name}: more than {MAX_PATTERNS} patterns")
    for kind in patterns:
        if kind not in TYPES:
            raise ScriptError(f"rule {name}: there is no type {kind!r}; there are {', '.join(TYPES)}")
    hashes = {HASHES[kind]: digests(name, kind, patterns[kind]) for kind in HASHES if kind in patterns}
    return Rule(
        {kind: [compile_pattern(item) for item in patterns[kind]] for kind in TEXTS if kind in patterns}, hashes
    )


def digests(name: str, kind: str, given: Sequence[bytes]) -> frozenset[str]:
    size = hashlib.new(HASHES[kind]).digest_size * 2
    found = frozenset(item.decode("latin-1").lower() for item in given)
    if not all(len(item) == size and set(item) <= set("0123456789abcdef") for item in found):
        raise ScriptError(f"rule {name}: {kind}: wanted {size} hexadecimal digits")
    return found


@dataclass(slots=True)
class Item:
    """Something to look at: a part of a message, or a member of an archive in it."""

    partid: bytes
    depth: int
    filename: bytes = b""
    mimetype: bytes = b""
    content: bytes = b""


@dataclass
class Scan:
    """One scan. `pause` is called between items and blocks; it may raise. `found` has the rules with their parts."""

    rules: Mapping[bytes, Rule]
    pause: Callable[[], None]
    stop_on_match: bool = False
    recursion_limit: int = 9
    found: dict[bytes, list[bytes]] = field(default_factory=dict)
    members: int = 0
    unpacked: int = 0

    def look(self, item: Item) -> None:
        """Look at an item, and into it if it is an archive."""
        if self.done:
            return
        self.pause()
        for name, rule in self.rules.items():
            if self.matches(rule, item):
                self.note(name, item)
        if item.content.startswith(b"PK\x03\x04") and not self.done:
            self.open_zip(item)

    @property
    def done(self) -> bool:
        return self.stop_on_match and any(name in self.rules for name in self.found)

    def note(self, name: bytes, item: Item) -> None:
        parts = self.found.setdefault(name, [])
        if item.partid not in parts:
            parts.append(item.partid)

    def matches(self, rule: Rule, item: Item) -> bool:
        subjects = {"filename": item.filename, "mimetype": item.mimetype, "content": item.content}
        for kind, patterns in rule.texts.items():
            if subjects[kind] and any(pattern.matches(subjects[kind]) for pattern in patterns):
                return True
        return bool(item.content) and any(
            hashlib.new(name, item.content).hexdigest() in wanted for name, wanted in rule.hashes.items()
        )

    def open_zip(self, item: Item) -> None:
        """Look at each member: at its name even where its content cannot be read."""
        if item.depth >= self.recursion_limit:
            self.note(TOO_DEEP, item)
            return
        try:
            with zipfile.ZipFile(BytesIO(item.content)) as archive:
                for member in archive.infolist():
                    self.members += 1
                    if self.members > MAX_MEMBERS or self.done:
                        break
                    self.look(Item(item.partid, item.depth + 1, member.filename.encode("utf-8", "replace"), b"",
                                   self.read(archive, member, item)))  # fmt: skip
        except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, NotImplementedError):
            self.note(UNKNOWN, item)
        if self.members > MAX_MEMBERS:
            self.note(UNKNOWN, item)

    def read(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo, item: Item) -> bytes:
        """A member's content; empty for one that is locked, broken or over the limits, which is noted."""
        if member.flag_bits & 0x1:
            self.note(PROTECTED, item)
            return b""
        data = bytearray()
        try:
            with archive.open(member) as stream:
                while block := stream.read(BLOCK):
                    data += block
                    self.unpacked += len(block)
                    if len(data) > MAX_MEMBER or self.unpacked > MAX_UNPACKED:
                        self.note(UNKNOWN, item)
                        return b""
                    self.pause()
        except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, NotImplementedError, RuntimeError):
            self.note(UNKNOWN, item)
            return b""
        return bytes(data)
