"""Chapter "Cryptographic": S/MIME's signed and encrypted data (CMS, RFC 5652): scripts' arguments in, answers out.

Messages, keys and certificates are hostile input: what cannot be done gives `result` false with an `error`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hsl.arithmetic import check_string
from hsl.builtins import Chapter, Options, option
from hsl.errors import ScriptError, near
from hsl.library.certificates import (
    X509Resource,
    certificate_list,
    certificates_in,
    load_certificate,
)
from hsl.library.dateandtime import now
from hsl.library.keys import PrivateKey, load_private_key, refuse_profile
from hsl.values import Array, Resource, Value, type_name

if TYPE_CHECKING:
    from hsl.run import Run

chapter = Chapter("Cryptographic")

DIGESTS: Final = ("sha256", "sha224", "sha384", "sha512")
SHORT: Final = {
    "signed_data": b"signed",
    "enveloped_data": b"enveloped",
    "authenticated_enveloped_data": b"authenveloped",
    "compressed_data": b"compressed",
}
MAIL_USES: Final = ("1.3.6.1.5.5.7.3.4", "2.5.29.37.0")  # emailProtection, any


class Owner(NamedTuple):
    """A certificate in DER, its private key, and the certificates above it."""

    certificate: bytes
    key: PrivateKey
    chain: list[bytes]


class PKCS7Options(Options):
    id: bool = option(False, "The certificate is one of the product's configuration (pki:X): always an error.")
    detached: bool = option(True, "Leave the message out of the signature.")


class CMSSignOptions(PKCS7Options):
    digest: bytes = option(b"sha256", "The digest: sha224, sha256, sha384 or sha512.")


class CMSVerifyOptions(Options):
    detached: bool | None = option(
        None, "Whether the message is passed beside the signature; by default: if there is one."
    )
    data: bool = option(False, "Return the message, too.")


class CMSEncryptOptions(Options):
    cipher: bytes = option(b"aes-256-cbc", "The cipher: aes-128, aes-192 or aes-256, with -cbc or -gcm behind it.")


class CMSDecryptOptions(Options):
    id: bool = option(False, "The certificate is one of the product's configuration (pki:X): always an error.")


# ------------------------------------------------------------ arguments


def read_owner(function: str, certificate: bytes | Array, id: bool) -> Owner | str:
    """Whose certificate it is: PEM text, or an array of `x509`, `privatekey` and `chain`; or why it is nobody's.

    Raises ScriptError for what is neither.
    """
    if isinstance(certificate, bytes):
        refuse_profile(function, "parameter 2 (certificate)", certificate, id)
        key, ders = load_private_key(certificate), certificates_in(certificate)
    else:
        key = read_key(function, certificate.get(b"privatekey"))
        ders = single_certificate(function, certificate.get(b"x509"))
        ders += certificate_list(function, "option chain", list_in(function, certificate, b"chain"))
    if key is None:
        return "the private key cannot be read"
    own = next((der for der in ders if is_key_of(der, key)), None)
    if own is None:
        return "the private key is of none of the certificates"
    return Owner(own, key, [der for der in ders if der != own])


def read_key(function: str, key: Value) -> PrivateKey | None:
    if isinstance(key, bytes):
        refuse_profile(function, "option privatekey", key, False)
        return load_private_key(key)
    if isinstance(key, PrivateKey):
        return key
    got = key.kind if isinstance(key, Resource) else type_name(key)
    raise ScriptError(f"{function}(): option privatekey: wanted a private key's resource or string, got {got}")


def single_certificate(function: str, item: Value) -> list[bytes]:
    return certificate_list(function, "option x509", Array.of([item]))


def list_in(function: str, array: Array, name: bytes) -> Array | None:
    """An entry of an array that is an array or not there. Raises ScriptError."""
    found = array.get(name)
    if found is not None and not isinstance(found, Array):
        raise ScriptError(f"{function}(): option {name.decode()}: wanted array, got {type_name(found)}")
    return found


def is_key_of(der: bytes, key: PrivateKey) -> bool:
    """Whether a certificate is that of a private key."""
    from hsl.library.cryptoerrors import UNREADABLE

    try:
        theirs: Any = load_certificate("certificate", der).public_key()
        ours = key.key.public_key()
        return type(theirs) is type(ours) and bool(theirs == ours)
    except (ScriptError, *UNREADABLE):
        return False


def want_one(function: str, name: str, given: bytes, known: tuple[str, ...]) -> str:
    """One of the names. Raises ScriptError."""
    text = given.decode("utf-8", "replace")
    if text not in known:
        wanted = ", ".join(known)
        raise ScriptError(f"{function}(): option {name}: wanted {wanted}, got {text!r}", hint=near(text, known))
    return text


# ------------------------------------------------------------ answers


def answer(action: Callable[[], dict[Value, Value]]) -> Array:
    """`result` true with what comes of an action, or false with its `error`."""
    from hsl.library.cmsdata import CMSError

    try:
        return Array.record({b"result": True, **action()})
    except CMSError as error:
        return failure(str(error))


def failure(error: str) -> Array:
    return Array.record({b"result": False, b"error": error.encode()})


@chapter.function("cms_sign")
def cms_sign(message: bytes, certificate: bytes | Array, options: CMSSignOptions) -> Array:
    """Return an array with `result`, and the signature of a message (CMS SignedData) as `data` in DER.

    The message is signed byte by byte as it is: the lines of a MIME part must end with CRLF (RFC 8551 section 3.1.1).
    The certificate is PEM text with a certificate, its private key and maybe those above it, or an array of `x509` (an
    X509 or its resource), `privatekey` (a resource, or PEM) and maybe `chain` (an array). The key is RSA of 1024 to
    8192 bits, or EC. The certificates go into the signature, and the time of signing.

    Where `result` is false, `error` says why.

    Example:
        function sign($text, $pem) {
            $signature = cms_sign($text, $pem, ["detached" => true]);
            return $signature["result"] ? base64_encode($signature["data"]) : none;
        }
    """
    digest = want_one("cms_sign", "digest", options.digest, DIGESTS)
    owner = read_owner("cms_sign", certificate, options.id)
    if isinstance(owner, str):
        return failure(owner)
    return answer(lambda: {b"data": signature_of(message, owner, digest, options.detached)})


def signature_of(message: bytes, owner: Owner, digest: str, detached: bool) -> bytes:
    from hsl.library.cmssigned import sign

    check_string(len(message) + sum(map(len, owner.chain)) + len(owner.certificate))
    return sign(message, owner.certificate, owner.key.key, owner.chain, digest, detached)


@chapter.function("pkcs7_sign")
def pkcs7_sign(message: bytes, certificate: bytes | Array, options: PKCS7Options) -> bytes | None:
    """Return the signature of a message (PKCS#7 SignedData) in DER, or none on failure.

    It is what cms_sign() gives as `data`, by the digest SHA-256; message and certificate are as there.

    Example:
        function signature_part($text, $pem) {
            $part = MIME();
            $part->addHeader("Content-Type", ''application/pkcs7-signature; name="smime.p7s"'');
            $part->setBody(pkcs7_sign($text, $pem));
            return $part;
        }
    """
    from hsl.library.cmsdata import CMSError

    owner = read_owner("pkcs7_sign", certificate, options.id)
    if isinstance(owner, str):
        return None
    try:
        return signature_of(message, owner, DIGESTS[0], options.detached)
    except CMSError:
        return None


@chapter.function("cms_verify")
def cms_verify(
    run: Run, signature: bytes, message: bytes | None, certificates: Array, options: CMSVerifyOptions
) -> Array:
    """Return an array with `result`: whether a message's signatures (CMS SignedData) stand and are of trusted signers.

    The signature is BER, DER or PEM. The message is what was signed, byte by byte, or none if it is in the signature.
    `certificates` says who is trusted: with an array `store` of authorities, those whose certificates lead to one now,
    and are for mail if they say what for; else those whose certificates are in the array `certs`. Both hold X509
    objects, their resources, PEM or DER, at most 1000; with a store, `certs` just helps to find certificates.

    All signatures must stand, with a digest of the SHA-2 family. Then `signers` are the signers' certificates
    (X509Resource), and `data` is the message if the option asks for it; else `error` says why not.

    Example:
        function signers($signature, $text, $authorities) {
            $answer = cms_verify($signature, $text, ["store" => [$authorities]]);
            return $answer["result"] ? array_map(X509, $answer["signers"]) : [];
        }
    """
    store = list_in("cms_verify", certificates, b"store")
    known = list_in("cms_verify", certificates, b"certs")
    if store is None and known is None:
        raise ScriptError("cms_verify(): parameter 3 (certificates): wanted an array with store or certs")
    detached = message is not None if options.detached is None else options.detached
    if detached and message is None:
        raise ScriptError("cms_verify(): parameter 2 (message): wanted string with a detached signature, got none")
    trusted = None if store is None else certificate_list("cms_verify", "option store", store)
    others = certificate_list("cms_verify", "option certs", known)

    def verified() -> dict[Value, Value]:
        from hsl.library.cmssigned import verify

        signed = verify(signature, message if detached else None, others)
        for signer in signed.signers:
            check_signer(signer, trusted, [*others, *signed.certificates], others, now(run))
        signers = Array.of(X509Resource(signer) for signer in signed.signers)
        return {b"signers": signers, **({b"data": signed.content} if options.data else {})}

    return answer(verified)


def check_signer(
    signer: bytes, authorities: list[bytes] | None, links: list[bytes], pinned: list[bytes], time: float
) -> None:
    """Raises CMSError for one that is not trusted."""
    from hsl.library.cmsdata import CMSError
    from hsl.library.trust import verify_chain

    if authorities is None:
        if signer not in pinned:
            raise CMSError("a signer's certificate is not one of those that are trusted")
        return
    verdict = verify_chain(signer, authorities, links, [], time)
    if not verdict.trusted:
        raise CMSError(f"a signer's certificate is not trusted: {verdict.error}")
    if not is_for_mail(signer):
        raise CMSError("a signer's certificate is not for signing mail")


def is_for_mail(der: bytes) -> bool:
    """Whether a certificate allows to sign mail (RFC 8550 section 4.4.2, 4.4.4); one that says nothing does."""
    from cryptography.x509 import ExtendedKeyUsage, ExtensionNotFound, KeyUsage

    from hsl.library.cryptoerrors import UNREADABLE

    try:
        extensions = load_certificate("cms_verify", der).extensions
    except (ScriptError, *UNREADABLE):
        return False
    try:
        usage = extensions.get_extension_for_class(KeyUsage).value
        if not usage.digital_signature and not usage.content_commitment:
            return False
    except ExtensionNotFound:
        pass
    try:
        uses = extensions.get_extension_for_class(ExtendedKeyUsage).value
    except ExtensionNotFound:
        return True
    return any(use.dotted_string in MAIL_USES for use in uses)


@chapter.function("cms_encrypt")
def cms_encrypt(message: bytes, certificates: Array, options: CMSEncryptOptions) -> Array:
    """Return an array with `result`, and a message encrypted for the owners of certificates as `data` in DER.

    `certificates` has an array `certs` of 1 to 1000 X509 objects, their resources, PEM or DER. Their keys are RSA of
    1024 to 8192 bits (PKCS#1 v1.5), or EC (RFC 5753). The ciphers -cbc make CMS EnvelopedData, which every mail client
    reads and nobody notices changes of; -gcm make AuthEnvelopedData (RFC 5083), which newer ones read.

    Where `result` is false, `error` says why. Whether the certificates are valid is not looked at.

    Example:
        function encrypt($text, $certificate) {
            $answer = cms_encrypt($text, ["certs" => [$certificate]], ["cipher" => "aes-256-gcm"]);
            return $answer["result"] ? base64_encode($answer["data"]) : none;
        }
    """
    from hsl.library.cmsenvelopes import CIPHERS, encrypt

    cipher = want_one("cms_encrypt", "cipher", options.cipher, CIPHERS)
    certs = certificate_list("cms_encrypt", "option certs", list_in("cms_encrypt", certificates, b"certs"))
    if not certs:
        raise ScriptError("cms_encrypt(): parameter 2 (certificates): wanted an array with certs")
    check_string(len(message) + 2048 * len(certs))
    return answer(lambda: {b"data": encrypt(message, certs, cipher)})


@chapter.function("cms_decrypt")
def cms_decrypt(
    message: bytes, certificate: bytes | Array | None = None, options: CMSDecryptOptions | None = None
) -> Array:
    """Return an array with `result`, and the content of an encrypted message (CMS EnvelopedData) as `data`.

    The message is BER, DER or PEM; AuthEnvelopedData (RFC 5083) is read, too. The certificate and its private key are
    PEM text, or an array of `x509` (an X509 or its resource) and `privatekey` (a resource, or PEM). Known are keys
    encrypted by RSA (PKCS#1 v1.5, OAEP) and by EC key agreement, and content encrypted with AES (CBC, GCM) or
    Triple DES.

    If the content is itself a message of CMS, `cms` says of which type: `signed`, `enveloped`, `authenveloped`,
    `compressed`. Where `result` is false, `error` says why.

    Example:
        function decrypt($data, $pem) {
            $answer = cms_decrypt($data, $pem);
            return $answer["result"] ? $answer["data"] : none;
        }
    """
    if certificate is None:
        raise ScriptError("cms_decrypt(): parameter 2 (certificate): wanted array or string, got none")
    owner = read_owner("cms_decrypt", certificate, options is not None and options.id)
    if isinstance(owner, str):
        return failure(owner)

    def decrypted() -> dict[Value, Value]:
        from hsl.library.cmsdata import content_type
        from hsl.library.cmsenvelopes import decrypt

        opened = decrypt(message, owner.certificate, owner.key.key)
        kind = SHORT.get(content_type(opened.content) or "")
        return {b"data": opened.content, **({} if kind is None else {b"cms": kind})}

    return answer(decrypted)


@chapter.function("cms_type")
def cms_type(message: bytes) -> bytes | None:
    """Return the type of a message of CMS by OpenSSL's name, or none for what is none.

    The names are `pkcs7-data`, `pkcs7-signedData`, `pkcs7-envelopedData`, `pkcs7-digestData`, `pkcs7-encryptedData`,
    `id-smime-ct-authEnvelopedData`, `id-smime-ct-compressedData` …

    Example:
        echo cms_type("no message");  // expect: none
    """
    from hsl.library.cmsdata import TYPES, content_type

    found = content_type(message)
    return None if found is None else TYPES[found].encode()
