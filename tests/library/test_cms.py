"""CMS: signed and encrypted messages to and from openssl; what is forged, altered, malformed or hostile is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from asn1crypto import cms
from asn1crypto.parser import emit
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, SECP521R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from pki import DAY, NOW, Holder, accepts, ec_key, ed25519_key, key_pem, openssl, printed, rsa_key

from hsl.errors import ScriptError
from hsl.library.certificates import X509, X509Resource
from hsl.library.cmsdata import CMSError, check_ber
from hsl.library.cmssigned import sign
from hsl.library.keys import load_private_key
from hsl.values import Resource

Call = Callable[..., Any]

MAIL_USE = (x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
SERVER_USE = (x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), False)


def usage(**flags: bool) -> tuple[x509.KeyUsage, bool]:
    names = "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign "
    names += "crl_sign encipher_only decipher_only"
    return x509.KeyUsage(**{name: flags.get(name, False) for name in names.split()}), True


ROOT = Holder("root", ca=True)
OTHER = Holder("other", ca=True)
MIDDLE = Holder("middle", authority=ROOT, ca=True)
RSA = Holder("rsa", rsa_key(), ROOT, extensions=[MAIL_USE])
EC = Holder("ec", ec_key(), MIDDLE)
P521 = Holder("p521", generate_ec(SECP521R1()), ROOT)
EDWARDS = Holder("ed25519", ed25519_key(), ROOT)

MESSAGE = b"Content-Type: text/plain\r\n\r\nHello \xff\x00 World\r\n"
STORE = {"store": [ROOT.pem]}


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[str, bytes], Path]:
    """`saved(name, data)`: a file."""
    for name, holder in (("rsa", RSA), ("ec", EC), ("p521", P521)):
        (tmp_path / name).write_bytes(holder.both)
    (tmp_path / "root").write_bytes(ROOT.pem)
    (tmp_path / "middle").write_bytes(MIDDLE.pem)
    (tmp_path / "message").write_bytes(MESSAGE)

    def save(name: str, data: bytes = b"") -> Path:
        if data:
            (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return save


Save = Callable[..., Path]


# ------------------------------------------------------------ ours, read by openssl

SIGNERS: list[Any] = [
    RSA.both,
    RSA.key_pem + ROOT.pem + RSA.pem,  # in any order
    EC.both + MIDDLE.pem,
    P521.both,
    {"x509": RSA.pem, "privatekey": RSA.key_pem},
    {"x509": X509Resource(RSA.der), "privatekey": load_private_key(RSA.key_pem)},
    {"x509": X509.of(EC.der), "privatekey": load_private_key(EC.key_pem), "chain": [X509Resource(MIDDLE.der)]},
]


@pytest.mark.parametrize("certificate", SIGNERS)
@pytest.mark.parametrize("detached", [True, False])
def test_openssl_verifies(call: Call, saved: Save, certificate: Any, detached: bool) -> None:
    answer = call("cms_sign", MESSAGE, certificate, {"detached": detached, "digest": "sha384"})
    assert answer.keys() == {b"result", b"data"}
    file = saved("signature", answer[b"data"])
    options = ["-binary", "-inform", "DER", "-in", file, "-CAfile", saved("root"), "-purpose", "any"]
    options += ["-content", saved("message")] if detached else []
    assert openssl("cms", "-verify", *options) == MESSAGE
    assert openssl("smime", "-verify", *options) == MESSAGE
    assert (MESSAGE in answer[b"data"]) is not detached
    assert not accepts("cms", "-verify", *options, "-content", saved("rsa"))


@pytest.mark.parametrize("detached", [True, False])
def test_pkcs7_sign(call: Call, saved: Save, detached: bool) -> None:
    signature = call("pkcs7_sign", MESSAGE, RSA.both, {} if detached else {"detached": False})
    file = saved("signature", signature)
    options = ["-binary", "-inform", "DER", "-in", file, "-CAfile", saved("root")]
    options += ["-content", saved("message")] if detached else []
    assert openssl("smime", "-verify", *options) == MESSAGE
    assert call("cms_verify", signature, MESSAGE if detached else None, STORE)[b"result"] is True


CIPHERS = [f"aes-{size}-{mode}" for size in (128, 192, 256) for mode in ("cbc", "gcm")]


@pytest.mark.parametrize("cipher", CIPHERS)
def test_openssl_decrypts(call: Call, saved: Save, cipher: str) -> None:
    answer = call("cms_encrypt", MESSAGE, {"certs": [RSA.pem, EC.der, P521.pem]}, {"cipher": cipher})
    file = saved("sealed", answer[b"data"])
    assert MESSAGE not in answer[b"data"]
    for name in ("rsa", "ec", "p521"):
        options = ["-binary", "-inform", "DER", "-in", file, "-recip", saved(name), "-inkey", saved(name)]
        assert openssl("cms", "-decrypt", *options) == MESSAGE


def test_ed25519_cannot_sign_nor_be_written_to(call: Call) -> None:
    answer = call("cms_sign", MESSAGE, EDWARDS.both)
    assert answer == {b"result": False, b"error": b"it cannot be signed with this certificate and this kind of key"}
    answer = call("cms_encrypt", MESSAGE, {"certs": [EDWARDS.pem]})
    assert answer[b"error"] == b"a certificate's key is neither RSA of 1024 to 8192 bits nor EC"
    assert call("pkcs7_sign", MESSAGE, EDWARDS.both) is None


# ------------------------------------------------------------ openssl's, read by us

SIGNING = [
    ["-signer", "rsa"],
    ["-signer", "rsa", "-md", "sha512"],
    ["-signer", "rsa", "-md", "sha224"],
    ["-signer", "rsa", "-keyopt", "rsa_padding_mode:pss"],
    ["-signer", "rsa", "-keyopt", "rsa_padding_mode:pss", "-keyopt", "rsa_pss_saltlen:11", "-md", "sha384"],
    ["-signer", "rsa", "-noattr"],
    ["-signer", "rsa", "-keyid"],
    ["-signer", "rsa", "-nosmimecap"],
    ["-signer", "rsa", "-econtent_type", "1.2.3.4"],
    ["-signer", "ec", "-certfile", "middle"],
    ["-signer", "ec", "-certfile", "middle", "-noattr"],
    ["-signer", "p521", "-md", "sha512"],
    ["-signer", "rsa", "-signer", "ec", "-certfile", "middle"],
]


def paths(saved: Save, arguments: list[str]) -> list[str | Path]:
    return [saved(item) if item in ("rsa", "ec", "p521", "middle") else item for item in arguments]


FORMS = [
    (arguments, form)
    for arguments in SIGNING
    for form in ("detached", "inside", "stream")
    if form != "stream" or "rsa_padding_mode:pss" not in arguments  # openssl cannot do both
]


@pytest.mark.parametrize(("arguments", "form"), FORMS)
def test_openssls_signatures(call: Call, saved: Save, arguments: list[str], form: str) -> None:
    more = {"detached": [], "inside": ["-nodetach"], "stream": ["-nodetach", "-stream"]}[form]
    options = ["-binary", "-outform", "DER", "-in", saved("message"), *more, *paths(saved, arguments)]
    signature = openssl("cms", "-sign", *options)
    message = MESSAGE if form == "detached" else None
    answer = call("cms_verify", signature, message, STORE, {"data": True})
    assert answer[b"result"] is True, answer
    assert answer[b"data"] == MESSAGE
    assert len(answer[b"signers"]) == arguments.count("-signer")
    assert {item.der for item in answer[b"signers"]} <= {RSA.der, EC.der, P521.der}
    pinned = {"certs": [RSA.pem, EC.der, X509Resource(P521.der)]}
    assert call("cms_verify", signature, message, pinned)[b"result"] is True
    changed = call("cms_verify", signature, MESSAGE + b"x", STORE)
    assert changed == {b"result": False, b"error": b"a signature does not match the message"}


ENCRYPTING = [
    (["-aes128"], RSA),
    (["-aes-192-cbc"], RSA),
    (["-aes256"], RSA),
    (["-aes256", "-stream"], RSA),
    (["-des3"], RSA),
    (["-aes-128-gcm"], RSA),
    (["-aes-256-gcm"], RSA),
    (["-aes256", "-keyid"], RSA),
    (["-aes256", "-keyopt", "rsa_padding_mode:oaep"], RSA),
    (["-aes256", "-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256"], RSA),
    (["-aes256"], EC),
    (["-aes-256-gcm"], EC),
    (["-aes128", "-keyid"], EC),
    (["-aes128", "-keyopt", "ecdh_kdf_md:sha256"], EC),
    (["-aes128", "-keyopt", "ecdh_kdf_md:sha512"], P521),
    (["-aes256", "-keyopt", "ecdh_kdf_md:sha384", "-keyopt", "ecdh_cofactor_mode:1"], EC),
    (["-aes256", "-stream"], P521),
]


@pytest.mark.parametrize(("arguments", "holder"), ENCRYPTING)
@pytest.mark.parametrize("size", [0, 1, 16, 100_000])
def test_openssls_envelopes(call: Call, saved: Save, arguments: list[str], holder: Holder, size: int) -> None:
    content = Random(size).randbytes(size)
    certificate = saved("certificate", holder.pem)
    given = ["-recip", certificate] + [item for item in arguments if item not in ("-stream",)]
    if "-keyid" in given:  # belongs to a recipient
        given = ["-keyid", "-recip", certificate, *[item for item in arguments if item != "-keyid"]]
    stream = ["-stream"] if "-stream" in arguments else []
    data = openssl("cms", "-encrypt", "-binary", "-outform", "DER", *stream, *given, data=content)
    assert call("cms_decrypt", data, holder.both) == {b"result": True, b"data": content}
    resources = {"x509": X509Resource(holder.der), "privatekey": load_private_key(holder.key_pem)}
    assert call("cms_decrypt", data, resources, {"id": True})[b"data"] == content


def test_pem_is_read(call: Call, saved: Save) -> None:
    signature = openssl("cms", "-sign", "-binary", "-outform", "PEM", "-in", saved("message"), "-signer", saved("rsa"))
    assert call("cms_verify", signature, MESSAGE, STORE)[b"result"] is True
    sealed = openssl("cms", "-encrypt", "-aes256", "-binary", "-outform", "PEM", saved("rsa"), data=MESSAGE)
    assert call("cms_decrypt", sealed, RSA.both)[b"data"] == MESSAGE
    assert call("cms_type", sealed) == b"pkcs7-envelopedData"


# ------------------------------------------------------------ both ours


@pytest.mark.parametrize("message", [b"", b"\x00", b"\xff", b"\xc3(", b"\r\n", b"x" * 10_000_000])
def test_any_bytes(call: Call, message: bytes) -> None:
    signature = call("cms_sign", message, RSA.both, {"detached": False})[b"data"]
    assert call("cms_verify", signature, None, STORE, {"data": True})[b"data"] == message
    sealed = call("cms_encrypt", message, {"certs": [EC.pem]})[b"data"]
    assert call("cms_decrypt", sealed, EC.both) == {b"result": True, b"data": message}


def test_signed_then_encrypted(call: Call) -> None:
    signed = call("cms_sign", MESSAGE, RSA.both, {"detached": False})[b"data"]
    sealed = call("cms_encrypt", signed, {"certs": [X509Resource(EC.der)]}, {"cipher": "aes-128-gcm"})[b"data"]
    opened = call("cms_decrypt", sealed, EC.both)
    assert opened == {b"result": True, b"data": signed, b"cms": b"signed"}
    verified = call("cms_verify", opened[b"data"], "", STORE, {"detached": False, "data": True})
    assert verified[b"data"] == MESSAGE
    again = call("cms_encrypt", sealed, {"certs": [RSA.der]})[b"data"]
    assert call("cms_decrypt", again, RSA.both)[b"cms"] == b"authenveloped"


def test_types(call: Call, saved: Save) -> None:
    signed = call("pkcs7_sign", MESSAGE, RSA.both)
    assert call("cms_type", signed) == b"pkcs7-signedData"
    sealed = call("cms_encrypt", MESSAGE, {"certs": [RSA.pem]}, {"cipher": "aes-256-gcm"})[b"data"]
    assert call("cms_type", sealed) == b"id-smime-ct-authEnvelopedData"
    data = openssl("cms", "-data_create", "-outform", "DER", data=MESSAGE)
    assert call("cms_type", data) == b"pkcs7-data"
    digested = openssl("cms", "-digest_create", "-outform", "DER", data=MESSAGE)
    assert call("cms_type", digested) == b"pkcs7-digestData"
    for other in (b"", b"text", RSA.der, RSA.pem, b"\x30\x80", b"\x30" * 10_000_000):
        assert call("cms_type", other) is None


# ------------------------------------------------------------ who is trusted

EXPIRED = Holder("expired", rsa_key(), ROOT, end=NOW - DAY)
SERVER = Holder("server", rsa_key(), ROOT, extensions=[SERVER_USE])
CIPHERING = Holder("ciphering", rsa_key(), ROOT, extensions=[usage(key_encipherment=True)])
SIGNING_USE = Holder("signing", rsa_key(), ROOT, extensions=[usage(digital_signature=True), MAIL_USE])
NON_REPUDIATION = Holder("non-repudiation", rsa_key(), ROOT, extensions=[usage(content_commitment=True)])
SELF = Holder("self", rsa_key())
TWIN = Holder("rsa", rsa_key(2048, 1), ROOT, serial=RSA.certificate.serial_number)  # same issuer and serial number

TRUST: list[tuple[bytes, dict[str, list[Any]], str | None]] = [
    (RSA.both, {"store": [ROOT.pem]}, None),
    (RSA.both, {"store": [OTHER.der, X509.of(ROOT.der)]}, None),
    (SELF.both, {"store": [SELF.pem]}, None),
    (SIGNING_USE.both, {"store": [ROOT.pem]}, None),
    (NON_REPUDIATION.both, {"store": [ROOT.pem]}, None),
    (EC.both + MIDDLE.pem, {"store": [ROOT.pem]}, None),
    (EC.both, {"store": [ROOT.pem], "certs": [MIDDLE.pem]}, None),
    (EC.both, {"store": [ROOT.pem]}, "a signer's certificate is not trusted: unable to get local issuer certificate"),
    (RSA.both, {"store": [OTHER.pem]}, "not trusted: unable to get local issuer certificate"),
    (RSA.both, {"store": []}, "not trusted: unable to get local issuer certificate"),
    (RSA.both, {"store": [], "certs": [RSA.pem]}, "not trusted: unable to get local issuer certificate"),
    (RSA.both + ROOT.pem, {"store": [OTHER.pem]}, "not trusted: self-signed certificate in certificate chain"),
    (SELF.both, {"store": [ROOT.pem]}, "not trusted: self-signed certificate"),
    (EXPIRED.both, {"store": [ROOT.pem]}, "not trusted: certificate has expired"),
    (SERVER.both, {"store": [ROOT.pem]}, "a signer's certificate is not for signing mail"),
    (CIPHERING.both, {"store": [ROOT.pem]}, "a signer's certificate is not for signing mail"),
    (RSA.both, {"certs": [RSA.pem]}, None),
    (EXPIRED.both, {"certs": [ROOT.pem, EXPIRED.pem]}, None),
    (RSA.both, {"certs": [SELF.pem, ROOT.pem]}, "a signer's certificate is not one of those that are trusted"),
    (RSA.both, {"certs": []}, "a signer's certificate is not one of those that are trusted"),
    (RSA.both, {"certs": [TWIN.pem]}, "a signer's certificate is not one of those that are trusted"),
    (TWIN.both, {"certs": [RSA.pem]}, "a signer's certificate is not one of those that are trusted"),
]


@pytest.mark.parametrize(("signer", "certificates", "problem"), TRUST)
def test_trust(call: Call, signer: bytes, certificates: dict[str, list[Any]], problem: str | None) -> None:
    signature = call("pkcs7_sign", MESSAGE, signer)
    answer = call("cms_verify", signature, MESSAGE, certificates)
    assert answer[b"result"] is (problem is None)
    assert (b"signers" in answer) is (problem is None)
    if problem is not None:
        assert answer[b"error"].endswith(problem.encode())


def test_a_certificate_that_is_not_in_the_message(call: Call, saved: Save) -> None:
    options = ["-binary", "-outform", "DER", "-in", saved("message"), "-signer", saved("rsa"), "-nocerts"]
    signature = openssl("cms", "-sign", *options)
    assert call("cms_verify", signature, MESSAGE, STORE)[b"error"] == b"the certificate of a signer is missing"
    assert call("cms_verify", signature, MESSAGE, STORE | {"certs": [TWIN.pem, RSA.pem]})[b"result"] is True
    assert call("cms_verify", signature, MESSAGE, {"certs": [RSA.pem]})[b"result"] is True


def test_all_signatures_must_stand(call: Call, saved: Save) -> None:
    both = ["-signer", saved("rsa"), "-signer", saved("ec")]
    signature = openssl("cms", "-sign", "-binary", "-outform", "DER", "-in", saved("message"), *both)
    answer = call("cms_verify", signature, MESSAGE, STORE)
    assert answer[b"error"] == b"a signer's certificate is not trusted: unable to get local issuer certificate"
    assert call("cms_verify", signature, MESSAGE, STORE | {"certs": [MIDDLE.pem]})[b"result"] is True
    assert call("cms_verify", signature, MESSAGE, {"certs": [RSA.pem]})[b"result"] is False


@pytest.mark.parametrize("digest", ["sha1", "md5"])
def test_weak_digests(call: Call, saved: Save, digest: str) -> None:
    for more in ([], ["-noattr"]):
        options = ["-binary", "-outform", "DER", "-in", saved("message"), "-signer", saved("rsa"), "-md", digest, *more]
        answer = call("cms_verify", openssl("cms", "-sign", *options), MESSAGE, STORE)
        assert answer[b"error"].startswith(f"a signature's digest is {digest}, wanted sha224".encode())


# ------------------------------------------------------------ forged, altered, malformed


def resigned(change: Callable[[Any], Any], kind: str = "data") -> bytes:
    """A message whose signed attributes are changed, and signed then."""
    info = cms.ContentInfo.load(rsa_signed())
    signer = info["content"]["signer_infos"][0]
    attributes = cms.CMSAttributes(change(list(signer["signed_attrs"])))
    attributes.dump()
    signer["signed_attrs"] = attributes
    signer["signature"] = rsa_key().sign(emit(0, 1, 17, attributes.contents), PKCS1v15(), SHA256())
    info["content"]["encap_content_info"]["content_type"] = kind
    return bytes(info.dump(force=True))


def rsa_signed() -> bytes:
    return sign(MESSAGE, RSA.der, rsa_key(), [], "sha256", True)


def attribute(kind: str, *values: Any) -> Any:
    return cms.CMSAttribute({"type": kind, "values": list(values)})


def without(kind: str) -> Callable[[Any], Any]:
    return lambda items: [item for item in items if item["type"].native != kind]


ATTRIBUTES: list[tuple[Callable[[Any], Any], str, str | None]] = [
    (lambda items: items, "data", None),
    (lambda items: items[::-1], "data", None),
    (without("signing_time"), "data", None),
    (without("message_digest"), "data", "its attributes are not as they must be"),
    (without("content_type"), "data", "its attributes are not as they must be"),
    (lambda items: items * 2, "data", "its attributes are not as they must be"),
    (
        lambda items: [*without("message_digest")(items), attribute("message_digest", b"x" * 32)],
        "data",
        "a signature does not match the message",
    ),
    (
        lambda items: [*items, attribute("message_digest", b"x" * 32)],
        "data",
        "its attributes are not as they must be",
    ),
    (lambda items: items, "signed_data", "a signature does not match the message"),
]


@pytest.mark.parametrize(("change", "kind", "problem"), ATTRIBUTES)
def test_signed_attributes(call: Call, change: Callable[[Any], Any], kind: str, problem: str | None) -> None:
    answer = call("cms_verify", resigned(change, kind), MESSAGE, STORE)
    assert answer.get(b"error") == (None if problem is None else problem.encode())
    assert answer[b"result"] is (problem is None)


def test_content_without_attributes_is_plain_data(call: Call, saved: Save) -> None:
    options = ["-binary", "-outform", "DER", "-in", saved("message"), "-signer", saved("rsa"), "-noattr"]
    info = cms.ContentInfo.load(openssl("cms", "-sign", *options))
    info["content"]["encap_content_info"]["content_type"] = "signed_data"
    answer = call("cms_verify", info.dump(force=True), MESSAGE, STORE)
    assert answer[b"error"] == b"a signature lacks its signed attributes"


def test_no_signatures(call: Call) -> None:
    info = cms.ContentInfo.load(rsa_signed())
    info["content"]["signer_infos"] = cms.SignerInfos([])
    answer = call("cms_verify", info.dump(force=True), MESSAGE, STORE)
    assert answer == {b"result": False, b"error": b"it has 0 signatures, wanted 1 to 20"}


def test_too_many_signatures(call: Call) -> None:
    info = cms.ContentInfo.load(rsa_signed())
    signer = info["content"]["signer_infos"][0]
    for count, result in ((20, True), (21, False)):
        info["content"]["signer_infos"] = cms.SignerInfos([signer.copy() for _ in range(count)])
        assert call("cms_verify", info.dump(force=True), MESSAGE, STORE)[b"result"] is result


def test_a_detached_signature_needs_its_message(call: Call) -> None:
    answer = call("cms_verify", rsa_signed(), None, STORE)
    assert answer[b"error"] == b"the message is not in it: the signature is detached"


def test_a_message_beside_the_signature_counts(call: Call) -> None:
    signature = call("cms_sign", MESSAGE, RSA.both, {"detached": False})[b"data"]
    assert call("cms_verify", signature, MESSAGE, STORE, {"data": True})[b"data"] == MESSAGE
    assert call("cms_verify", signature, b"another", STORE)[b"result"] is False
    assert call("cms_verify", signature, b"another", STORE, {"detached": False, "data": True})[b"data"] == MESSAGE


MALFORMED: list[bytes] = [
    b"",
    b"\x00",
    b"\xff" * 100,
    b"text",
    b"\x30\x00",
    b"\x30\x80",
    b"\x30\x80\x00\x00",
    b"\x30\x80" * 1000,
    b"\x30\x80" * 5_000_000,
    b"\x30\x84\xff\xff\xff\xff",
    b"\x30\x85\x01\x00\x00\x00\x00",
    b"\x1f" + b"\xff" * 10_000_000,
    b"\x30\x84\x00\x98\x96\x80" + b"\x05\x00" * 5_000_000,
    b"-----BEGIN CMS-----\nMAA=\n-----END CMS-----\n",
    b"-----BEGIN CMS-----\n",
    b"x" * 10_000_000,
    RSA.der,
    RSA.pem,
    key_pem(rsa_key()),
]


@pytest.mark.parametrize("data", MALFORMED)
def test_malformed_messages(call: Call, data: bytes) -> None:
    for answer in (
        call("cms_verify", data, MESSAGE, STORE),
        call("cms_verify", data, None, STORE),
        call("cms_decrypt", data, RSA.both),
    ):
        assert answer.keys() == {b"result", b"error"}
        assert answer[b"result"] is False


def test_another_kind_of_message(call: Call) -> None:
    sealed = call("cms_encrypt", MESSAGE, {"certs": [RSA.pem]})[b"data"]
    assert call("cms_verify", sealed, MESSAGE, STORE)[b"error"] == b"it is no signed message"
    assert call("cms_decrypt", rsa_signed(), RSA.both)[b"error"] == b"it is no encrypted message"


def test_mangled_signatures(call: Call) -> None:
    """Every byte changed: only what a signature does not cover may go through, and then the signer is who signed."""
    signature = call("cms_sign", MESSAGE, EC.both, {"detached": False})[b"data"]
    trusted = {"store": [ROOT.pem], "certs": [MIDDLE.pem]}
    assert call("cms_verify", signature, None, trusted)[b"result"] is True
    for place in range(len(signature)):
        for bits in (0x01, 0x80):
            changed = signature[:place] + bytes([signature[place] ^ bits]) + signature[place + 1 :]
            answer = call("cms_verify", changed, None, trusted, {"data": True})
            if answer[b"result"]:
                assert answer[b"data"] == MESSAGE
                assert [item.der for item in answer[b"signers"]] == [EC.der]


@pytest.mark.parametrize("cipher", ["aes-128-cbc", "aes-128-gcm"])
@pytest.mark.parametrize("holder", [RSA, EC])
def test_mangled_envelopes(call: Call, cipher: str, holder: Holder) -> None:
    sealed = call("cms_encrypt", MESSAGE, {"certs": [holder.pem]}, {"cipher": cipher})[b"data"]
    for place in range(0, len(sealed), 3):
        changed = sealed[:place] + bytes([sealed[place] ^ 0x11]) + sealed[place + 1 :]
        answer = call("cms_decrypt", changed, holder.both)
        assert answer.keys() == {b"result", b"error"} or answer[b"result"] is True
        if cipher.endswith("gcm") and answer[b"result"]:
            assert answer[b"data"] == MESSAGE


def test_the_type_of_sealed_content_is_not_open_to_change(call: Call) -> None:
    """RFC 5083 section 2.1: for anything but plain data, authenticated attributes say the type."""
    info = cms.ContentInfo.load(call("cms_encrypt", MESSAGE, {"certs": [RSA.pem]}, {"cipher": "aes-256-gcm"})[b"data"])
    info["content"]["auth_encrypted_content_info"]["content_type"] = "signed_data"
    answer = call("cms_decrypt", info.dump(force=True), RSA.both)
    assert answer == {b"result": False, b"error": b"it cannot be decrypted with this key"}


@pytest.mark.parametrize("place", [10, 100, 500, 900])
def test_cut_off(call: Call, place: int) -> None:
    assert call("cms_verify", rsa_signed()[:place], MESSAGE, STORE)[b"error"] == b"it is cut off, or no CMS message"


# ------------------------------------------------------------ limits of BER

LIMITS: list[tuple[bytes, bool]] = [
    (b"\x05\x00", True),
    (b"\x05\x00rest", True),
    (b"\x30\x02\x05\x00", True),
    (b"\x30\x80\x05\x00\x00\x00", True),
    (b"\x24\x80\x04\x01x\x00\x00", True),
    (b"\x30\x82\x00\x02\x05\x00", True),
    (b"\x30\x80" * 63 + b"\x00\x00" * 63, True),
    (b"\x30\x80" * 64 + b"\x00\x00" * 64, False),
    (b"\x30\x80" + b"\x05\x00" * 199_999 + b"\x00\x00", True),
    (b"\x30\x80" + b"\x05\x00" * 200_000 + b"\x00\x00", False),
    (b"\x30", False),
    (b"\x30\x03\x05\x00", False),
    (b"\x30\x02\x05\x01", False),
    (b"\x30\x80\x05\x00", False),
    (b"\x04\x80\x00\x00", False),
    (b"\x30\x81", False),
    (b"\x30\xff", False),
    (b"\x3f\x81\x01\x00", False),
]


@pytest.mark.parametrize(("data", "good"), LIMITS)
def test_ber(data: bytes, good: bool) -> None:
    if good:
        check_ber(data)
    else:
        with pytest.raises(CMSError):
            check_ber(data)


# ------------------------------------------------------------ keys and arguments

NOBODY: list[tuple[Any, str]] = [
    (b"", "the private key cannot be read"),
    (b"no PEM", "the private key cannot be read"),
    (RSA.pem, "the private key cannot be read"),
    (RSA.key_pem, "the private key is of none of the certificates"),
    (RSA.pem + key_pem(rsa_key(2048, 1)), "the private key is of none of the certificates"),
    (EC.pem + RSA.key_pem, "the private key is of none of the certificates"),
    ({"x509": b"no certificate", "privatekey": RSA.key_pem}, "the private key is of none of the certificates"),
    ({"x509": RSA.pem, "privatekey": b"no key"}, "the private key cannot be read"),
    ({"x509": X509Resource(b"\xff"), "privatekey": RSA.key_pem}, "the private key is of none of the certificates"),
]


@pytest.mark.parametrize(("certificate", "problem"), NOBODY)
def test_whose_certificate_it_is(call: Call, certificate: Any, problem: str) -> None:
    failure = {b"result": False, b"error": problem.encode()}
    assert call("cms_sign", MESSAGE, certificate) == failure
    assert call("cms_decrypt", b"", certificate) == failure
    assert call("pkcs7_sign", MESSAGE, certificate) is None


def test_a_chain_that_cannot_be_read(call: Call) -> None:
    certificate = {"x509": RSA.pem, "privatekey": RSA.key_pem, "chain": [b"\x30\x00"]}
    assert call("cms_sign", MESSAGE, certificate)[b"result"] is False
    assert call("pkcs7_sign", MESSAGE, certificate) is None


def test_not_for_this_certificate(call: Call) -> None:
    sealed = call("cms_encrypt", MESSAGE, {"certs": [RSA.pem]})[b"data"]
    assert call("cms_decrypt", sealed, EC.both)[b"error"] == b"it is not encrypted for this certificate"
    wrong = call("cms_decrypt", sealed, TWIN.both)  # of the same issuer and serial number
    assert wrong == {b"result": False, b"error": b"it cannot be decrypted with this key"}
    p384 = Holder("p384", generate_ec(SECP384R1()), ROOT, serial=RSA.certificate.serial_number)
    wrong = call("cms_decrypt", sealed, p384.both)
    assert wrong[b"error"] == b"its key is encrypted in a way that is not known, or not for this kind of key"


@pytest.mark.parametrize("certificate", [b"", b"no certificate", b"\x30\x00", X509Resource(b"\xff" * 10)])
def test_recipients_that_cannot_be_read(call: Call, certificate: Any) -> None:
    answer = call("cms_encrypt", MESSAGE, {"certs": [RSA.pem, certificate]})
    assert answer[b"result"] is False
    assert answer[b"error"] in (b"a certificate cannot be read", b"it is no well-formed CMS message")


def test_a_recipient_whose_key_is_none(call: Call) -> None:
    modulus = rsa_key().public_key().public_numbers().n
    exponent = b"\x02\x03\x01\x00\x01"
    size = 256
    even = RSA.der.replace(modulus.to_bytes(size, "big") + exponent, (modulus - 1).to_bytes(size, "big") + exponent)
    larger = RSA.der.replace(exponent, b"\x02\x03\x01\x00\x00")
    for certificate in (even, larger):
        assert certificate != RSA.der
        answer = call("cms_encrypt", MESSAGE, {"certs": [certificate]})
        assert answer[b"result"] is False
        assert answer[b"error"] in (b"a certificate's key is none after all", b"a certificate cannot be read")


def test_an_odd_recipient(call: Call) -> None:
    """cryptography warns of a serial number below 1."""
    odd = Holder("odd", ec_key(), ROOT, serial=77).der.replace(b"\x02\x01\x4d", b"\x02\x01\xff", 1)
    sealed = call("cms_encrypt", MESSAGE, {"certs": [odd]})[b"data"]
    assert call("cms_decrypt", sealed, {"x509": odd, "privatekey": key_pem(ec_key())})[b"data"] == MESSAGE


PROFILE = r"keys of the product's configuration \(pki:X\) do not exist here; pass the PEM text"
WRONG: list[tuple[str, list[Any], str]] = [
    ("cms_sign", [b"", b"pki:1"], rf"cms_sign\(\): parameter 2 \(certificate\): {PROFILE}"),
    ("cms_sign", [b"", b"1", {"id": True}], rf"cms_sign\(\): parameter 2 \(certificate\): {PROFILE}"),
    ("pkcs7_sign", [b"", b"1", {"id": True}], rf"pkcs7_sign\(\): parameter 2 \(certificate\): {PROFILE}"),
    ("cms_decrypt", [b"", b"1", {"id": True}], rf"cms_decrypt\(\): parameter 2 \(certificate\): {PROFILE}"),
    ("cms_sign", [b"", {"x509": RSA.pem, "privatekey": b"pki:1"}], rf"option privatekey: {PROFILE}"),
    ("cms_sign", [b"", {}], "option privatekey: wanted a private key's resource or string, got none"),
    ("cms_sign", [b"", {"privatekey": RSA.key_pem}], "option x509: wanted an array of X509, got none in it"),
    ("cms_sign", [b"", {"privatekey": Resource("X")}], "wanted a private key's resource or string, got X"),
    ("cms_sign", [b"", {"privatekey": RSA.key_pem, "x509": RSA.pem, "chain": b"x"}], "option chain: wanted array"),
    (
        "cms_sign",
        [b"", RSA.both, {"digest": "sha1"}],
        "option digest: wanted sha256, sha224, sha384, sha512, got 'sha1'",
    ),
    ("cms_verify", [b"", b"", {}], r"parameter 3 \(certificates\): wanted an array with store or certs"),
    ("cms_verify", [b"", b"", {"store": b"x"}], "option store: wanted array, got string"),
    ("cms_verify", [b"", b"", {"certs": [1]}], "option certs: wanted an array of X509, got number in it"),
    ("cms_verify", [b"", None, STORE, {"detached": True}], "wanted string with a detached signature, got none"),
    ("cms_encrypt", [b"", {}], r"parameter 2 \(certificates\): wanted an array with certs"),
    ("cms_encrypt", [b"", {"certs": []}], r"parameter 2 \(certificates\): wanted an array with certs"),
    ("cms_encrypt", [b"", {"certs": [b"x"] * 1001}], "option certs: wanted at most 1000"),
    ("cms_encrypt", [b"", {"certs": [RSA.pem]}, {"cipher": "des"}], "option cipher: wanted aes-128-cbc, .*, got 'des'"),
    ("cms_decrypt", [b""], r"parameter 2 \(certificate\): wanted array or string, got none"),
]


@pytest.mark.parametrize(("name", "arguments", "message"), WRONG)
def test_wrong_arguments(call: Call, name: str, arguments: list[Any], message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        call(name, *arguments)


# ------------------------------------------------------------ mail

SMIME = """
    $signed = cms_sign($text, $owner, ["detached" => false]);
    $sealed = cms_encrypt($signed["data"], ["certs" => [X509::String($owner)->toResource()]]);
    $mail = MIME();
    $mail->addHeader("Content-Type", ''application/pkcs7-mime; smime-type=enveloped-data; name="smime.p7m"'');
    $mail->setBody($sealed["data"]);

    $body = MailMessage::String($mail->toString())->getBody();
    echo cms_type($body);
    $opened = cms_decrypt($body, $owner);
    echo $opened["cms"];
    $verified = cms_verify($opened["data"], none, ["store" => [$root]], ["data" => true]);
    foreach ($verified["signers"] as $signer) echo X509($signer)->subject();
    echo MailMessage::String($verified["data"])->getBody();
"""


def test_a_mail_there_and_back() -> None:
    assert printed(SMIME, text=MESSAGE, owner=RSA.both, root=ROOT.pem) == [
        "pkcs7-envelopedData",
        "signed",
        '[0=>[0=>"CN",1=>"rsa"]]',
        "Hello \\xff\x00 World\r\n",
    ]
