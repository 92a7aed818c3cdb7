"""The standard library of the language: one file for each chapter of the reference, one registry out of them all."""

from __future__ import annotations

from collections.abc import Iterable

from hsl import exceptions
from hsl.builtins import Chapter, Registry
from hsl.library import (
    absent,
    arrays,
    compression,
    containers,
    cryptographic,
    datatypes,
    dateandtime,
    dns,
    encodings,
    ffi,
    files,
    http,
    iconv,
    ldap,
    mailaddresses,
    mailauth,
    mathematical,
    mime,
    misc,
    packing,
    protocols,
    regularexpression,
    sharedmemory,
    sockets,
    strings,
    urls,
)

CHAPTERS: tuple[Chapter, ...] = (
    arrays.chapter,
    cryptographic.chapter,
    datatypes.chapter,
    containers.chapter,
    dateandtime.chapter,
    dns.chapter,
    encodings.chapter,
    compression.chapter,
    urls.chapter,
    iconv.chapter,
    http.chapter,
    urls.parsing,
    ffi.chapter,
    ldap.chapter,
    protocols.chapter,
    files.chapter,
    packing.chapter,
    exceptions.chapter,
    mailaddresses.chapter,
    mailauth.chapter,
    mathematical.chapter,
    mime.chapter,
    misc.chapter,
    strings.chapter,
    regularexpression.chapter,
    sharedmemory.chapter,
    absent.chapter,
    sockets.chapter,
)


def core_registry(extra: Iterable[Chapter] = (), stage: str | None = None) -> Registry:
    """The functions that every script can call, with those of the host's chapters for a stage.

    Raises ValueError when two chapters declare the same name.
    """
    return Registry((*CHAPTERS, *extra), stage)
