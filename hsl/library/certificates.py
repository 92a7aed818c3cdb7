"""Classes X509 and X509CRL: certificates and revocation lists as PEM, DER or resources come in, their fields go out.

Certificates are hostile input: a handshake hands over whatever the peer sent. They are read when a field is asked for;
what cannot be read raises ScriptError then.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from hsl.builtins import Chapter, NativeObject, Options, method, option, static_method
from hsl.errors import ScriptError
from hsl.library.dateandtime import now
from hsl.library.pem import blocks, is_pem, pem
from hsl.values import Array, Object, Resource, Value, type_name

if TYPE_CHECKING:
    from cryptography import x509

    from hsl.run import Run

chapter = Chapter("Socket")

T = TypeVar("T")

MAX_DER: Final = 16 * 1024 * 1024  # bytes: large revocation lists have some
PIECE: Final = 1_000  # revoked certificates between two turns of others
MAX_LIST: Final = 1_000  # certificates or revocation lists of one array
CERTIFICATE: Final = ("CERTIFICATE", "X509 CERTIFICATE")
REVOCATION: Final = ("X509 CRL",)
NAMES: Final = {  # OpenSSL's short names
    "2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST",
    "2.5.4.9": "street", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.12": "title", "2.5.4.13": "description",
    "2.5.4.15": "businessCategory", "2.5.4.17": "postalCode", "2.5.4.41": "name", "2.5.4.42": "GN",
    "2.5.4.43": "initials", "2.5.4.44": "generationQualifier", "2.5.4.46": "dnQualifier", "2.5.4.65": "pseudonym",
    "2.5.4.97": "organizationIdentifier", "0.9.2342.19200300.100.1.1": "UID", "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress", "1.3.6.1.4.1.311.60.2.1.1": "jurisdictionL",
    "1.3.6.1.4.1.311.60.2.1.2": "jurisdictionST", "1.3.6.1.4.1.311.60.2.1.3": "jurisdictionC",
}  # fmt: skip
EXTENSIONS: Final = {  # OpenSSL's short names
    "2.5.29.9": "subjectDirectoryAttributes", "2.5.29.14": "subjectKeyIdentifier", "2.5.29.15": "keyUsage",
    "2.5.29.16": "privateKeyUsagePeriod", "2.5.29.17": "subjectAltName", "2.5.29.18": "issuerAltName",
    "2.5.29.19": "basicConstraints", "2.5.29.20": "crlNumber", "2.5.29.27": "deltaCRL",
    "2.5.29.28": "issuingDistributionPoint", "2.5.29.30": "nameConstraints", "2.5.29.31": "crlDistributionPoints",
    "2.5.29.32": "certificatePolicies", "2.5.29.33": "policyMappings", "2.5.29.35": "authorityKeyIdentifier",
    "2.5.29.36": "policyConstraints", "2.5.29.37": "extendedKeyUsage", "2.5.29.46": "freshestCRL",
    "2.5.29.54": "inhibitAnyPolicy", "1.3.6.1.5.5.7.1.1": "authorityInfoAccess",
    "1.3.6.1.5.5.7.1.11": "subjectInfoAccess", "1.3.6.1.5.5.7.1.24": "tlsfeature",
    "1.3.6.1.4.1.11129.2.4.2": "ct_precert_scts", "1.3.6.1.4.1.11129.2.4.3": "ct_precert_poison",
}  # fmt: skip


class DERResource(Resource):
    """Something of X.509 in DER."""

    def __init__(self, kind: str, der: bytes) -> None:
        super().__init__(kind)
        self.der = der

    @classmethod
    def of(cls, der: bytes) -> Self:
        return cls(der)  # type: ignore[call-arg,arg-type]


class X509Resource(DERResource):
    """A certificate, as the host and the class X509 give it."""

    def __init__(self, der: bytes) -> None:
        super().__init__("X509Resource", der)


class X509CRLResource(DERResource):
    """A revocation list, as the class X509CRL gives it."""

    def __init__(self, der: bytes) -> None:
        super().__init__("X509CRLResource", der)


class PEMOptions(Options):
    pem: bool = option(False, "Return PEM text, not DER.")


class StringOptions(Options):
    pem: bool | None = option(None, "Whether the data is PEM text or DER; it is recognised without it.")


class ExtensionOptions(Options):
    oid: bytes | None = option(None, "Only the extension of this OID or name.")


# ------------------------------------------------------------ what is read


def read(function: str, what: str, get: Callable[[], T]) -> T:
    """What a reader gives. Raises ScriptError for what cannot be read."""
    from hsl.library.cryptoerrors import UNREADABLE

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of oddities in what others made
            return get()
    except UNREADABLE:
        raise ScriptError(f"{function}(): {what} cannot be read") from None


def load_certificate(function: str, der: bytes) -> x509.Certificate:
    """Raises ScriptError."""
    from cryptography.x509 import load_der_x509_certificate

    return read(function, "the certificate", lambda: load_der_x509_certificate(der))


def load_crl(function: str, der: bytes) -> x509.CertificateRevocationList:
    """Raises ScriptError."""
    from cryptography.x509 import load_der_x509_crl

    return read(function, "the revocation list", lambda: load_der_x509_crl(der))


def certificates_in(text: bytes) -> list[bytes]:
    """The DER of all certificates in PEM text."""
    return [der for label, der in blocks(text) if label in CERTIFICATE]


def one_der(function: str, data: bytes, labels: tuple[str, ...], text: bool | None) -> bytes:
    """DER as it is, or out of the first block of a PEM text. Raises ScriptError."""
    if is_pem(data) if text is None else text:
        data = next((der for label, der in blocks(data) if label in labels), b"")
        if not data:
            raise ScriptError(f"{function}(): parameter 1 (data): there is no {labels[0]} in the PEM text")
    if len(data) > MAX_DER:
        raise ScriptError(f"{function}(): parameter 1 (data): wanted at most {MAX_DER} bytes, got {len(data)}")
    return data


def read_name(name: x509.Name) -> Array:
    """The attributes of a name in their order, each as its short name (or OID) and its value."""
    return Array.of(Array.of([short_name(item.oid.dotted_string), name_value(item.value)]) for item in name)


def short_name(oid: str) -> bytes:
    return NAMES.get(oid, oid).encode()


def name_value(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def read_extensions(extensions: x509.Extensions, oid: bytes | None) -> Array:
    """Each extension's OID, name, whether it is critical, and its value in DER."""
    found = []
    for item in extensions:
        dotted = item.oid.dotted_string
        name = EXTENSIONS.get(dotted, dotted)
        if oid is None or oid.decode("utf-8", "replace") in (dotted, name):
            entries: dict[Value, Value] = {
                b"oid": dotted.encode(),
                b"name": name.encode(),
                b"critical": item.critical,
                b"value": item.value.public_bytes(),
            }
            found.append(Array.record(entries))
    return Array.of(found)


def hexadecimal(number: int) -> bytes:
    """A serial number as OpenSSL writes it: whole bytes, upper case."""
    digits = f"{abs(number):X}"
    return b"-" * (number < 0) + b"0" * (len(digits) % 2) + digits.encode()


def seconds(time: datetime) -> float:
    return time.timestamp()


# ------------------------------------------------------------ certificates


@chapter.object("X509")
class X509(NativeObject):
    """Return a certificate (X.509, RFC 5280) of an X509Resource, as TLS, cms_verify() and others give it.

    Texts are UTF-8. What cannot be read raises an error when it is asked for.

    Example:
        function names($resource) {
            return X509($resource)->subject_alt_name();
        }
    """

    def __init__(self, x509resource: Resource) -> None:
        super().__init__()
        if not isinstance(x509resource, X509Resource):
            got = x509resource.kind
            raise ScriptError(f"X509(): parameter 1 (x509resource): wanted an X509Resource, got a {got}")
        self.resource = x509resource
        self.loaded: x509.Certificate | None = None

    @classmethod
    def of(cls, der: bytes) -> X509:
        """A certificate in DER."""
        return cls(X509Resource(der))

    def ask(self, name: str, get: Callable[[x509.Certificate], T]) -> T:
        """A field. Raises ScriptError."""
        if self.loaded is None:
            self.loaded = load_certificate(f"X509->{name}", self.resource.der)
        certificate = self.loaded
        return read(f"X509->{name}", "the field", lambda: get(certificate))

    @method("subject")
    def subject(self) -> Array:
        """Return the subject: a list of pairs of a name and a value.

        Names are OpenSSL's short ones (`CN`, `O`, `OU`, `C`, `emailAddress` …), else OIDs; values are UTF-8.

        Example:
            function common_name($certificate) {
                return array_find(function ($field) { return $field[0] == "CN"; }, $certificate->subject())[1];
            }
        """
        return self.ask("subject", lambda certificate: read_name(certificate.subject))

    @method("issuer")
    def issuer(self) -> Array:
        """Return the issuer: a list of pairs of a name and a value, as subject() does.

        Example:
            function self_issued($certificate) {
                return $certificate->issuer() == $certificate->subject();
            }
        """
        return self.ask("issuer", lambda certificate: read_name(certificate.issuer))

    @method("subject_alt_name")
    def subject_alt_name(self) -> Array:
        """Return the host names (dNSName) of the subject's alternative names, as they stand there.

        Other alternative names are left out: addresses, URIs … International names are A-labels.

        Example:
            function is_for($certificate, $host) {
                return array_includes(str_lower($host), array_map(str_lower, $certificate->subject_alt_name()));
            }
        """
        return self.ask("subject_alt_name", read_host_names)

    @method("version")
    def version(self) -> float:
        """Return the version of X.509: 1, 2 or 3.

        Example:
            function is_modern($certificate) { return $certificate->version() == 3; }
        """
        return self.ask("version", lambda certificate: float(certificate.version.value + 1))

    @method("serial_number")
    def serial_number(self) -> bytes:
        """Return the serial number in hexadecimal, two digits in upper case for each byte.

        Example:
            function is_known($certificate, $serials) {
                return array_includes($certificate->serial_number(), $serials);
            }
        """
        return self.ask("serial_number", lambda certificate: hexadecimal(certificate.serial_number))

    @method("not_valid_before")
    def not_valid_before(self) -> float:
        """Return from when on it is valid, in seconds since 1970 (UTC).

        Example:
            function is_new($certificate) { return time() - $certificate->not_valid_before() < 86400; }
        """
        return self.ask("not_valid_before", lambda certificate: seconds(certificate.not_valid_before_utc))

    @method("not_valid_after")
    def not_valid_after(self) -> float:
        """Return until when it is valid, in seconds since 1970 (UTC).

        Example:
            function days_left($certificate) { return ($certificate->not_valid_after() - time()) / 86400; }
        """
        return self.ask("not_valid_after", lambda certificate: seconds(certificate.not_valid_after_utc))

    @method("public_key")
    def public_key(self, options: PEMOptions) -> bytes:
        """Return the public key (SubjectPublicKeyInfo) as DER or PEM.

        Example:
            function pinned($certificate, $pin) {
                return base64_encode(sha2($certificate->public_key(), 256, ["binary" => true])) == $pin;
            }
        """
        key = self.ask("public_key", lambda certificate: public_key_of(self.resource.der))
        return pem("PUBLIC KEY", key) if options.pem else key

    @method("export")
    def export(self, options: PEMOptions) -> bytes:
        """Return the certificate as DER or PEM.

        Example:
            function fingerprint($certificate) { return sha2($certificate->export(), 256); }
        """
        return pem("CERTIFICATE", self.resource.der) if options.pem else self.resource.der

    @method("extensions")
    def extensions(self, options: ExtensionOptions) -> Array:
        """Return a list of the extensions (RFC 5280 section 4.2), each an array.

        Its entries are `oid`, `name` (OpenSSL's short one, else the OID), `critical` (boolean) and `value` (DER).

        Example:
            function has_logo($certificate) {
                return length($certificate->extensions(["oid" => "1.3.6.1.5.5.7.1.12"])) > 0;
            }
        """
        return self.ask("extensions", lambda certificate: read_extensions(certificate.extensions, options.oid))

    @method("verify")
    def verify(
        self, run: Run, calist: Array, intermediates: Array | None = None, revokelist: Array | None = None
    ) -> Array:
        """Return whether a chain (RFC 5280 section 6) leads to one of the authorities: an array with `result`.

        The arrays hold X509 (for the revocation lists X509CRL) objects, their resources, PEM texts or DER, at most 1000
        each. `calist` are the authorities that are trusted, to their self-signed roots; `intermediates` are tried as
        links of the chain. With revocation lists, the certificate must not be in its issuer's, which has to be there
        and current; where there is one of an intermediate's issuer, that must not be in it either.

        Where `result` is false, `error` says why, and `code` is OpenSSL's number for it (X509_V_ERR_…: 10 expired, 18
        self-signed, 20 no issuer, 23 revoked …; 0 when a list cannot be used). What the certificate is for, and for
        which name, is not looked at.

        Example:
            function trusted($certificate, $authorities) {
                $verdict = $certificate->verify([$authorities]);
                if (!$verdict["result"]) echo $verdict["error"];
                return $verdict["result"];
            }
        """
        from hsl.library.trust import verify_chain

        name = "X509->verify"
        verdict = verify_chain(
            self.resource.der,
            certificate_list(name, "parameter 1 (calist)", calist),
            certificate_list(name, "parameter 2 (intermediates)", intermediates),
            crl_list(name, "parameter 3 (revokelist)", revokelist),
            now(run),
        )
        return verdict.as_array()

    @method("toResource")
    def to_resource(self) -> Resource:
        """Return the certificate as an X509Resource, which other functions take.

        Example:
            function encrypted_for($certificate, $text) {
                return cms_encrypt($text, ["certs" => [$certificate->toResource()]]);
            }
        """
        return self.resource

    @method("toFFIValue")
    def to_ffi_value(self, run: Run) -> Resource:
        """Return an FFIValue of type `pointer` that is an OpenSSL `X509 *`; it is freed with the value.

        Where FFI is switched off, this is an error.

        Example:
            function issuer_hash($certificate, $X509_issuer_name_hash) {
                return FFI::number($X509_issuer_name_hash($certificate->toFFIValue()));
            }
        """
        from hsl.library.ffi import x509_pointer

        found = x509_pointer(run, "X509->toFFIValue", self.resource.der)
        if found is None:
            raise ScriptError("X509->toFFIValue(): this system's libcrypto is missing, or cannot read the certificate")
        return found

    @staticmethod
    @static_method("String")
    def from_string(data: bytes, options: StringOptions) -> Object:
        """Return the certificate of a text: the first one of PEM text, or DER. Bad data is an error.

        A text has at most 4 MiB.

        Example:
            $certificate = X509::String(''-----BEGIN CERTIFICATE-----
            MIIBCjCBvaADAgECAgQAq83vMAUGAytlcDAWMRQwEgYDVQQDDAtleGFtcGxlLm9y
            ZzAgFw0yNTAxMDEwMDAwMDBaGA8yMDU1MDEwMTAwMDAwMFowFjEUMBIGA1UEAwwL
            ZXhhbXBsZS5vcmcwKjAFBgMrZXADIQADoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d
            3IZkElUxuKMrMCkwJwYDVR0RBCAwHoILZXhhbXBsZS5vcmeCD3d3dy5leGFtcGxl
            Lm9yZzAFBgMrZXADQQAc1m7vgg7vnr0Un7d/eO2FhJOvFx4sOonmXSHeZEEg3gUJ
            a4r1sKSlU+DrmaUGjgu/5drY79UrOZTX4vetKFID
            -----END CERTIFICATE-----'');
            echo $certificate->subject();  // expect: [0=>[0=>"CN",1=>"example.org"]]
            echo $certificate->subject_alt_name();  // expect: [0=>"example.org",1=>"www.example.org"]
        """
        certificate = X509.of(one_der("X509::String", data, CERTIFICATE, options.pem))
        certificate.loaded = load_certificate("X509::String", certificate.resource.der)
        return certificate


def read_host_names(certificate: x509.Certificate) -> Array:
    from cryptography.x509 import DNSName, ExtensionNotFound, SubjectAlternativeName

    try:
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except ExtensionNotFound:
        return Array()
    return Array.of(name.encode() for name in names.get_values_for_type(DNSName))


def public_key_of(der: bytes) -> bytes:
    """The key as it stands in a certificate, also of algorithms that nothing here can compute. Raises ValueError."""
    from asn1crypto.x509 import Certificate

    key: bytes = Certificate.load(der)["tbs_certificate"]["subject_public_key_info"].dump()
    return key


# ------------------------------------------------------------ revocation lists


@chapter.object("X509CRL")
class X509CRL(NativeObject):
    """Return a certificate revocation list (RFC 5280 section 5) of an X509CRLResource.

    Texts are UTF-8. What cannot be read raises an error when it is asked for.

    Example:
        function current($resource) {
            return X509CRL($resource)->next_update() > time();
        }
    """

    def __init__(self, x509CRLresource: Resource) -> None:
        super().__init__()
        if not isinstance(x509CRLresource, X509CRLResource):
            got = x509CRLresource.kind
            raise ScriptError(f"X509CRL(): parameter 1 (x509CRLresource): wanted an X509CRLResource, got a {got}")
        self.resource = x509CRLresource
        self.loaded: x509.CertificateRevocationList | None = None

    def ask(self, name: str, get: Callable[[x509.CertificateRevocationList], T]) -> T:
        """A field. Raises ScriptError."""
        if self.loaded is None:
            self.loaded = load_crl(f"X509CRL->{name}", self.resource.der)
        crl = self.loaded
        return read(f"X509CRL->{name}", "the field", lambda: get(crl))

    @method("issuer")
    def issuer(self) -> Array:
        """Return the issuer: a list of pairs of a name and a value, as X509->subject() does.

        Example:
            function is_of($list, $authority) { return $list->issuer() == $authority->subject(); }
        """
        return self.ask("issuer", lambda crl: read_name(crl.issuer))

    @method("revoked")
    def revoked(self, run: Run) -> Array:
        """Return a list of the revoked certificates, each an array.

        Its entries are `serial_number` (as X509->serial_number() gives it), `revocation_date` (seconds since 1970) and
        `reason` (RFC 5280 section 5.3.1: `keyCompromise` …; none if the list gives none).

        Example:
            function is_revoked($list, $certificate) {
                $serial = $certificate->serial_number();
                return array_find(function ($item) closure ($serial) {
                    return $item["serial_number"] == $serial;
                }, $list->revoked()) !== none;
            }
        """
        found: list[Value] = []
        for start in range(0, self.ask("revoked", len), PIECE):
            found += self.ask("revoked", partial(read_revoked, start))
            run.give_turn()
        return Array(found)

    @method("version")
    def version(self) -> float:
        """Return the version of the list: 1 or 2.

        Example:
            function is_modern($list) { return $list->version() == 2; }
        """
        return self.ask("version", lambda crl: crl_version(self.resource.der))

    @method("last_update")
    def last_update(self) -> float:
        """Return when it was issued, in seconds since 1970 (UTC).

        Example:
            function age($list) { return time() - $list->last_update(); }
        """
        return self.ask("last_update", lambda crl: seconds(crl.last_update_utc))

    @method("next_update")
    def next_update(self) -> float:
        """Return when the next one will have been issued, in seconds since 1970 (UTC); 0 if it does not say.

        Example:
            function outdated($list) { return $list->next_update() < time(); }
        """
        return self.ask("next_update", lambda crl: seconds(crl.next_update_utc) if crl.next_update_utc else 0.0)

    @method("export")
    def export(self, options: PEMOptions) -> bytes:
        """Return the list as DER or PEM.

        Example:
            function text($list) { return $list->export(["pem" => true]); }
        """
        return pem("X509 CRL", self.resource.der) if options.pem else self.resource.der

    @method("extensions")
    def extensions(self, options: ExtensionOptions) -> Array:
        """Return a list of the extensions (RFC 5280 section 5.2), as X509->extensions() does.

        Example:
            function is_delta($list) { return length($list->extensions(["oid" => "deltaCRL"])) > 0; }
        """
        return self.ask("extensions", lambda crl: read_extensions(crl.extensions, options.oid))

    @method("toResource")
    def to_resource(self) -> Resource:
        """Return the list as an X509CRLResource.

        Example:
            function same($list) { return X509CRL($list->toResource()); }
        """
        return self.resource

    @staticmethod
    @static_method("String")
    def from_string(data: bytes, options: StringOptions) -> Object:
        """Return the revocation list of a text: the first one of PEM text, or DER. Bad data is an error.

        A PEM text has at most 4 MiB, DER 16 MiB.

        Example:
            $list = X509CRL::String(''-----BEGIN X509 CRL-----
            MIG1MGkCAQEwBQYDK2VwMBYxFDASBgNVBAMMC2V4YW1wbGUub3JnFw0yNTAxMDEw
            MDAwMDBaGA8yMDU1MDEwMTAwMDAwMFowJTAjAgQAq83vFw0yNTAyMDEwMDAwMDBa
            MAwwCgYDVR0VBAMKAQEwBQYDK2VwA0EAc28prHm/DPuaCDUFSxj0sqJB3ckSTBxm
            4Uhxwy2z0eI/oxGE/SSqkzeajC+VZB2yVAgXDeij+a2TpUFkApwjDg==
            -----END X509 CRL-----'');
            echo $list->revoked()[0]["reason"];  // expect: keyCompromise
        """
        crl = X509CRL(X509CRLResource(one_der("X509CRL::String", data, REVOCATION, options.pem)))
        crl.loaded = load_crl("X509CRL::String", crl.resource.der)
        return crl


def read_revoked(start: int, crl: x509.CertificateRevocationList) -> list[Array]:
    """A piece of the revoked certificates."""
    return [
        Array.record(
            {
                b"serial_number": hexadecimal(item.serial_number),
                b"revocation_date": seconds(item.revocation_date_utc),
                b"reason": reason_of(item),
            }
        )
        for item in crl[start : start + PIECE]
    ]


def reason_of(item: x509.RevokedCertificate) -> bytes | None:
    from cryptography.x509 import CRLReason, ExtensionNotFound

    try:
        return item.extensions.get_extension_for_class(CRLReason).value.reason.value.encode()
    except ExtensionNotFound:
        return None


def crl_version(der: bytes) -> float:
    """Its version; a list without one is of the first. Raises ValueError."""
    from asn1crypto.crl import CertificateList

    version = CertificateList.load(der)["tbs_cert_list"]["version"].native
    return 1.0 if version is None else float(version.removeprefix("v"))


# ------------------------------------------------------------ lists of them


def certificate_list(function: str, parameter: str, items: Array | None) -> list[bytes]:
    """The DER of all certificates of an array. Raises ScriptError for what is none."""
    return der_list(function, parameter, items, X509, X509Resource, CERTIFICATE)


def crl_list(function: str, parameter: str, items: Array | None) -> list[bytes]:
    """The DER of all revocation lists of an array. Raises ScriptError for what is none."""
    return der_list(function, parameter, items, X509CRL, X509CRLResource, REVOCATION)


def der_list(
    function: str,
    parameter: str,
    items: Array | None,
    kind: type[Any],
    resource: type[DERResource],
    labels: tuple[str, ...],
) -> list[bytes]:
    found: list[bytes] = []
    for item in () if items is None else items.values():
        if isinstance(item, kind):
            found.append(item.resource.der)
        elif isinstance(item, resource):
            found.append(item.der)
        elif isinstance(item, bytes):
            found += [der for label, der in blocks(item) if label in labels] if is_pem(item) else [item]
        else:
            got = item.kind if isinstance(item, Resource) else type_name(item)
            raise ScriptError(f"{function}(): {parameter}: wanted an array of {kind.__name__}, got {got} in it")
        if len(found) > MAX_LIST:
            raise ScriptError(f"{function}(): {parameter}: wanted at most {MAX_LIST}")
    return found
