"""X509 and X509CRL: fields as openssl prints them; chains that are good, expired, of another authority, revoked."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from loopback import run_script
from pki import DAY, NOW, Holder, accepts, ed25519_key, evaluated, openssl, printed, rsa_key
from snippets import load

from hsl.errors import ScriptError
from hsl.library.certificates import X509Resource
from hsl.library.tls import x509_object, x509_resource
from hsl.run import Run
from hsl.runtime.plainhost import PlainHost
from hsl.values import Array, Resource


class Clock:
    """A host at another time."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def time(self) -> float:
        return self.moment.timestamp()


def names(*pairs: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs])


OID = x509.NameOID
NAMES = names(
    (OID.COUNTRY_NAME, "SE"),
    (OID.STATE_OR_PROVINCE_NAME, "Västra Götaland"),
    (OID.LOCALITY_NAME, "Göteborg"),
    (OID.ORGANIZATION_NAME, "Example, Inc."),
    (OID.ORGANIZATIONAL_UNIT_NAME, "Mail"),
    (OID.ORGANIZATIONAL_UNIT_NAME, "Tests"),
    (OID.COMMON_NAME, "例え"),
    (OID.EMAIL_ADDRESS, "postmaster@example.org"),
    (OID.DOMAIN_COMPONENT, "org"),
    (OID.USER_ID, "u1"),
    (OID.SERIAL_NUMBER, "12"),
    (OID.GIVEN_NAME, "A"),
    (OID.SURNAME, "B"),
    (OID.TITLE, "C"),
    (x509.ObjectIdentifier("1.2.3.4.5"), "unknown"),
)
HOSTS = x509.SubjectAlternativeName(
    [
        x509.DNSName("example.org"),
        x509.DNSName("*.Example.org"),
        x509.DNSName("xn--mnchen-3ya.de"),
        x509.RFC822Name("me@example.org"),
        x509.UniformResourceIdentifier("https://example.org/"),
    ]
)


class Named(Holder):
    """A certificate of that name."""

    def __init__(self, key: Any) -> None:
        super().__init__("x", key, serial=0xABC, extensions=[(HOSTS, False)])
        builder = x509.CertificateBuilder().subject_name(NAMES).issuer_name(self.name).public_key(key.public_key())
        builder = (
            builder.serial_number(0xABC).not_valid_before(datetime(2020, 1, 2)).not_valid_after(datetime(2050, 1, 1))
        )
        self.certificate = builder.add_extension(HOSTS, True).sign(key, x509_hash(key))


def x509_hash(key: Any) -> Any:
    from cryptography.hazmat.primitives.hashes import SHA256

    return SHA256() if key is not ed25519_key() else None


@pytest.fixture(scope="module", params=["rsa", "ed25519"])
def named(request: pytest.FixtureRequest) -> Named:
    return Named(rsa_key() if request.param == "rsa" else ed25519_key())


# ------------------------------------------------------------ fields


def test_names_as_openssl_prints_them(named: Named) -> None:
    text = openssl("x509", "-noout", "-subject", "-nameopt", "sep_multiline,utf8,sname", data=named.pem).decode()
    wanted = re.findall(r"^    ([\w.]+)=(.*)$", text, re.MULTILINE)
    script = 'foreach (X509::String($pem)->subject() as $field) echo $field[0] . "=" . $field[1];'
    assert printed(script, pem=named.pem) == [f"{name}={value}" for name, value in wanted]
    assert len(wanted) == len(NAMES)
    assert printed("echo X509::String($pem)->issuer();", pem=named.pem) == ['[0=>[0=>"CN",1=>"x"]]']


FIELDS = [
    ("subject_alt_name()", '[0=>"example.org",1=>"*.Example.org",2=>"xn--mnchen-3ya.de"]'),
    ("version()", "3"),
    ("serial_number()", "0ABC"),
    ("not_valid_before()", "1577923200"),
    ("not_valid_after()", "2524608000"),
    ('extensions(["oid" => "subjectAltName"])[0]["critical"]', "true"),
    ('extensions(["oid" => "2.5.29.17"])[0]["name"]', "subjectAltName"),
    ('extensions(["oid" => "keyUsage"])', "[]"),
    ("toResource()", "X509Resource"),
]


@pytest.mark.parametrize(("field", "wanted"), FIELDS)
def test_fields(named: Named, field: str, wanted: str) -> None:
    for data in (named.pem, named.der):
        assert printed(f"echo X509::String($data)->{field};", data=data) == [wanted]
    script = f"echo X509(X509::String($data)->toResource())->{field};"
    assert printed(script, data=named.der) == [wanted]


def test_exports(named: Named) -> None:
    assert evaluated("X509::String($pem)->export()", pem=named.pem) == named.der
    assert evaluated('X509::String($der)->export(["pem" => true])', der=named.der) == named.pem
    key = openssl("x509", "-noout", "-pubkey", data=named.pem)
    assert evaluated('X509::String($pem)->public_key(["pem" => true])', pem=named.pem) == key
    der = openssl("pkey", "-pubin", "-outform", "DER", data=key)
    assert evaluated("X509::String($pem)->public_key()", pem=named.pem) == der


def test_fingerprint(named: Named) -> None:
    text = openssl("x509", "-noout", "-fingerprint", "-sha256", data=named.pem).decode()
    wanted = text.split("=")[1].replace(":", "").strip().lower()
    assert printed("echo sha2(X509::String($pem)->export(), 256);", pem=named.pem) == [wanted]


def test_extensions_are_der(named: Named) -> None:
    found = evaluated('X509::String($pem)->extensions()[0]["value"]', pem=named.pem)
    assert found == HOSTS.public_bytes()


def test_a_key_of_an_unknown_kind() -> None:
    der = Holder("x").der.replace(bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d0209"))
    key = evaluated("X509::String($der)->public_key()", der=der)
    assert key in der
    assert printed("echo X509::String($der)->subject();", der=der) == ['[0=>[0=>"CN",1=>"x"]]']


def test_an_old_certificate_without_extensions(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(Holder("x").key_pem)
    request = openssl("req", "-new", "-key", tmp_path / "key", "-subj", "/CN=old")
    pem = openssl("x509", "-req", "-signkey", tmp_path / "key", "-days", "1", data=request)
    script = "$x = X509::String($pem); echo $x->version(); echo $x->subject_alt_name(); echo $x->extensions();"
    assert printed(script, pem=pem) == ["1", "[]", "[]"]


def test_what_others_hand_over(named: Named) -> None:
    script = "echo $object->serial_number(); echo X509($resource)->serial_number();"
    assert printed(script, object=x509_object(named.der), resource=x509_resource(named.der)) == ["0ABC", "0ABC"]


UNREAD: list[bytes] = [
    b"",
    b"\x00",
    b"\xff" * 1000,
    b"x" * 10_000_000,
    b"\x30\x84" * 5_000_000,
    b"-----BEGIN %s-----\nMAA=\n-----END %s-----\n",
]
MISSING: list[bytes] = [
    b"-----BEGIN %s-----\n",
    b"-----BEGIN %s-----\n" * 100_000,
    b"-----BEGIN %s-----\n%%\n-----END %s-----\n",
    b"-----BEGIN %s-----\n-----END %s-----\n" + b"x" * 5_000_000,
    b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
]


@pytest.mark.parametrize(
    ("name", "label", "what"),
    [("X509", b"CERTIFICATE", "the certificate"), ("X509CRL", b"X509 CRL", "the revocation list")],
)
def test_bad_data(name: str, label: bytes, what: str) -> None:
    for data in UNREAD:
        with pytest.raises(ScriptError, match=rf"{name}::String\(\): {what} cannot be read"):
            printed(f"{name}::String($data);", data=data.replace(b"%s", label))
    for data in MISSING:
        with pytest.raises(ScriptError, match=rf"parameter 1 \(data\): there is no {label.decode()} in the PEM text"):
            printed(f"{name}::String($data);", data=data.replace(b"%s", label))
    with pytest.raises(ScriptError, match="wanted at most 16777216 bytes, got 20000000"):
        printed(f"{name}::String($data);", data=b"x" * 20_000_000)


def test_a_form_that_is_demanded() -> None:
    pem, der = Holder("x").pem, Holder("x").der
    assert printed('echo X509::String($pem, ["pem" => true]);', pem=pem) == ["X509"]
    assert printed('echo X509::String($der, ["pem" => false]);', der=der) == ["X509"]
    with pytest.raises(ScriptError, match="the certificate cannot be read"):
        printed('X509::String($pem, ["pem" => false]);', pem=pem)
    with pytest.raises(ScriptError, match="there is no CERTIFICATE in the PEM text"):
        printed('X509::String($der, ["pem" => true]);', der=der)


FIELD_NAMES = "subject issuer subject_alt_name version serial_number not_valid_before not_valid_after extensions"


@pytest.mark.parametrize("field", [*FIELD_NAMES.split(), "public_key"])
@pytest.mark.parametrize("der", [b"", b"\xff" * 100, b"\x30\x03\x02\x01\x01"])
def test_fields_of_what_is_none(field: str, der: bytes) -> None:
    with pytest.raises(ScriptError, match=rf"X509->{field}\(\): the certificate cannot be read"):
        printed(f"X509($resource)->{field}();", resource=X509Resource(der))


def test_mangled_certificates() -> None:
    """Every byte of a certificate changed: only ScriptErrors come out."""
    der = Named(ed25519_key()).der
    script = "try { $x = X509($resource); %s } catch ($e) { echo 'no'; }"
    calls = " ".join(f"$x->{name}();" for name in (*FIELD_NAMES.split(), "public_key", "export"))
    program = load((script % calls).replace("'no'", '"no"'))
    for place in range(len(der)):
        run = Run(program, output=lambda line: None)
        run.set_variable("resource", X509Resource(der[:place] + bytes([der[place] ^ 0x55]) + der[place + 1 :]))
        run.execute()
        assert run.halt is None


@pytest.mark.parametrize("name", ["X509", "X509CRL"])
def test_resources_of_other_kinds(name: str) -> None:
    with pytest.raises(ScriptError, match=rf"{name}\(\): parameter 1 .*: wanted an {name}Resource, got a Socket"):
        printed(f"{name}($resource);", resource=Resource("Socket"))
    with pytest.raises(ScriptError, match="wanted resource, got string"):
        printed(f"{name}($pem);", pem=b"-----BEGIN CERTIFICATE-----")


# ------------------------------------------------------------ FFI


def test_ffi_is_off_by_default() -> None:
    with pytest.raises(ScriptError, match=r"X509->toFFIValue\(\): FFI is switched off"):
        printed("X509::String($pem)->toFFIValue();", pem=Holder("x").pem)


def test_an_ffi_value_is_openssls(named: Named) -> None:
    script = """
        $get = FFI("libcrypto.so.3")->func("X509_get_version", [FFI::type("pointer")], FFI::type("sint32"));
        echo FFI::number($get(X509::String($pem)->toFFIValue()));
    """
    assert run_script(script, PlainHost(ffi=True), pem=named.pem) == ["2"]


# ------------------------------------------------------------ chains

ROOT = Holder("root", ca=True)
OTHER = Holder("other root", ca=True)
MIDDLE = Holder("middle", authority=ROOT, ca=True)
LEAF = Holder("leaf", authority=MIDDLE)
DIRECT = Holder("direct", authority=ROOT)
EXPIRED = Holder("expired", authority=ROOT, end=NOW - DAY)
FUTURE = Holder("future", authority=ROOT, start=NOW + DAY)
NOT_CA = Holder("below a leaf", authority=DIRECT)
SELF = Holder("self-signed")
RSA = Holder("rsa", rsa_key(), authority=ROOT)

VERIFY = """
    function load($text) { return X509::String($text); }
    $verdict = X509::String($leaf)->verify(array_map(load, $roots), array_map(load, $links), $lists);
    echo $verdict["result"] ? "good" : $verdict["code"] . " " . $verdict["error"];
"""

CHAINS: list[tuple[Holder, list[Holder], list[Holder], str]] = [
    (DIRECT, [ROOT], [], "good"),
    (RSA, [ROOT], [], "good"),
    (DIRECT, [OTHER, ROOT], [], "good"),
    (LEAF, [ROOT], [MIDDLE], "good"),
    (LEAF, [ROOT], [OTHER, DIRECT, MIDDLE], "good"),
    (LEAF, [ROOT, MIDDLE], [], "good"),
    (ROOT, [ROOT], [], "good"),
    (SELF, [SELF], [], "good"),
    (LEAF, [ROOT], [], "20 unable to get local issuer certificate"),
    (LEAF, [MIDDLE], [], "2 unable to get issuer certificate"),
    (DIRECT, [OTHER], [], "20 unable to get local issuer certificate"),
    (DIRECT, [], [], "20 unable to get local issuer certificate"),
    (LEAF, [OTHER], [MIDDLE, ROOT], "19 self-signed certificate in certificate chain"),
    (SELF, [ROOT], [], "18 self-signed certificate"),
    (EXPIRED, [ROOT], [], "10 certificate has expired"),
    (FUTURE, [ROOT], [], "9 certificate is not yet valid or the system clock is incorrect"),
    (NOT_CA, [ROOT], [DIRECT], "79 invalid CA certificate"),
]


def verdict(
    leaf: Holder, roots: list[Holder], links: list[Holder], lists: list[bytes] | None = None, host: object = None
) -> str:
    (line,) = printed(
        VERIFY,
        host,
        leaf=leaf.pem,
        roots=Array.of(item.pem for item in roots),
        links=Array.of(item.pem for item in links),
        lists=None if lists is None else Array.of(lists),
    )
    return line


@pytest.mark.parametrize(("leaf", "roots", "links", "wanted"), CHAINS)
def test_chains(leaf: Holder, roots: list[Holder], links: list[Holder], wanted: str) -> None:
    assert verdict(leaf, roots, links) == wanted


@pytest.mark.parametrize(("leaf", "roots", "links", "wanted"), CHAINS)
def test_openssl_says_the_same(
    tmp_path: Path, leaf: Holder, roots: list[Holder], links: list[Holder], wanted: str
) -> None:
    for name, items in (("roots", roots), ("links", links), ("leaf", [leaf])):
        (tmp_path / name).write_bytes(b"".join(item.pem for item in items))
    options = ["-no-CApath", "-no-CAstore", *(["-CAfile", tmp_path / "roots"] if roots else ["-no-CAfile"])]
    options += ["-untrusted", tmp_path / "links"] if links else []
    assert accepts("verify", *options, tmp_path / "leaf") is (wanted == "good")


def test_the_hosts_clock() -> None:
    assert verdict(EXPIRED, [ROOT], [], host=Clock(NOW - 2 * DAY)) == "good"
    assert verdict(FUTURE, [ROOT], [], host=Clock(NOW + 2 * DAY)) == "good"
    assert verdict(DIRECT, [ROOT], [], host=Clock(NOW + 31 * DAY)) == "10 certificate has expired"
    assert (
        verdict(DIRECT, [ROOT], [], host=Clock(datetime(1901, 1, 1, tzinfo=UTC)))
        == "9 certificate is not yet valid or the system clock is incorrect"
    )


STALE = ROOT.crl(end=NOW - timedelta(hours=1))
LISTS: list[tuple[Holder, list[Holder], list[bytes], str]] = [
    (DIRECT, [], [ROOT.crl()], "good"),
    (DIRECT, [], [ROOT.crl(LEAF, RSA)], "good"),
    (DIRECT, [], [ROOT.crl(DIRECT)], "23 certificate revoked"),
    (DIRECT, [], [OTHER.crl(), ROOT.crl(DIRECT)], "23 certificate revoked"),
    (DIRECT, [], [OTHER.crl(DIRECT)], "3 unable to get certificate CRL"),
    (DIRECT, [], [STALE], "12 CRL has expired"),
    (LEAF, [MIDDLE], [MIDDLE.crl()], "good"),
    (LEAF, [MIDDLE], [MIDDLE.crl(), ROOT.crl()], "good"),
    (LEAF, [MIDDLE], [MIDDLE.crl(), ROOT.crl(DIRECT)], "good"),
    (LEAF, [MIDDLE], [MIDDLE.crl(LEAF)], "23 certificate revoked"),
    (LEAF, [MIDDLE], [MIDDLE.crl(), ROOT.crl(MIDDLE)], "23 certificate revoked"),
    (LEAF, [MIDDLE], [MIDDLE.crl(), STALE], "12 CRL has expired"),
    (LEAF, [MIDDLE], [ROOT.crl()], "3 unable to get certificate CRL"),
    (EXPIRED, [], [ROOT.crl()], "10 certificate has expired"),
    (DIRECT, [], [Holder("root", ca=True).crl()], "8 CRL signature failure"),
    (DIRECT, [], [b"no list"], "0 a revocation list cannot be read"),
]


@pytest.mark.parametrize(("leaf", "links", "lists", "wanted"), LISTS)
def test_revocation_lists(leaf: Holder, links: list[Holder], lists: list[bytes], wanted: str) -> None:
    assert verdict(leaf, [ROOT], links, lists) == wanted


def test_forms_of_certificates_in_lists() -> None:
    script = """
        $leaf = X509::String($der);
        foreach ([$pem, $root, X509::String($pem), X509::String($pem)->toResource(), $both] as $form)
            echo $leaf->verify([$form]);
        foreach ([$crl, X509CRL::String($crl), X509CRL::String($crl)->toResource(), X509CRL::String($crl)->export()]
            as $form) echo $leaf->verify([$root], [], [$form])["error"];
    """
    given = {
        "der": DIRECT.der,
        "pem": ROOT.pem,
        "root": ROOT.der,
        "both": OTHER.pem + ROOT.pem,
        "crl": ROOT.crl(DIRECT),
    }
    assert printed(script, **given) == ['["result"=>true]'] * 5 + ["certificate revoked"] * 4


WRONG = [
    ("[1]", r"parameter 1 \(calist\): wanted an array of X509, got number in it"),
    ("[X509CRL::String($crl)]", r"parameter 1 \(calist\): wanted an array of X509, got object in it"),
    ("[], [none]", r"parameter 2 \(intermediates\): wanted an array of X509, got none in it"),
    ("[], [], [X509::String($pem)->toResource()]", "wanted an array of X509CRL, got X509Resource in it"),
    ("[$pem * 1001]", r"parameter 1 \(calist\): wanted at most 1000"),
    ("1", "wanted array, got number"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_lists(arguments: str, message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        printed(f"X509::String($pem)->verify({arguments});", pem=ROOT.pem, crl=ROOT.crl())


@pytest.mark.parametrize("data", [b"", b"no certificate", b"\x30\x03\x02\x01\x01", b"\xff" * 1_000_000])
def test_authorities_that_cannot_be_read(data: bytes) -> None:
    script = "echo X509::String($pem)->verify([$root, $data]); echo X509::String($pem)->verify([$root], [$data]);"
    wanted = '["result"=>false,"error"=>"a certificate cannot be read","code"=>0]'
    assert printed(script, pem=DIRECT.pem, root=ROOT.pem, data=data) == [wanted] * 2


def test_certificates_by_another_library() -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("example.org", "例え.example.org")
    leaf = issued.cert_chain_pems[0].bytes()
    script = "$x = X509::String($leaf); echo $x->verify([$root])['result']; echo $x->subject_alt_name();"
    root = authority.cert_pem.bytes()
    assert printed(script.replace("'", '"'), leaf=leaf, root=root) == [
        "true",
        '[0=>"example.org",1=>"xn--r8jz45g.example.org"]',
    ]


# ------------------------------------------------------------ revocation lists


def test_fields_of_a_list() -> None:
    script = """
        $list = X509CRL::String($pem);
        echo $list->issuer();
        echo $list->version();
        echo $list->last_update();
        echo $list->next_update();
        foreach ($list->revoked() as $item) echo $item;
        echo $list->extensions()[0]["name"];
        echo X509::String($leaf)->serial_number() == $list->revoked()[0]["serial_number"];
        echo X509CRL($list->toResource())->export(["pem" => true]) == $pem;
    """
    serials = [f"{item.certificate.serial_number:X}" for item in (DIRECT, RSA)]
    serials = ["0" * (len(item) % 2) + item for item in serials]
    when = int((NOW - DAY).timestamp())
    assert printed(script, pem=ROOT.crl(DIRECT, RSA), leaf=DIRECT.pem) == [
        '[0=>[0=>"CN",1=>"root"]]',
        "2",
        str(when),
        str(int((NOW + DAY).timestamp())),
        *(f'["serial_number"=>"{item}","revocation_date"=>{when},"reason"=>"superseded"]' for item in serials),
        "crlNumber",
        "true",
        "true",
    ]


def test_an_old_list(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(ROOT.key_pem)
    (tmp_path / "root").write_bytes(ROOT.pem)
    (tmp_path / "index").write_text("R\t300101000000Z\t250101000000Z\t0A\tunknown\t/CN=x\n")
    settings = f"[ca]\ndefault_ca=d\n[d]\ndatabase={tmp_path}/index\ndefault_md=sha256\ndefault_crl_days=1\n"
    (tmp_path / "settings").write_text(settings)
    pem = openssl(
        "ca", "-gencrl", "-config", tmp_path / "settings", "-keyfile", tmp_path / "key", "-cert", tmp_path / "root"
    )
    script = "$list = X509CRL::String($pem); echo $list->version(); echo $list->revoked(); echo $list->extensions();"
    assert printed(script, pem=pem) == [
        "1",
        '[0=>["serial_number"=>"0A","revocation_date"=>1735689600,"reason"=>none]]',
        "[]",
    ]


LIST_FIELDS = ["issuer", "revoked", "version", "last_update", "next_update", "extensions"]


def test_mangled_lists() -> None:
    der = x509.load_pem_x509_crl(ROOT.crl(DIRECT)).public_bytes(Encoding.DER)
    calls = " ".join(f"$x->{name}();" for name in LIST_FIELDS)
    program = load(f'try {{ $x = X509CRL::String($data); {calls} }} catch ($e) {{ echo "no"; }}')
    for place in range(len(der)):
        run = Run(program, output=lambda line: None)
        run.set_variable("data", der[:place] + bytes([der[place] ^ 0x55]) + der[place + 1 :])
        run.execute()
        assert run.halt is None
