"""Certificates, keys and revocation lists for tests, the program openssl, and scripts that are given such data."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from snippets import load

from hsl.run import Run
from hsl.values import Value

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def openssl(*arguments: str | Path, data: bytes = b"") -> bytes:
    """What the program prints for some input. Raises CalledProcessError when it fails."""
    command = ["openssl", *map(str, arguments)]
    return subprocess.run(command, input=data, capture_output=True, check=True, timeout=30).stdout


def accepts(*arguments: str | Path, data: bytes = b"") -> bool:
    """Whether the program succeeds."""
    try:
        openssl(*arguments, data=data)
    except subprocess.CalledProcessError:
        return False
    return True


def output_with(script: str, host: object, variables: dict[str, Value]) -> list[bytes]:
    """What a script writes that has variables set already."""
    lines: list[bytes] = []
    run = Run(load(script), host=host, output=lines.append)
    for name, value in variables.items():
        run.set_variable(name, value)
    run.execute()
    return lines


def printed(script: str, /, host: object = None, **variables: Value) -> list[str]:
    """The lines that it prints."""
    lines = output_with(script, host, variables)
    return [line.decode("utf-8", "backslashreplace").removesuffix("\n") for line in lines]


def evaluated(expression: str, /, **variables: Value) -> bytes:
    """The bytes that an expression gives."""
    return output_with(f"echo {expression};", None, variables)[0].removesuffix(b"\n")


@cache
def rsa_key(bits: int = 2048, number: int = 0) -> RSAPrivateKey:
    return generate_rsa(65537, bits)


@cache
def ec_key(number: int = 0) -> EllipticCurvePrivateKey:
    return generate_ec(SECP256R1())


@cache
def ed25519_key(number: int = 0) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


def key_pem(key: Any, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    return bytes(key.private_bytes(Encoding.PEM, form, NoEncryption()))


def key_der(key: Any, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    return bytes(key.private_bytes(Encoding.DER, form, NoEncryption()))


class Holder:
    """A certificate with its key. `authority` issued it; without one it did itself."""

    def __init__(
        self,
        name: str,
        key: Any = None,
        authority: Holder | None = None,
        *,
        ca: bool = False,
        start: datetime = NOW - 30 * DAY,
        end: datetime = NOW + 30 * DAY,
        extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
        serial: int | None = None,
    ) -> None:
        self.key = generate_ec(SECP256R1()) if key is None else key
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        issuer = authority or self
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(issuer.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number() if serial is None else serial)
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca, None), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        hash = None if isinstance(issuer.key, Ed25519PrivateKey) else SHA256()
        self.certificate = builder.sign(issuer.key, hash)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return key_pem(self.key)

    @property
    def both(self) -> bytes:
        return self.pem + self.key_pem

    def crl(self, *revoked: Holder, end: datetime = NOW + DAY) -> bytes:
        """A revocation list of this authority, as PEM."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name).last_update(NOW - DAY)
        builder = builder.next_update(end).add_extension(x509.CRLNumber(7), False)
        for item in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(item.certificate.serial_number)
            entry = entry.revocation_date(NOW - DAY).add_extension(x509.CRLReason(x509.ReasonFlags.superseded), False)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.key, SHA256()).public_bytes(Encoding.PEM)
