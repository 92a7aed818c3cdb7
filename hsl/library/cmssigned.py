"""CMS, signed messages (RFC 5652 section 5): content, certificate and key go in, signatures come out; and back again.

Whether a signer is to be trusted is not decided here. MD5 and SHA-1 signatures do not verify: others could have made
them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from asn1crypto.core import Void
from asn1crypto.parser import emit
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7HashTypes, PKCS7Options, PKCS7SignatureBuilder

from hsl.library.cmsdata import (
    CMSError,
    certificates_of,
    computed,
    is_meant,
    load_certificates,
    public_key,
    read_content,
    reading,
    single,
)
from hsl.library.cryptoerrors import UNREADABLE
from hsl.library.keys import MAX_BITS, MIN_BITS

DIGESTS: Final[Mapping[str, Callable[[], PKCS7HashTypes]]] = {
    "sha224": hashes.SHA224,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
DATA: Final = "1.2.840.113549.1.7.1"
MAX_SIGNERS: Final = 20
MAX_TRIES: Final = 4  # certificates of one issuer and serial number
SET: Final = 17  # ASN.1's universal tag


class Signed(NamedTuple):
    """What a message's signatures are over, whose they are, and all its certificates; these in DER."""

    content: bytes
    signers: tuple[bytes, ...]
    certificates: tuple[bytes, ...]


# ------------------------------------------------------------ sign


def sign(content: bytes, certificate: bytes, key: Any, chain: Sequence[bytes], digest: str, detached: bool) -> bytes:
    """A SignedData in DER: signed attributes (RFC 8551 section 2.5), our certificate and the chain. Raises CMSError."""
    options = [PKCS7Options.Binary, *([PKCS7Options.DetachedSignature] if detached else [])]
    try:
        builder = PKCS7SignatureBuilder().set_data(content)
        builder = builder.add_signer(computed(certificate), key, DIGESTS[digest]())
        for item in chain:
            builder = builder.add_certificate(computed(item))
        signature = builder.sign(Encoding.DER, options)
        verify(signature, content, ())
    except UNREADABLE:
        raise CMSError("it cannot be signed with this certificate and this kind of key") from None
    return signature


# ------------------------------------------------------------ verify


def verify(data: bytes, message: bytes | None, certificates: Sequence[bytes]) -> Signed:
    """All signatures of a message over its own content, or over `message`. Raises CMSError unless every one stands.

    `certificates` may be the signers', beside those in the message.
    """
    info = read_content(data)
    if info["content_type"].native != "signed_data":
        raise CMSError("it is no signed message")
    extra = load_certificates(certificates)
    with reading():
        signed = info["content"]
        inside = certificates_of(signed["certificates"])
        content = content_of(signed["encap_content_info"]) if message is None else message
        infos = list(signed["signer_infos"])
        if not 1 <= len(infos) <= MAX_SIGNERS:
            raise CMSError(f"it has {len(infos)} signatures, wanted 1 to {MAX_SIGNERS}")
        kind = signed["encap_content_info"]["content_type"].dotted
        signers = tuple(signer_of(item, content, kind, [*extra, *inside]) for item in infos)
        return Signed(content, signers, tuple(item.dump() for item in inside))


def content_of(encapsulated: Any) -> bytes:
    content = encapsulated["content"]
    if isinstance(content, Void):
        raise CMSError("the message is not in it: the signature is detached")
    return bytes(content)


def signer_of(info: Any, content: bytes, kind: str, candidates: Sequence[Any]) -> bytes:
    """The certificate (DER) of who made a signature. Raises CMSError if nobody did."""
    found = [item.dump() for item in candidates if is_meant(info["sid"], item)]
    if not found:
        raise CMSError("the certificate of a signer is missing")
    data = signed_data(info, content, kind)
    for der in found[:MAX_TRIES]:
        if signature_fits(der, info, data):
            return bytes(der)
    raise CMSError("a signature does not match the message")


def digest_name(info: Any) -> str:
    name: str = info["digest_algorithm"]["algorithm"].native
    if name not in DIGESTS:
        raise CMSError(f"a signature's digest is {name}, wanted {', '.join(DIGESTS)}")
    return name


def signed_data(info: Any, content: bytes, kind: str) -> bytes:
    """What is signed (RFC 5652 section 5.4): the signed attributes, which fit the content; without them the content."""
    name = digest_name(info)
    attributes = info["signed_attrs"]
    if isinstance(attributes, Void):
        if kind != DATA:
            raise CMSError("a signature lacks its signed attributes")
        return content
    digest = hashlib.new(name, content).digest()
    if single(attributes, "content_type").dotted != kind or single(attributes, "message_digest").native != digest:
        raise CMSError("a signature does not match the message")
    return bytes(emit(0, 1, SET, attributes.contents))


def signature_fits(der: bytes, info: Any, data: bytes) -> bool:
    """Whether a certificate's key made a signature. Raises CMSError for what cannot be computed."""
    key = public_key(der)
    algorithm = info["signature_algorithm"]
    kind = algorithm.signature_algo
    signature = info["signature"].native
    try:
        if isinstance(key, RSAPublicKey) and kind in ("rsassa_pkcs1v15", "rsassa_pss"):
            if not MIN_BITS <= key.key_size <= MAX_BITS:
                raise CMSError(f"a signer's key has {key.key_size} bits, wanted {MIN_BITS} to {MAX_BITS}")
            padding = PKCS1v15() if kind == "rsassa_pkcs1v15" else pss(algorithm["parameters"])
            key.verify(signature, data, padding, signature_hash(info))
        elif isinstance(key, EllipticCurvePublicKey) and kind == "ecdsa":
            key.verify(signature, data, ECDSA(signature_hash(info)))
        elif isinstance(key, Ed25519PublicKey) and kind == "ed25519":
            key.verify(signature, data)
        else:
            raise CMSError("a signature's algorithm is not known, or not that of its key")
    except InvalidSignature:
        return False
    return True


def signature_hash(info: Any) -> hashes.HashAlgorithm:
    """The hash in a signature: its algorithm's, or that of the digest where the algorithm names none."""
    algorithm = info["signature_algorithm"]
    plain = algorithm["algorithm"].native == "rsassa_pkcs1v15"
    return strong(digest_name(info) if plain else algorithm.hash_algo)


def strong(name: str) -> hashes.HashAlgorithm:
    if name not in DIGESTS:
        raise CMSError(f"a signature's hash is {name}, wanted {', '.join(DIGESTS)}")
    return DIGESTS[name]()


def pss(parameters: Any) -> PSS:
    """RSASSA-PSS with its parameters (RFC 4055 section 3.1)."""
    mask = parameters["mask_gen_algorithm"]["parameters"]["algorithm"].native
    return PSS(MGF1(strong(mask)), parameters["salt_length"].native)
