"""Whether a certificate leads to a trusted authority: DER and a time come in, OpenSSL's verdict goes out.

OpenSSL is heavy: this module is imported by the functions that use it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from cryptography.x509 import load_der_x509_crl
from OpenSSL import crypto

from hsl.library.cryptoerrors import UNREADABLE
from hsl.values import Array, Value

LATEST: Final = datetime(9999, 1, 1, tzinfo=UTC)
NO_CERTIFICATE: Final = "a certificate cannot be read"
NO_LIST: Final = "a revocation list cannot be read"
WITHOUT_LIST: Final = 3  # X509_V_ERR_UNABLE_TO_GET_CRL


class Verdict(NamedTuple):
    """`code` is OpenSSL's (X509_V_ERR_…), 0 where OpenSSL was not asked. `chain`: the certificate first."""

    trusted: bool
    code: int = 0
    error: str = ""
    chain: tuple[crypto.X509, ...] = ()

    def as_array(self) -> Array:
        """As scripts see it."""
        entries: dict[Value, Value] = {b"result": self.trusted}
        if not self.trusted:
            entries |= {b"error": self.error.encode(), b"code": float(self.code)}
        return Array.record(entries)


def verify_chain(
    certificate: bytes,
    authorities: Iterable[bytes],
    intermediates: Iterable[bytes],
    crls: Sequence[bytes],
    time: float,
) -> Verdict:
    """The verdict on a certificate at a time (RFC 5280 section 6), with revocation lists if there are some.

    The certificate's issuer must have a list then; the issuers of those above need none, but theirs count too.
    """
    try:
        leaf, links = load(certificate), [load(item) for item in intermediates]
        store = open_store(authorities, time)
    except crypto.Error:
        return Verdict(False, error=NO_CERTIFICATE)
    verdict = judge(store, leaf, links)
    if not verdict.trusted or not crls:
        return verdict
    try:
        add_lists(store, crls)
    except (crypto.Error, *UNREADABLE):
        return Verdict(False, error=NO_LIST)
    listed = judge(store, leaf, links)
    above = [judge(store, item, links) for item in verdict.chain[1:-1]]
    failures = [item for item in above if not item.trusted and item.code != WITHOUT_LIST]
    return listed if not listed.trusted else (failures or [verdict])[0]


def load(der: bytes) -> crypto.X509:
    """Raises crypto.Error."""
    return crypto.load_certificate(crypto.FILETYPE_ASN1, der)


def open_store(authorities: Iterable[bytes], time: float) -> crypto.X509Store:
    """Raises crypto.Error."""
    store = crypto.X509Store()
    try:
        store.set_time(datetime.fromtimestamp(time, UTC))
    except (ValueError, OverflowError, OSError):
        store.set_time(LATEST)
    for der in authorities:
        store.add_cert(load(der))
    return store


def add_lists(store: crypto.X509Store, crls: Iterable[bytes]) -> None:
    """From now on the store wants a list of a certificate's issuer. Raises what wrong ones raise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of oddities in what others made
        for der in crls:
            store.add_crl(load_der_x509_crl(der))
    store.set_flags(crypto.X509StoreFlags.CRL_CHECK)


def judge(store: crypto.X509Store, certificate: crypto.X509, links: Sequence[crypto.X509]) -> Verdict:
    try:
        chain = crypto.X509StoreContext(store, certificate, links).get_verified_chain()
    except crypto.X509StoreContextError as error:
        code, _, text = error.errors
        return Verdict(False, code, text)
    except crypto.Error:
        return Verdict(False, error=NO_CERTIFICATE)
    return Verdict(True, chain=tuple(chain))
