"""DKIM: the vectors of RFC 8463, opendkim both ways, and what must not verify."""

from __future__ import annotations

import asyncio
import re
import subprocess
from base64 import b64encode
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from dnstable import TableHost

from hsl import bridge
from hsl.errors import ScriptError
from hsl.library import dkimtext
from hsl.library.dkim import CHUNK, SIGNATURE, Message, Signature, Unverified, canonical_body, verify
from hsl.library.dkimtext import DKIMError, MailSignOptions, SignOptions, VerifyOptions
from hsl.run import Run
from hsl.values import Array, Function, Resource

NOW = 1_700_000_000.0
NAME = "mail._domainkey.example.com"
MakeRun = Callable[..., Run]

RFC8463 = (Path(__file__).parent.parent / "data" / "dkim" / "rfc8463.eml").read_bytes()
RFC8463_KEYS = {
    b"brisbane._domainkey.football.example.com": b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    b"test._domainkey.football.example.com": b"v=DKIM1; k=rsa; "
    b"p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W"
    b"91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
}
RFC8463_SECRET = b"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="

MAIL = (
    b"Received: from a.example\r\n\tby b.example\r\nFrom: Alice <alice@example.com>\r\nTo: bob@example.org\r\n"
    b"Subject: a folded\r\n  subject\t of  two lines \r\nDate: Fri, 11 Jul 2003 21:00:37 -0700\r\n"
    b"Message-ID: <1@example.com>\r\n\r\nHello   world \t\r\n\r\n.a dot\r\n\r\n \r\n\r\n"
)
MAILS = {
    "mail": MAIL,
    "no body": b"From: a@example.com\r\nSubject: x\r\n\r\n",
    "only headers": b"From: a@example.com\r\nSubject: x\r\n",
    "empty lines": b"From: a@example.com\r\nSubject: x\r\n\r\n\r\n\r\n",
    "8-bit": "From: ä@example.com\r\nSubject: Grüße\r\n\r\nGrüße\r\n".encode(),
    "empty header": b"From: a@example.com\r\nSubject:\r\nTo: \r\n\r\nx\r\n",
    "two of a kind": b"From: a@example.com\r\nTo: first@example.org\r\nTo: second@example.org\r\n\r\nx\r\n",
    "a long line": b"From: a@example.com\r\n\r\n" + b"x " * 400 + b"\r\n",
}


@cache
def rsa_key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


@cache
def ed25519_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


def pem(key: Any, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    text: bytes = key.private_bytes(Encoding.PEM, form, NoEncryption())
    return text


def record(key: Any) -> bytes:
    """The key record of a private key."""
    public = key.public_key()
    if isinstance(key, Ed25519PrivateKey):
        return b"v=DKIM1; k=ed25519; p=" + b64encode(public.public_bytes(Encoding.Raw, PublicFormat.Raw))
    return b"v=DKIM1; k=rsa; p=" + b64encode(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


KEYS: dict[bytes, Callable[[], Any]] = {b"rsa-sha256": rsa_key, b"ed25519-sha256": ed25519_key}


@pytest.fixture
def sign(make_run: MakeRun) -> Callable[..., bytes]:
    """Sign; the algorithm says with which key."""

    def sign(message: bytes = MAIL, key: Any = None, **options: Any) -> bytes:
        chosen = SignOptions(**options)
        key = pem(KEYS.get(chosen.algorithm, rsa_key)()) if key is None else key
        return dkimtext.sign(make_run(TableHost({}, NOW)), "sign", message, b"mail", b"example.com", key, chosen)

    return sign


def verdict(message: bytes, key: bytes | None = None, now: float = NOW, index: int = 0) -> str:
    """What becomes of a message's signature: pass, or the result and why."""
    parsed = Message(message)

    def find(name: bytes) -> bytes:
        assert name == NAME.encode()
        return record(rsa_key()) if key is None else key

    try:
        verify(parsed, Signature(parsed.named(SIGNATURE)[index]), find, now)
    except Unverified as error:
        return f"{error.result}: {error}"
    return "pass"


def verify_field(run: Run, message: bytes, field: bytes, **options: Any) -> dict[Any, Any]:
    """verifyDKIM for a script that can wait."""
    work = bridge.run_script(lambda: dkimtext.verify_field(run, "verify", message, field, VerifyOptions(**options)))
    return dict(asyncio.run(work).pairs())


def tags(field: bytes) -> dict[bytes, bytes]:
    return Signature(Message(field + b"\r\n").fields[0]).tags


@pytest.mark.parametrize("index", [0, 1])
def test_the_vectors_of_rfc_8463(index: int) -> None:
    message = Message(RFC8463)
    verify(message, Signature(message.named(SIGNATURE)[index]), RFC8463_KEYS.__getitem__, NOW)


def test_an_ed25519_signature_is_that_of_rfc_8463(make_run: MakeRun) -> None:
    """The fields are folded differently, but relaxed: the same tags in the same order give the same signature."""
    parsed = Message(RFC8463)
    wanted = Signature(parsed.named(SIGNATURE)[0])
    unsigned = RFC8463[RFC8463.index(b"From: Joe") :]
    field = dkimtext.sign(
        make_run(), "sign", unsigned, b"brisbane", b"football.example.com", RFC8463_SECRET,
        SignOptions(algorithm=b"ed25519-sha256", timestamp=1528637909.0, identity=b"@football.example.com"),
    )  # fmt: skip
    assert tags(field)[b"bh"] == wanted.tags[b"bh"]
    signed = Message(field + unsigned)
    verify(signed, Signature(signed.fields[0]), RFC8463_KEYS.__getitem__, NOW)


# Against another implementation: opendkim in its test mode, with key files.


@pytest.fixture(scope="module")
def opendkim(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Run opendkim on a message with the given configuration; what it says."""
    folder = tmp_path_factory.mktemp("opendkim")
    for name, key in KEYS.items():
        (folder / name.decode()).write_bytes(pem(key(), PrivateFormat.PKCS8))

    def run(message: bytes, **settings: str) -> str:
        (folder / "message").write_bytes(message)
        settings = {name: value.replace("FOLDER", str(folder)) for name, value in settings.items()}
        if "TestPublicKeys" in settings:
            (folder / "keys").write_text(f"{NAME} {settings['TestPublicKeys']}\n")
            settings["TestPublicKeys"] = str(folder / "keys")
        lines = [f"{name} {value}\n" for name, value in settings.items()]
        (folder / "conf").write_text("".join(["RequireSafeKeys no\n", *lines]))
        command = ["/usr/sbin/opendkim", "-x", str(folder / "conf"), "-t", str(folder / "message"), "-vvv"]
        done = subprocess.run(command, capture_output=True, timeout=20, check=True)
        return (done.stdout + done.stderr).decode()

    return run


CASES = [
    pytest.param(mail, header, body, algorithm, id=f"{mail}-{header}-{body}-{algorithm.decode()}")
    for mail in MAILS
    for header in ("simple", "relaxed")
    for body in ("simple", "relaxed")
    for algorithm in KEYS
    if (mail, header) != ("empty header", "simple")  # a milter does not see the spaces before a value
]
# It does not verify its own Ed25519 signatures of a simple header.
ITS_CASES = [case for case in CASES if case.values[1::2] != ("simple", b"ed25519-sha256")]


@pytest.mark.parametrize(("mail", "header", "body", "algorithm"), CASES)
def test_opendkim_verifies_what_is_signed(
    sign: Callable[..., bytes], opendkim: Callable[..., str], mail: str, header: str, body: str, algorithm: bytes
) -> None:
    message = MAILS[mail]
    field = sign(
        message,
        algorithm=algorithm,
        canonicalization_header=header.encode(),
        canonicalization_body=body.encode(),
        timestamp=True,
    )
    said = opendkim(field + message, Mode="v", TestPublicKeys=record(KEYS[algorithm]()).decode())
    assert "succeeded" in said, said


@pytest.mark.parametrize(("mail", "header", "body", "algorithm"), ITS_CASES)
def test_what_opendkim_signs_is_verified(
    opendkim: Callable[..., str], mail: str, header: str, body: str, algorithm: bytes
) -> None:
    message = MAILS[mail]
    said = opendkim(
        message, Mode="s", Domain="example.com", Selector="mail", KeyFile=f"FOLDER/{algorithm.decode()}",
        SignatureAlgorithm=algorithm.decode(), Canonicalization=f"{header}/{body}", OversignHeaders="From,Subject",
    )  # fmt: skip
    value = re.search(r"hname='DKIM-Signature' hvalue='([^']*)'", said)
    assert value is not None, said
    field = f"DKIM-Signature: {value[1]}\n".encode().replace(b"\n", b"\r\n")
    key = record(KEYS[algorithm]())
    assert verdict(field + message, key) == "pass"
    assert verdict(field + message.replace(b"From: ", b"From: x"), key).startswith("fail")


def test_opendkim_refuses_what_was_changed(sign: Callable[..., bytes], opendkim: Callable[..., str]) -> None:
    changed = sign() + MAIL.replace(b"Hello", b"Howdy")
    assert "succeeded" not in opendkim(changed, Mode="v", TestPublicKeys=record(rsa_key()).decode())


# What a signature covers.

TAMPERED = [
    ("the body", MAIL.replace(b"Hello", b"Howdy"), "fail: the body was changed"),
    ("a space more in the body", MAIL.replace(b"Hello   ", b"Hello     "), "pass"),
    ("no space in the body", MAIL.replace(b"Hello   ", b"Hello"), "fail: the body was changed"),
    (
        "the subject",
        MAIL.replace(b"a folded", b"an unfolded"),
        "fail: the signature does not match the header and the key",
    ),
    ("the subject's folding", MAIL.replace(b"folded\r\n  subject", b"folded subject"), "pass"),
    ("the case of a name", MAIL.replace(b"Subject:", b"SUBJECT :"), "pass"),
    ("a Received above", b"Received: from c.example\r\n" + MAIL, "pass"),
    ("a second From", b"From: eve@example.com\r\n" + MAIL, "fail: the signature does not match the header and the key"),
    ("a second To above", b"To: eve@example.com\r\n" + MAIL, "pass"),
    ("empty lines more", MAIL + b"\r\n\r\n", "pass"),
    ("text more", MAIL + b"more\r\n", "fail: the body was changed"),
    ("only LF", MAIL.replace(b"\r\n", b"\n"), "pass"),
]


@pytest.mark.parametrize(("message", "wanted"), [case[1:] for case in TAMPERED], ids=[case[0] for case in TAMPERED])
def test_tampering(sign: Callable[..., bytes], message: bytes, wanted: str) -> None:
    field = sign()
    if b"\r\n" not in message:
        field = field.replace(b"\r\n", b"\n")
    assert verdict(field + message) == wanted


def test_a_signature_is_folded_and_complete(sign: Callable[..., bytes]) -> None:
    field = sign(additional_headers=Array.of([b"x-a"] * 1), timestamp=True, expiration_relative=3600.0)
    assert field.startswith(b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=mail;\r\n")
    assert field.endswith(b"\r\n")
    assert all(len(line) <= 78 for line in field.split(b"\r\n"))
    found = tags(field)
    assert list(found) == [b"v", b"a", b"c", b"d", b"s", b"t", b"x", b"h", b"bh", b"b"]
    assert (found[b"t"], found[b"x"]) == (b"1700000000", b"1700003600")


NAMES = [
    ({}, "from:to:subject:date:message-id:from"),
    ({"oversign_headers": []}, "from:to:subject:date:message-id"),
    ({"oversign_headers": ["From", "Reply-To"]}, "from:to:subject:date:message-id:from:reply-to"),
    ({"headers": ["FROM", "subject"]}, "from:subject:from"),
    ({"headers": ["from"], "additional_headers": ["Received"]}, "received:from:from"),
    ({"headers": ["from", "x-none"]}, "from:from"),
]


@pytest.mark.parametrize(("options", "wanted"), NAMES)
def test_which_headers_are_signed(sign: Callable[..., bytes], options: dict[str, list[str]], wanted: str) -> None:
    arrays = {name: Array.of(item.encode() for item in items) for name, items in options.items()}
    field = sign(**arrays)
    assert b"".join(tags(field)[b"h"].split()).decode() == wanted
    assert verdict(field + MAIL) == "pass"


def test_many_names_are_folded(sign: Callable[..., bytes]) -> None:
    mail = b"".join(b"X-Long-Header-Name-%d: x\r\n" % number for number in range(100)) + MAIL
    names = Array.of(b"x-long-header-name-%d" % number for number in range(100))
    field = sign(mail, additional_headers=names)
    assert all(len(line) <= 78 for line in field.split(b"\r\n"))
    assert verdict(field + mail) == "pass"


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_the_forms_of_an_rsa_key(sign: Callable[..., bytes], form: PrivateFormat) -> None:
    assert verdict(sign(key=pem(rsa_key(), form)) + MAIL) == "pass"


class KeyResource(Resource):
    """A key as the cryptographic functions give it."""

    def __init__(self, key: Any) -> None:
        super().__init__("PrivateKey")
        self.key = key


def test_a_key_resource(sign: Callable[..., bytes]) -> None:
    assert verdict(sign(key=KeyResource(rsa_key())) + MAIL) == "pass"
    field = sign(key=KeyResource(ed25519_key()), algorithm=b"ed25519-sha256")
    assert verdict(field + MAIL, record(ed25519_key())) == "pass"


BAD_KEYS = [
    (b"", "wanted an RSA private key"),
    (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "wanted an RSA private key"),
    (b"pki:1", "pass the key's PEM text"),
    (None, "wanted resource or string, got none"),
    (Resource("X509"), "wanted an RSA private key"),
    (lambda: pem(generate_ec(SECP256R1())), "wanted an RSA private key"),
    (lambda: pem(ed25519_key()), "wanted an RSA private key"),
    (RFC8463_SECRET, "wanted an RSA private key"),
]


@pytest.mark.parametrize(("key", "wanted"), BAD_KEYS)
def test_bad_keys(make_run: MakeRun, key: Any, wanted: str) -> None:
    given = key() if callable(key) else key
    with pytest.raises(ScriptError, match=wanted):
        dkimtext.sign(make_run(), "sign", MAIL, b"mail", b"example.com", given, SignOptions())


BAD_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"algorithm": b"rsa-md5"}, "option algorithm"),
    ({"canonicalization_header": b"strict"}, "option canonicalization_header: wanted simple or relaxed"),
    ({"canonicalization_body": b""}, "option canonicalization_body: wanted simple or relaxed"),
    ({"headers": Array.of([b"from", 1.0])}, "option headers: wanted names of headers"),
    ({"headers": Array.of([b"from", b"a:b"])}, "option headers: wanted names of headers"),
    ({"additional_headers": Array.of([b"a;b=c"])}, "option additional_headers: wanted names of headers"),
    ({"oversign_headers": Array.of([b"x\r\ny"])}, "option oversign_headers: wanted names of headers"),
    ({"additional_headers": Array.of([b"x"] * 1001)}, "wanted at most 1000 names"),
    ({"expiration": NOW}, "option expiration: wanted a time after the timestamp"),
    ({"expiration": float("inf")}, "option expiration: wanted seconds"),
    ({"timestamp": -1.0}, "option timestamp: wanted seconds"),
    ({"expiration_relative": -5.0}, "option expiration_relative: wanted seconds"),
    ({"identity": b"user"}, "option identity: wanted an address of the domain"),
    ({"identity": b"user@example.org"}, "option identity: wanted an address of the domain"),
    ({"identity": b"user@notexample.com"}, "option identity: wanted an address of the domain"),
    ({"id": True}, "option id: keys of the product's configuration"),
]


@pytest.mark.parametrize(("options", "wanted"), BAD_OPTIONS)
def test_bad_options(sign: Callable[..., bytes], options: dict[str, Any], wanted: str) -> None:
    with pytest.raises(ScriptError, match=wanted):
        sign(**options)


@pytest.mark.parametrize(
    ("selector", "domain"), [(b"", b"example.com"), (b"a;b", b"c"), (b"a", b""), (b"a", b"b\r\nc")]
)
def test_bad_names(make_run: MakeRun, selector: bytes, domain: bytes) -> None:
    with pytest.raises(ScriptError, match="wanted a domain name"):
        dkimtext.sign(make_run(), "sign", MAIL, selector, domain, pem(rsa_key()), SignOptions())


@pytest.mark.parametrize(
    ("message", "options"),
    [
        (b"", {}),
        (b"Subject: x\r\n\r\nx", {}),
        (b"\r\nFrom: a@b.example", {}),
        (MAIL, {"headers": Array.of([b"to"]), "oversign_headers": Array()}),
    ],
)
def test_a_message_without_a_signed_from_cannot_be_signed(
    sign: Callable[..., bytes], message: bytes, options: dict[str, Any]
) -> None:
    with pytest.raises(DKIMError, match="From header"):
        sign(message, **options)


def test_utf8_names_are_encoded(make_run: MakeRun) -> None:
    field = dkimtext.sign(make_run(), "sign", MAIL, b"mail", "bücher.example".encode(), pem(rsa_key()), SignOptions())
    assert tags(field)[b"d"] == b"xn--bcher-kva.example"


def test_an_identity_is_quoted(sign: Callable[..., bytes]) -> None:
    field = sign(identity=b"a;b=c d@sub.example.com")
    assert tags(field)[b"i"] == b"a=3Bb=3Dc=20d@sub.example.com"
    assert verdict(field + MAIL) == "pass"
    assert verdict(field + MAIL, record(rsa_key()) + b"; t=y:s").startswith("permerror: the key does not allow i=")


# ARC


def sign_arc(run: Run, identity: bytes | None) -> bytes:
    options = MailSignOptions(arc=True, identity=identity)
    return dkimtext.sign(run, "sign", MAIL, b"mail", b"example.com", pem(rsa_key()), options)


def test_an_arc_message_signature(make_run: MakeRun) -> None:
    field = sign_arc(make_run(), b"2")
    assert field.startswith(b"ARC-Message-Signature: i=2; a=rsa-sha256;")
    assert b"v" not in tags(field)
    host = TableHost({(NAME, "TXT"): [record(rsa_key())]})
    assert verify_field(make_run(host), field + MAIL, field)[b"result"] == b"pass"


@pytest.mark.parametrize("instance", [None, b"", b"0", b"51", b"1x", b"a@example.com"])
def test_a_bad_arc_instance(make_run: MakeRun, instance: bytes | None) -> None:
    with pytest.raises(ScriptError, match="wanted the instance of ARC"):
        sign_arc(make_run(), instance)


# Verifying

BAD_RECORDS = [
    (b"", "permerror: the key record has no key"),
    (b"v=DKIM1; p=", "permerror: the key is revoked"),
    (b"v=DKIM1; k=rsa", "permerror: the key record has no key"),
    (b"v=DKIM2; p=x", "permerror: the key record's version is not DKIM1"),
    (b"p=x; v=DKIM1", "permerror: the key record's version is not DKIM1"),
    (b"v=DKIM1; p=AAAA", "permerror: the key in the key record cannot be read"),
    (b"v=DKIM1; p=%%%", "permerror: p= is not Base64"),
    (b"v=DKIM1; p=AAAA; p=AAAA", "permerror: the key record cannot be read: the tag p is there twice"),
    (b"gibberish", "permerror: the key record cannot be read: a part is no tag"),
    (b"\xff\x00", "permerror: the key record cannot be read: a part is no tag"),
]
BAD_TAGS = [
    (b"; h=sha1", "permerror: the key record does not allow the hash algorithm"),
    (b"; h=sha1:sha256", "pass"),
    (b"; s=tlsrpt", "permerror: the key is not for mail"),
    (b"; s=other:email", "pass"),
    (b"; s=*", "pass"),
    (b"; t=y", "pass"),
    (b"; t=s", "pass"),
    (b"; n=a note; x_unknown=1", "pass"),
]


@pytest.mark.parametrize(("key", "wanted"), BAD_RECORDS)
def test_bad_key_records(sign: Callable[..., bytes], key: bytes, wanted: str) -> None:
    assert verdict(sign() + MAIL, key) == wanted


@pytest.mark.parametrize(("more", "wanted"), BAD_TAGS)
def test_tags_of_key_records(sign: Callable[..., bytes], more: bytes, wanted: str) -> None:
    assert verdict(sign() + MAIL, record(rsa_key()) + more) == wanted


def test_wrong_keys(sign: Callable[..., bytes]) -> None:
    field = sign()
    other = generate_private_key(65537, 1024)
    assert verdict(field + MAIL, record(other)) == "fail: the signature does not match the header and the key"
    kind = "permerror: the key is of another kind than the signature"
    assert verdict(field + MAIL, record(ed25519_key())) == kind
    assert verdict(field + MAIL, record(generate_ec(SECP256R1())).replace(b"k=rsa", b"k=rsa")) == kind


def test_a_short_key_is_refused(sign: Callable[..., bytes], make_run: MakeRun) -> None:
    short = Path(__file__).parent.parent / "data" / "dkim" / "rsa768.pem"
    with pytest.raises(DKIMError, match="less than 1024 bits"):
        sign(key=short.read_bytes())
    public = (short.parent / "rsa768.record").read_bytes().strip()
    assert verdict(sign() + MAIL, public) == "permerror: the key has 768 bits, wanted 1024 to 8192"


def change(field: bytes, name: bytes, value: bytes | None) -> bytes:
    """A signature with one tag changed, added or left out; its own hash is then wrong."""
    found = tags(field)
    found.pop(name) if value is None else found.__setitem__(name, value)
    return b"DKIM-Signature: " + b"; ".join(tag + b"=" + text for tag, text in found.items()) + b"\r\n"


BAD_SIGNATURES = [
    *[(name, None, f"permerror: the tag {name.decode()}= is missing") for name in b"v a b bh d h s".split()],
    (b"v", b"2", "permerror: the version is not 1"),
    (b"a", b"rsa-md5", "permerror: the algorithm is unknown"),
    (b"a", b"rsa-sha1", "permerror: rsa-sha1 is not to be trusted (RFC 8301)"),
    (b"b", b"!!!", "permerror: b= is not Base64"),
    (b"bh", b"abc", "permerror: bh= is not Base64"),
    (b"c", b"strict", "permerror: c= is unknown"),
    (b"c", b"relaxed/", "fail: the body was changed"),
    (b"d", b"a/b", "permerror: d= or s= is no name"),
    (b"s", b"..", "permerror: d= or s= is no name"),
    (b"h", b"to:subject", "permerror: the field From is not signed"),
    (b"i", b"user@example.org", "permerror: i= is not of the domain d="),
    (b"i", b"example.com", "permerror: i= is not of the domain d="),
    (b"l", b"x", "permerror: l= is no number"),
    (b"l", b"100000", "permerror: l= is more than the body has"),
    (b"q", b"x509", "permerror: the key is not to be had from the DNS"),
    (b"q", b"x509:dns/txt", "fail: the signature does not match the header and the key"),
    (b"x", b"1699999999", "permerror: the signature has expired"),
    (b"x", b"soon", "permerror: x= is no number"),
    (b"t", b"soon", "permerror: t= is no number"),
    (b"h", b"from:to:subject", "fail: the signature does not match the header and the key"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "wanted"), BAD_SIGNATURES)
def test_bad_signatures(sign: Callable[..., bytes], name: bytes, value: bytes | None, wanted: str) -> None:
    assert verdict(change(sign(), name, value) + MAIL) == wanted


def test_an_expiration_has_its_hour(sign: Callable[..., bytes]) -> None:
    field = sign(timestamp=True, expiration_relative=60.0)
    assert verdict(field + MAIL, now=NOW + 60) == "pass"
    assert verdict(field + MAIL, now=NOW + 61) == "permerror: the signature has expired"


def test_only_so_much_of_the_body_is_covered() -> None:
    """A signature with l= made by hand: what is behind its length may change."""
    import hashlib

    from hsl.library.dkim import make_signature
    from hsl.mime.fields import Field

    mail = b"From: a@example.com\r\n\r\nHello\r\n"
    digest = b64encode(hashlib.sha256(b"Hello\r\n").digest())
    value = b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed; d=example.com; s=mail; h=from; l=7; bh=" + digest + b"; b="
    hashed = Message(mail).header_digest("sha256", True, [b"from"], Field(b"dkim-signature", value + b"\r\n"))
    field = value + b64encode(make_signature(rsa_key(), "sha256", hashed)) + b"\r\n"
    assert verdict(field + mail) == "pass"
    assert verdict(field + mail + b"more\r\n") == "pass"
    assert verdict(field + mail.replace(b"Hello", b"Howdy")) == "fail: the body was changed"


def test_several_signatures(sign: Callable[..., bytes], make_run: MakeRun) -> None:
    """Each is verified for itself; one does not cover the other, unless it says so."""
    first = sign()
    second = sign(first + MAIL, algorithm=b"ed25519-sha256", additional_headers=Array.of([b"dkim-signature"]))
    message = second + first + MAIL
    assert verdict(message, record(ed25519_key()), index=0) == "pass"
    assert verdict(message, index=1) == "pass"
    assert verdict(second + MAIL, record(ed25519_key()), index=0).startswith("fail")
    host = TableHost({(NAME, "TXT"): [record(rsa_key())]})
    run = make_run(host)
    found = asyncio.run(bridge.run_script(lambda: dkimtext.verify_all(run, "verify", message, VerifyOptions())))
    assert [item.get(b"result") for item in found.values()] == [b"permerror", b"pass"]


# verifyDKIM: where the key comes from

ANSWERS: list[tuple[Any, bytes, bytes]] = [
    ([b"KEY"], b"pass", b""),
    ([b"unrelated text", b"KEY"], b"pass", b""),
    ([], b"permerror", b"there is no key record"),
    ("NXDOMAIN", b"permerror", b"there is no key record"),
    ("TIMEOUT", b"temperror", b"the key record could not be had: TIMEOUT"),
    ("SERVFAIL", b"temperror", b"the key record could not be had: SERVFAIL"),
    ([b"KEY", b"KEY"], b"permerror", b"there are several key records"),
]


@pytest.mark.parametrize(("answer", "result", "error"), ANSWERS)
def test_the_key_comes_from_the_dns(
    sign: Callable[..., bytes], make_run: MakeRun, answer: Any, result: bytes, error: bytes
) -> None:
    records = answer if isinstance(answer, str) else [item.replace(b"KEY", record(rsa_key())) for item in answer]
    host = TableHost({(NAME, "TXT"): records}, NOW)
    field = sign()
    found = verify_field(make_run(host), field + MAIL, field, timeout=2.0)
    assert found[b"result"] == result
    assert found.get(b"error", b"") == error
    assert found[b"tags"].get(b"d") == b"example.com"
    assert host.dns.waits == [(2.0, ())]


@pytest.mark.parametrize("field", [b"", b"no field", b"Subject: x", b"DKIM-Signature: x", b"DKIM-Signature: a=b; a=c"])
def test_what_is_no_signature_is_a_permanent_error_without_tags(make_run: MakeRun, field: bytes) -> None:
    found = verify_field(make_run(TableHost({})), MAIL, field)
    assert found[b"result"] == b"permerror"
    assert found[b"error"]
    assert b"tags" not in found


def test_a_changed_message_is_a_permanent_error(sign: Callable[..., bytes], make_run: MakeRun) -> None:
    field = sign()
    host = TableHost({(NAME, "TXT"): [record(rsa_key())]})
    found = verify_field(make_run(host), field + MAIL + b"more", field)
    assert (found[b"result"], found[b"error"]) == (b"permerror", b"the body was changed")


class Answer(Function):
    """A dns_function of the script that gives one answer."""

    def __init__(self, answer: Any) -> None:
        super().__init__("dns_function")
        self.answer = answer
        self.asked: list[Any] = []

    def call(self, run: object, arguments: list[Any]) -> Any:
        self.asked += arguments
        return Array.from_pairs(self.answer.items()) if isinstance(self.answer, dict) else self.answer


OWN: list[tuple[Any, bytes]] = [
    ({b"error": b"permerror"}, b"permerror"),
    ({b"error": b"temperror"}, b"temperror"),
    ({b"result": b""}, b"permerror"),
    ({b"result": b"v=DKIM1; p="}, b"permerror"),
]


def test_the_key_comes_from_the_script(sign: Callable[..., bytes], make_run: MakeRun) -> None:
    field = sign()
    own = Answer({b"result": record(rsa_key())})
    assert verify_field(make_run(), field + MAIL, field, dns_function=own)[b"result"] == b"pass"
    assert own.asked == [NAME.encode()]


@pytest.mark.parametrize(("answer", "result"), OWN)
def test_the_script_has_no_key(sign: Callable[..., bytes], make_run: MakeRun, answer: Any, result: bytes) -> None:
    field = sign()
    found = verify_field(make_run(), field + MAIL, field, dns_function=Answer(answer))
    assert found[b"result"] == result
    assert found[b"error"]


@pytest.mark.parametrize("answer", [None, b"p=x", {}, {b"error": b"x"}, {b"result": 1.0}])
def test_a_wrong_answer_of_the_script_is_an_error(sign: Callable[..., bytes], make_run: MakeRun, answer: Any) -> None:
    field = sign()
    with pytest.raises(ScriptError, match="option dns_function: wanted an array with a result"):
        verify_field(make_run(), field + MAIL, field, dns_function=Answer(answer))


# Size and hostility


@pytest.mark.parametrize("relaxed", [True, False])
@pytest.mark.parametrize(
    "body",
    [
        b"last",
        b" last \t",
        b"",
        b"\r\n",
        b" ",
        b"word  \tword \r\n" * 60_000,
        b" " * 2 * CHUNK + b"x",
        b" \r\n" * CHUNK + b"x",
        b"\r\n" * CHUNK,
        b"x" * 3 * CHUNK,
    ],
    ids=[
        "no line end",
        "space at the end",
        "nothing",
        "an empty line",
        "a space",
        "text",
        "spaces",
        "lines of spaces",
        "line ends",
        "one line",
    ],
)
def test_pieces_make_no_difference(body: bytes, relaxed: bool) -> None:
    """The canonical body by the letter of the RFC, at once."""
    lines = body.split(b"\r\n")
    if relaxed:
        lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    wanted = b"\r\n".join(lines) + b"\r\n" if lines or not relaxed else b""
    assert b"".join(canonical_body(body, relaxed)) == wanted


HOSTILE = [
    b"From: a@example.com\r\n\r\n" + b" " * 10_000_000 + b"x",
    b"From: a@example.com\r\n\r\n" + b" \r\n" * 3_000_000 + b"x",
    b"From: a@example.com\r\n\r\n" + b"\r" * 3_000_000,
    b"From: a@example.com\r\nX: " + b" \t" * 3_000_000 + b"x\r\n\r\n",
    b"From: a@example.com\r\n" + b"X: y\r\n" * 300_000 + b"\r\n",
    b"From: a@example.com\r\nX: y\r\n" + b" z\r\n" * 1_000_000 + b"\r\n",
]


@pytest.mark.parametrize("message", HOSTILE, ids=["spaces", "lines", "CR", "header", "fields", "folds"])
def test_large_messages_are_signed_and_verified_at_once(sign: Callable[..., bytes], message: bytes) -> None:
    field = sign(message, additional_headers=Array.of([b"x"]))
    assert verdict(field + message) == "pass"


def test_a_long_body_gives_others_their_turns(sign: Callable[..., bytes]) -> None:
    turns: list[None] = []
    message = Message(sign() + MAIL + b"x\r\n" * CHUNK, lambda: turns.append(None))
    message.body_digest("sha256", True)
    assert len(turns) > 2
    message.body_digest("sha256", True)  # kept
    assert len(turns) < 6


def test_many_fields_are_read_with_pauses() -> None:
    pauses: list[int] = []
    message = Message(b"a:\r\n" * 50_000 + b"b: x\r\n\r\nbody", lambda: pauses.append(1))
    assert (len(message.fields), len(message.named(b"b")), message.body, len(pauses)) == (50_001, 1, b"body", 5)
