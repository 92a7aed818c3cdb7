"""CMS, encrypted messages (RFC 5652 section 6, RFC 5083): content and certificates go in, envelopes come out; and back.

Recipients have RSA keys, or EC keys (RFC 5753). Content is encrypted with AES (RFC 3565, RFC 5084); what others made
with Triple DES is decrypted, too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from asn1crypto import cms, core
from asn1crypto.keys import PublicKeyInfo
from asn1crypto.parser import emit
from cryptography.exceptions import InternalError, InvalidTag
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, GCM
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hsl.library.cmsdata import CMSError, is_meant, load_certificates, public_key, read_content, reading, single
from hsl.library.cryptoerrors import UNREADABLE
from hsl.library.cryptographic import without_padding
from hsl.library.keys import MAX_BITS, MIN_BITS

CIPHERS: Final = ("aes-128-cbc", "aes-192-cbc", "aes-256-cbc", "aes-128-gcm", "aes-192-gcm", "aes-256-gcm")
KEY_SIZES: Final = {"aes128": 16, "aes192": 24, "aes256": 32, "tripledes": 24}  # bytes
WRAPS: Final = {16: "aes128_wrap", 24: "aes192_wrap", 32: "aes256_wrap"}
WRAPPED: Final = {"2.16.840.1.101.3.4.1.5": 16, "2.16.840.1.101.3.4.1.25": 24, "2.16.840.1.101.3.4.1.45": 32}
AGREEMENT: Final = "1.3.132.1.11.1"  # dhSinglePass-stdDH-sha256kdf-scheme
AGREEMENTS: Final[Mapping[str, Callable[[], hashes.HashAlgorithm]]] = {  # stdDH, and cofactorDH: the cofactor is 1
    "1.3.133.16.840.63.0.2": hashes.SHA1, "1.3.133.16.840.63.0.3": hashes.SHA1,
    "1.3.132.1.11.0": hashes.SHA224, "1.3.132.1.14.0": hashes.SHA224,
    "1.3.132.1.11.1": hashes.SHA256, "1.3.132.1.14.1": hashes.SHA256,
    "1.3.132.1.11.2": hashes.SHA384, "1.3.132.1.14.2": hashes.SHA384,
    "1.3.132.1.11.3": hashes.SHA512, "1.3.132.1.14.3": hashes.SHA512,
}  # fmt: skip
OAEP_HASHES: Final[Mapping[str, Callable[[], hashes.HashAlgorithm]]] = {
    "sha1": hashes.SHA1, "sha224": hashes.SHA224, "sha256": hashes.SHA256, "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}  # fmt: skip
MAX_RECIPIENTS: Final = 1_000
TAG: Final = 16  # bytes of GCM's tag
MIN_TAG: Final = 12  # RFC 5084 section 3.2
NONCE: Final = 12
WRONG: Final = "it cannot be decrypted with this key"


class GCMParameters(core.Sequence):  # type: ignore[misc]
    """RFC 5084 section 3.2."""

    _fields = [("nonce", core.OctetString), ("icvlen", core.Integer, {"default": 12})]  # noqa: RUF012


class SharedInfo(core.Sequence):  # type: ignore[misc]
    """ECC-CMS-SharedInfo (RFC 5753 section 7.2)."""

    _fields = [  # noqa: RUF012
        ("key_info", core.Any),
        ("ukm", core.OctetString, {"explicit": 0, "optional": True}),
        ("length", core.OctetString, {"explicit": 2}),
    ]


class Opened(NamedTuple):
    """What was in an envelope. `kind` is asn1crypto's name of its type."""

    kind: str
    content: bytes


# ------------------------------------------------------------ encrypt


def encrypt(content: bytes, certificates: Sequence[bytes], cipher: str) -> bytes:
    """An EnvelopedData, with GCM an AuthEnvelopedData, in DER, for the owners of certificates. Raises CMSError."""
    name, _, mode = cipher.replace("-", "", 1).partition("-")
    key = os.urandom(KEY_SIZES[name])
    recipients = [recipient_info(item, key) for item in load_certificates(certificates)]
    seal = seal_gcm if mode == "gcm" else seal_cbc
    return seal(content, key, f"{name}_{mode}", recipients)


def seal_cbc(content: bytes, key: bytes, name: str, recipients: list[Any]) -> bytes:
    iv = os.urandom(16)
    missing = 16 - len(content) % 16
    encryptor = Cipher(AES(key), CBC(iv)).encryptor()
    sealed = encryptor.update(content) + encryptor.update(bytes([missing]) * missing) + encryptor.finalize()
    agreed = any(item.name == "kari" for item in recipients)
    entries = {
        "version": "v2" if agreed else "v0",
        "recipient_infos": recipients,
        "encrypted_content_info": content_info(name, core.OctetString(iv), sealed),
    }
    return bytes(cms.ContentInfo({"content_type": "enveloped_data", "content": cms.EnvelopedData(entries)}).dump())


def seal_gcm(content: bytes, key: bytes, name: str, recipients: list[Any]) -> bytes:
    nonce = os.urandom(NONCE)
    encryptor = Cipher(AES(key), GCM(nonce)).encryptor()
    sealed = encryptor.update(content) + encryptor.finalize()
    entries = {
        "version": "v0",
        "recipient_infos": recipients,
        "auth_encrypted_content_info": content_info(name, GCMParameters({"nonce": nonce, "icvlen": TAG}), sealed),
        "mac": encryptor.tag,
    }
    content_type = "authenticated_enveloped_data"
    return bytes(cms.ContentInfo({"content_type": content_type, "content": cms.AuthEnvelopedData(entries)}).dump())


def content_info(name: str, parameters: Any, sealed: bytes) -> Any:
    algorithm = {"algorithm": name, "parameters": parameters}
    return {"content_type": "data", "content_encryption_algorithm": algorithm, "encrypted_content": sealed}


def recipient_info(certificate: Any, key: bytes) -> Any:
    """The content's key for the owner of a certificate. Raises CMSError."""
    public = public_key(certificate.dump())
    with reading():
        owner = {"issuer": certificate.issuer, "serial_number": certificate.serial_number}
    try:
        if isinstance(public, RSAPublicKey) and MIN_BITS <= public.key_size <= MAX_BITS:
            return transport_info(public, owner, key)
        if isinstance(public, ec.EllipticCurvePublicKey):
            return agreed_info(public, owner, key)
    except UNREADABLE:
        raise CMSError("a certificate's key is none after all") from None
    raise CMSError(f"a certificate's key is neither RSA of {MIN_BITS} to {MAX_BITS} bits nor EC")


def transport_info(public: RSAPublicKey, owner: Any, key: bytes) -> Any:
    """The content's key, encrypted (RFC 5652 section 6.2.1)."""
    entries = {
        "version": "v0",
        "rid": cms.RecipientIdentifier({"issuer_and_serial_number": owner}),
        "key_encryption_algorithm": {"algorithm": "rsaes_pkcs1v15"},
        "encrypted_key": public.encrypt(key, PKCS1v15()),
    }
    return cms.RecipientInfo({"ktri": entries})


def agreed_info(public: ec.EllipticCurvePublicKey, owner: Any, key: bytes) -> Any:
    """The content's key, by a key agreement with one of ours for this message (RFC 5753 section 3.1)."""
    ours = ec.generate_private_key(public.curve)
    wrap = core.Any(cms.KeyEncryptionAlgorithm({"algorithm": WRAPS[len(key)]}))
    agreed = agree(ours.exchange(ec.ECDH(), public), hashes.SHA256(), wrap, None, len(key))
    spki = ours.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    rid = cms.KeyAgreementRecipientIdentifier({"issuer_and_serial_number": owner})
    entries = {
        "version": "v3",
        "originator": cms.OriginatorIdentifierOrKey({"originator_key": PublicKeyInfo.load(spki)}),
        "key_encryption_algorithm": {"algorithm": AGREEMENT, "parameters": wrap},
        "recipient_encrypted_keys": [{"rid": rid, "encrypted_key": aes_key_wrap(agreed, key)}],
    }
    return cms.RecipientInfo({"kari": entries})


def agree(secret: bytes, hash: hashes.HashAlgorithm, wrap: Any, ukm: bytes | None, size: int) -> bytes:
    """The key that wraps the content's key (RFC 5753 section 7.2)."""
    entries = {"key_info": wrap, "length": (size * 8).to_bytes(4, "big")}
    shared = SharedInfo(entries if ukm is None else entries | {"ukm": ukm})
    return X963KDF(algorithm=hash, length=size, sharedinfo=shared.dump()).derive(secret)


# ------------------------------------------------------------ decrypt


def decrypt(data: bytes, certificate: bytes, key: Any) -> Opened:
    """What an envelope has for the owner of a certificate, by cryptography's private key. Raises CMSError."""
    info = read_content(data)
    (owner,) = load_certificates([certificate])
    with reading():
        kind = info["content_type"].native
        if kind not in ("enveloped_data", "authenticated_enveloped_data"):
            raise CMSError("it is no encrypted message")
        envelope = info["content"]
        content_key = find_key(envelope["recipient_infos"], owner, key)
        if kind == "enveloped_data":
            sealed = envelope["encrypted_content_info"]
            content = open_cbc(sealed, content_key)
        else:
            sealed = envelope["auth_encrypted_content_info"]
            content = open_gcm(sealed, envelope, content_key)
        return as_message(sealed["content_type"], content)


def as_message(kind: Any, content: bytes) -> Opened:
    """The content; what is no plain data gets the frame that makes it a message of its own."""
    if kind.native != "data":
        content = emit(0, 1, 16, kind.dump() + emit(2, 1, 0, content))
    return Opened(kind.native, content)


def find_key(recipients: Any, owner: Any, key: Any) -> bytes:
    """The content's key out of what is there for the owner of a certificate. Raises CMSError."""
    if len(recipients) > MAX_RECIPIENTS:
        raise CMSError(f"it has more than {MAX_RECIPIENTS} recipients")
    for item in recipients:
        if item.name == "ktri" and is_meant(item.chosen["rid"], owner):
            return transported_key(item.chosen, key)
        if item.name == "kari":
            for one in item.chosen["recipient_encrypted_keys"]:
                if is_meant_agreed(one["rid"], owner):
                    return agreed_key(item.chosen, one["encrypted_key"].native, key)
    raise CMSError("it is not encrypted for this certificate")


def is_meant_agreed(identifier: Any, owner: Any) -> bool:
    if identifier.name == "r_key_id":
        return bool(owner.key_identifier == identifier.chosen["subject_key_identifier"].native)
    return is_meant(identifier, owner)


def transported_key(info: Any, key: Any) -> bytes:
    """By RSA (RFC 5652 section 6.2.1). With wrong padding OpenSSL gives a wrong key, which takes as long."""
    algorithm = info["key_encryption_algorithm"]
    name = algorithm["algorithm"].native
    if not isinstance(key, RSAPrivateKey) or name not in ("rsaes_pkcs1v15", "rsaes_oaep"):
        raise CMSError("its key is encrypted in a way that is not known, or not for this kind of key")
    padding = PKCS1v15() if name == "rsaes_pkcs1v15" else oaep(algorithm["parameters"])
    try:
        return key.decrypt(info["encrypted_key"].native, padding)
    except (ValueError, InternalError):
        raise CMSError(WRONG) from None


def oaep(parameters: Any) -> OAEP:
    """RSAES-OAEP with its parameters (RFC 4055 section 4.1)."""
    hash = OAEP_HASHES[parameters["hash_algorithm"]["algorithm"].native]()
    mask = OAEP_HASHES[parameters["mask_gen_algorithm"]["parameters"]["algorithm"].native]()
    return OAEP(MGF1(mask), hash, parameters["p_source_algorithm"]["parameters"].native or None)


def agreed_key(info: Any, wrapped: bytes, key: Any) -> bytes:
    """By a key agreement (RFC 5753 section 3.1.3)."""
    algorithm = info["key_encryption_algorithm"]
    hash = AGREEMENTS.get(algorithm["algorithm"].dotted)
    wrap = algorithm["parameters"]
    size = WRAPPED.get(core.Sequence.load(wrap.dump())[0].dotted)
    originator = info["originator"]
    if not isinstance(key, ec.EllipticCurvePrivateKey) or originator.name != "originator_key" or not hash or not size:
        raise CMSError("its key is encrypted in a way that is not known, or not for this kind of key")
    try:
        point = originator.chosen["public_key"].native
        theirs = ec.EllipticCurvePublicKey.from_encoded_point(key.curve, point)
        agreed = agree(key.exchange(ec.ECDH(), theirs), hash(), wrap, info["ukm"].native, size)
        return aes_key_unwrap(agreed, wrapped)
    except (ValueError, InvalidUnwrap, InternalError):
        raise CMSError(WRONG) from None


def cipher_of(sealed: Any, key: bytes, modes: Sequence[str]) -> tuple[str, Any]:
    """The cipher's name and parameters. Raises CMSError for one that is not known, and for a key that does not fit."""
    algorithm = sealed["content_encryption_algorithm"]
    name, _, mode = algorithm["algorithm"].native.partition("_")
    if name not in KEY_SIZES or mode not in modes:
        raise CMSError(f"it is encrypted with {algorithm['algorithm'].native}, which is not known")
    if len(key) != KEY_SIZES[name]:
        raise CMSError(WRONG)
    return name, algorithm["parameters"]


def open_cbc(sealed: Any, key: bytes) -> bytes:
    name, parameters = cipher_of(sealed, key, ("cbc", "3key"))
    cipher = TripleDES if name == "tripledes" else AES
    block = cipher.block_size // 8
    data = bytes(sealed["encrypted_content"])
    if not data or len(data) % block:
        raise CMSError(WRONG)
    decryptor = Cipher(cipher(key), CBC(parameters.native)).decryptor()
    content = without_padding(decryptor.update(data) + decryptor.finalize(), block)
    if content is None:
        raise CMSError(WRONG)
    return content


def open_gcm(sealed: Any, envelope: Any, key: bytes) -> bytes:
    """The content, once its tag is right; for other types than plain data, attributes under it say which (RFC 5083)."""
    _, parameters = cipher_of(sealed, key, ("gcm",))
    nonce = GCMParameters.load(parameters.dump())["nonce"].native
    tag = envelope["mac"].native
    if not MIN_TAG <= len(tag) <= TAG:
        raise CMSError(WRONG)
    attributes = envelope["auth_attrs"]
    kind = sealed["content_type"]
    decryptor = Cipher(AES(key), GCM(nonce, tag, MIN_TAG)).decryptor()
    if not isinstance(attributes, core.Void):
        decryptor.authenticate_additional_data(emit(0, 1, 17, attributes.contents))
        if single(attributes, "content_type").dotted != kind.dotted:
            raise CMSError(WRONG)
    elif kind.native != "data":
        raise CMSError(WRONG)
    try:
        return decryptor.update(bytes(sealed["encrypted_content"])) + decryptor.finalize()
    except InvalidTag:
        raise CMSError(WRONG) from None
