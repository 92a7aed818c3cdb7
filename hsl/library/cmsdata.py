"""CMS (RFC 5652): what signed and encrypted messages have in common. BER comes in, checked structures go out.

asn1crypto is heavy: this module and those that import it are imported by the functions that use them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from asn1crypto import cms
from asn1crypto.core import Void
from asn1crypto.x509 import Certificate as ParsedCertificate
from cryptography.x509 import Certificate, load_der_x509_certificate

from hsl.library.cryptoerrors import UNREADABLE
from hsl.library.pem import blocks, is_pem

LABELS: Final = ("CMS", "PKCS7", "PKCS #7 SIGNED DATA")
MAX_ELEMENTS: Final = 200_000  # of BER in one message
MAX_DEPTH: Final = 64
MAX_LENGTH: Final = 4  # octets of a length
MAX_CERTIFICATES: Final = 200  # in one message
TYPES: Final = {  # OpenSSL's short names
    "data": "pkcs7-data",
    "signed_data": "pkcs7-signedData",
    "enveloped_data": "pkcs7-envelopedData",
    "signed_and_enveloped_data": "pkcs7-signedAndEnvelopedData",
    "digested_data": "pkcs7-digestData",
    "encrypted_data": "pkcs7-encryptedData",
    "authenticated_data": "id-smime-ct-authData",
    "compressed_data": "id-smime-ct-compressedData",
    "authenticated_enveloped_data": "id-smime-ct-authEnvelopedData",
}

BAD_CERTIFICATE: Final = "a certificate cannot be read"
CUT_OFF: Final = "it is cut off, or no CMS message"


class CMSError(Exception):
    """Why a message is not signed, verified, encrypted or decrypted, as scripts are told."""


@contextmanager
def reading() -> Iterator[None]:
    """asn1crypto reads when it is asked, and raises errors of many kinds: all mean that the message is malformed."""
    try:
        yield
    except CMSError:
        raise
    except Exception:
        raise CMSError("it is no well-formed CMS message") from None


def read_content(data: bytes) -> Any:
    """The ContentInfo of a message in BER or PEM. Raises CMSError."""
    if is_pem(data):
        data = next((der for label, der in blocks(data) if label in LABELS), b"")
    check_ber(data)
    with reading():
        content = cms.ContentInfo.load(data)
        if content["content_type"].native not in TYPES:
            raise CMSError("it is no CMS message of a known type")
        return content


def content_type(data: bytes) -> str | None:
    """The type of a message in CMS; none for what is none."""
    if not is_pem(data) and not data.startswith(b"\x30"):
        return None
    try:
        name: str = read_content(data)["content_type"].native
    except CMSError:
        return None
    return name


def check_ber(data: bytes) -> None:
    """Raises CMSError for what does not begin with a whole BER value, and for one that keeps a parser busy."""
    place = 0
    count = 0
    ends = [(len(data), False)]  # of the values that are open; True: it is where two zeros are
    while not place or len(ends) > 1:
        end, marked = ends[-1]
        if marked and data.startswith(b"\0\0", place):
            place += 2
            ends.pop()
        elif place == end and not marked and place:
            ends.pop()
        else:
            constructed, place, length = read_header(data, place, end)
            count += 1
            if length is None:
                ends.append((end, True))
            elif constructed:
                ends.append((place + length, False))
            else:
                place += length
            if count > MAX_ELEMENTS or len(ends) > MAX_DEPTH:
                raise CMSError(f"it has more than {MAX_ELEMENTS} values, or more than {MAX_DEPTH} within each other")


def read_header(data: bytes, place: int, end: int) -> tuple[bool, int, int | None]:
    """Whether a BER value is constructed, where its content begins, and how long that is; None: up to its mark."""
    if place + 2 > end:
        raise CMSError(CUT_OFF)
    constructed, length = bool(data[place] & 0x20), data[place + 1]
    if data[place] & 0x1F == 0x1F:  # a tag over 30: CMS has none
        raise CMSError(CUT_OFF)
    place += 2
    if length == 0x80 and constructed:
        return True, place, None
    if length & 0x80:
        octets = length & 0x7F
        if not 1 <= octets <= MAX_LENGTH:
            raise CMSError(CUT_OFF)
        length = int.from_bytes(data[place : place + octets], "big")
        place += octets
    if place + length > end:
        raise CMSError(CUT_OFF)
    return constructed, place, length


# ------------------------------------------------------------ certificates


def certificates_of(found: Any) -> list[Any]:
    """asn1crypto's certificates of a CertificateSet, which may be absent. Others than X.509 are left out."""
    if isinstance(found, Void):
        return []
    if len(found) > MAX_CERTIFICATES:
        raise CMSError(f"it has more than {MAX_CERTIFICATES} certificates")
    return [item.chosen for item in found if item.name == "certificate"]


def computed(der: bytes) -> Certificate:
    """cryptography's certificate. Raises CMSError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of oddities in what others made
            return load_der_x509_certificate(der)
    except UNREADABLE:
        raise CMSError(BAD_CERTIFICATE) from None


def public_key(der: bytes) -> Any:
    """The public key of a certificate. Raises CMSError."""
    certificate = computed(der)
    try:
        return certificate.public_key()
    except UNREADABLE:
        raise CMSError(BAD_CERTIFICATE) from None


def load_certificates(ders: Iterable[bytes]) -> list[Any]:
    """asn1crypto's certificates. Raises CMSError."""
    with reading():
        return [ParsedCertificate.load(der) for der in ders]


def is_meant(identifier: Any, certificate: Any) -> bool:
    """Whether a SignerIdentifier or RecipientIdentifier is that of a certificate (RFC 5652 section 5.3, 6.2.1).

    Names are compared byte by byte: everybody copies them, and a comparison by their meaning takes long for long ones.
    """
    chosen = identifier.chosen
    if identifier.name == "issuer_and_serial_number":
        same = certificate.serial_number == chosen["serial_number"].native
        return bool(same and certificate.issuer.dump() == chosen["issuer"].dump())
    return bool(identifier.name == "subject_key_identifier" and certificate.key_identifier == chosen.native)


def single(attributes: Any, name: str) -> Any:
    """The value of an attribute that must be there once, with one value."""
    found = [item["values"] for item in attributes if item["type"].native == name]
    if len(found) != 1 or len(found[0]) != 1:
        raise CMSError("its attributes are not as they must be")
    return found[0][0]
