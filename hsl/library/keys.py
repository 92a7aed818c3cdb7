"""Chapter "Cryptographic": private keys as resources, and signatures. Keys are hostile input: bad ones give none.

No key may be larger than a signature with it takes a moment; whether an RSA key's numbers fit each other shows when its
signature is checked (a test of the primes of an 8192-bit key would take seconds).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hsl.builtins import Chapter, Options, option
from hsl.errors import ScriptError, near
from hsl.library.pem import blocks, is_pem
from hsl.values import Resource, Value

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

chapter = Chapter("Cryptographic")

MIN_BITS: Final = 1024  # of an RSA key
MAX_BITS: Final = 8192
MAX_KEY: Final = 16 * 1024  # bytes of a key: an RSA key of 8192 bits has 4,700
SEED: Final = 32  # bytes of an Ed25519 key (RFC 8032)
HASHES: Final = {"md5": "MD5", "sha1": "SHA1", "sha256": "SHA256", "sha512": "SHA512"}
KEY_LABELS: Final = ("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY")
PUBLIC_LABELS: Final = ("PUBLIC KEY", "RSA PUBLIC KEY")
RSA: Final = "RSAPrivateKey"
EC: Final = "ECPrivateKey"
ED25519: Final = "ED25519PrivateKey"
NO_PROFILES: Final = (
    "keys of the product's configuration (pki:X) do not exist here; pass the PEM text, of a file (File::read) or of "
    "the environment"
)


class PrivateKey(Resource):
    """A private key. `key` is cryptography's."""

    def __init__(self, kind: str, key: Any) -> None:
        super().__init__(kind)
        self.key = key


def refuse_profile(function: str, parameter: str, data: bytes, id: bool) -> None:
    """Raises ScriptError where a key or certificate of the product's configuration is asked for."""
    if data.startswith(b"pki:") or (id and not is_pem(data)):
        raise ScriptError(f"{function}(): {parameter}: {NO_PROFILES}")


def load_private_key(data: bytes) -> PrivateKey | None:
    """The first private key of a PEM text, or one in DER; none for what is none, encrypted, too small or too large."""
    if is_pem(data):
        data = next((der for label, der in blocks(data) if label in KEY_LABELS), b"")
    if not data or len(data) > MAX_KEY:
        return None
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    from hsl.library.cryptoerrors import BAD_KEY

    try:
        return as_resource(load_der_private_key(data, None, unsafe_skip_rsa_key_validation=True))
    except BAD_KEY:
        return None


def as_resource(key: Any) -> PrivateKey | None:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    if isinstance(key, RSAPrivateKey):
        return PrivateKey(RSA, key) if MIN_BITS <= key.key_size <= MAX_BITS else None
    if isinstance(key, EllipticCurvePrivateKey):
        return PrivateKey(EC, key)
    return PrivateKey(ED25519, key) if isinstance(key, Ed25519PrivateKey) else None


def private_key_of(kind: str, data: bytes) -> PrivateKey | None:
    """A key of one kind; none for what is another."""
    found = load_private_key(data)
    return found if found is not None and found.kind == kind else None


def is_key(kind: str, value: Value) -> bool:
    return isinstance(value, PrivateKey) and value.kind == kind


def want_key(function: str, parameter: str, kind: str, key: Resource) -> PrivateKey:
    """A resource that is a key of one kind. Raises ScriptError: that is no matter of what somebody sent."""
    if not isinstance(key, PrivateKey) or key.kind != kind:
        raise ScriptError(f"{function}(): {parameter}: wanted {kind} or string, got {key.kind}")
    return key


def load_public_key(data: bytes) -> Any:
    """A public key of cryptography's out of PEM or DER; none for what is none, or too large."""
    if is_pem(data):
        data = next((der for label, der in blocks(data) if label in PUBLIC_LABELS), b"")
    if not data or len(data) > MAX_KEY:
        return None
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    from hsl.library.cryptoerrors import BAD_KEY

    try:
        return load_der_public_key(data)
    except BAD_KEY:
        return None


# ------------------------------------------------------------ RSA


class KeyOptions(Options):
    hash: bytes = option(b"sha256", "The hash function: md5, sha1, sha256 or sha512.")
    pem: bool = option(False, "The key is PEM text. PEM is recognised without it, too.")
    id: bool = option(False, "The key is one of the product's configuration (pki:X): always an error.")


class SignOptions(KeyOptions):
    format: bytes = option(
        b"RSAPrivateKey", "The form of a key in DER, RSAPrivateKey or PrivateKeyInfo. Both are recognised without it."
    )


class VerifyOptions(KeyOptions):
    format: bytes = option(
        b"RSAPublicKey",
        "The form of a key in DER, RSAPublicKey or SubjectPublicKeyInfo. Both are recognised without it.",
    )


FORMATS: Final = {
    "rsa_sign": (b"RSAPrivateKey", b"PrivateKeyInfo"),
    "rsa_verify": (b"RSAPublicKey", b"SubjectPublicKeyInfo"),
}


def read_hash(function: str, options: SignOptions | VerifyOptions) -> HashAlgorithm:
    """The hash of the options. Raises ScriptError for one that there is not, and for an unknown format."""
    from cryptography.hazmat.primitives import hashes

    if options.format not in FORMATS[function]:
        names = " or ".join(name.decode() for name in FORMATS[function])
        raise ScriptError(f"{function}(): option format: wanted {names}, got {shown(options.format)!r}")
    name = shown(options.hash)
    if name not in HASHES:
        raise ScriptError(
            f"{function}(): option hash: wanted {', '.join(HASHES)}, got {name!r}", hint=near(name, HASHES)
        )
    found: HashAlgorithm = getattr(hashes, HASHES[name])()
    return found


def shown(name: bytes) -> str:
    return name.decode("utf-8", "replace")


@chapter.function("rsa_privatekey")
def rsa_privatekey(privatekey: bytes) -> Resource | None:
    """Return an RSA private key of a PEM text as a resource, or none if there is none in it.

    The forms PrivateKeyInfo (PKCS#8) and RSAPrivateKey (PKCS#1) are read, as PEM or DER. None is returned for keys of
    other kinds, encrypted ones, and those of less than 1024 or more than 8192 bits. To read a key once and keep it is
    much faster than to pass its text each time.

    Example:
        $key = rsa_privatekey(File::read("rsa.key") ?? "");
        if (!$key) echo "no RSA key";
    """
    return private_key_of(RSA, privatekey)


@chapter.function("is_rsa_privatekey")
def is_rsa_privatekey(privatekey: Value) -> bool:
    """Return whether a value is a resource that rsa_privatekey() gave.

    Example:
        echo is_rsa_privatekey("-----BEGIN PRIVATE KEY-----");  // expect: false
    """
    return is_key(RSA, privatekey)


@chapter.function("rsa_sign")
def rsa_sign(message: bytes, privatekey: bytes | Resource, options: SignOptions) -> bytes | None:
    """Return the RSA signature (PKCS#1 v1.5, RFC 8017) of a message's hash as bytes, or none on failure.

    The key is a resource of rsa_privatekey(), PEM text or DER; none is returned for what that function refuses, and for
    a key that is none after all.

    Example:
        $key = rsa_privatekey(File::read("rsa.key") ?? "");
        $signature = base64_encode(rsa_sign("Hello", $key, ["hash" => "sha256"]));
    """
    hash = read_hash("rsa_sign", options)
    if isinstance(privatekey, bytes):
        refuse_profile("rsa_sign", "parameter 2 (privatekey)", privatekey, options.id)
        found = private_key_of(RSA, privatekey)
    else:
        found = want_key("rsa_sign", "parameter 2 (privatekey)", RSA, privatekey)
    return None if found is None else checked_signature(found.key, message, hash)


def checked_signature(key: Any, message: bytes, hash: HashAlgorithm) -> bytes | None:
    """An RSA signature that verifies: one by broken numbers would give the key away (and be of no use)."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

    from hsl.library.cryptoerrors import BAD_KEY

    try:
        signature: bytes = key.sign(message, PKCS1v15(), hash)
        key.public_key().verify(signature, message, PKCS1v15(), hash)
    except (InvalidSignature, *BAD_KEY):
        return None
    return signature


@chapter.function("rsa_verify")
def rsa_verify(message: bytes, signature: bytes, publickey: bytes, options: VerifyOptions) -> bool | None:
    """Return whether an RSA signature (PKCS#1 v1.5, RFC 8017) is that of a message's hash; none for a bad key.

    The signature is in bytes, the key DER or PEM text. None is returned for what is no RSA key and for keys of less
    than 1024 or more than 8192 bits.

    Example:
        function signed_by($key, $message, $signature) {
            return rsa_verify($message, base64_decode($signature), $key, ["hash" => "sha256"]) === true;
        }
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    hash = read_hash("rsa_verify", options)
    refuse_profile("rsa_verify", "parameter 3 (publickey)", publickey, options.id)
    key = load_public_key(publickey)
    if not isinstance(key, RSAPublicKey) or not MIN_BITS <= key.key_size <= MAX_BITS:
        return None
    try:
        key.verify(signature, message, PKCS1v15(), hash)
    except (InvalidSignature, ValueError):
        return False
    return True


# ------------------------------------------------------------ elliptic curves


@chapter.function("ec_privatekey")
def ec_privatekey(privatekey: bytes) -> Resource | None:
    """Return an EC private key of a PEM text as a resource, or none if there is none in it.

    For the functions cms_sign(), cms_decrypt() and pkcs7_sign(). The forms PrivateKeyInfo (PKCS#8) and ECPrivateKey
    (RFC 5915) on a named curve are read, as PEM or DER. None is returned for keys of other kinds and encrypted ones.

    Example:
        $key = ec_privatekey(''-----BEGIN EC PRIVATE KEY-----
        MHcCAQEEIHow9j5of1Yltadpc+aN7ZcULdSHwjxBeApaafpe/T3KoAoGCCqGSM49
        AwEHoUQDQgAE7DFMfM9Fy2YwCxjkxsl7k7oQ0FT9MKrG7QdesBy014igikZblUXi
        B9BW/m0nCQrZzU2qKsAJag4D8HAi0rEL5A==
        -----END EC PRIVATE KEY-----'');
        echo $key;  // expect: ECPrivateKey
    """
    return private_key_of(EC, privatekey)


@chapter.function("is_ec_privatekey")
def is_ec_privatekey(privatekey: Value) -> bool:
    """Return whether a value is a resource that ec_privatekey() gave.

    Example:
        echo is_ec_privatekey(none);  // expect: false
    """
    return is_key(EC, privatekey)


# ------------------------------------------------------------ Ed25519


@chapter.function("ed25519_privatekey")
def ed25519_privatekey(privatekey: bytes) -> Resource | None:
    """Return an Ed25519 private key of a PEM text as a resource, or none if there is none in it.

    The form PrivateKeyInfo (RFC 8410) is read, as PEM or DER. None is returned for keys of other kinds and encrypted
    ones.

    Example:
        $key = ed25519_privatekey(''-----BEGIN PRIVATE KEY-----
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
        -----END PRIVATE KEY-----'');
        echo length(ed25519_sign("Hello", $key));  // expect: 64
    """
    return private_key_of(ED25519, privatekey)


@chapter.function("is_ed25519_privatekey")
def is_ed25519_privatekey(privatekey: Value) -> bool:
    """Return whether a value is a resource that ed25519_privatekey() gave.

    Example:
        echo is_ed25519_privatekey(ed25519_privatekey("no key"));  // expect: false
    """
    return is_key(ED25519, privatekey)


@chapter.function("ed25519_sign")
def ed25519_sign(message: bytes, privatekey: bytes | Resource) -> bytes | None:
    """Return the Ed25519 signature (RFC 8032) of a message, 64 bytes; none on failure.

    The key is the 32 bytes of the private key (64 with the public key behind it), PEM text, or a resource of
    ed25519_privatekey(). None is returned for what is no such key.

    Example:
        $key = pack("H*", "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        echo unpack("H*", ed25519_sign("", $key))[0][0:16];  // expect: e5564300c360ac72
    """
    if isinstance(privatekey, Resource):
        found: PrivateKey | None = want_key("ed25519_sign", "parameter 2 (privatekey)", ED25519, privatekey)
    else:
        refuse_profile("ed25519_sign", "parameter 2 (privatekey)", privatekey, False)
        found = raw_ed25519(privatekey) or private_key_of(ED25519, privatekey)
    if found is None:
        return None
    signature: bytes = found.key.sign(message)
    return signature


def raw_ed25519(secret: bytes) -> PrivateKey | None:
    """A key by its 32 bytes, or by these and those of its public key."""
    if len(secret) not in (SEED, 2 * SEED):
        return None
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(secret[:SEED])
    if secret[SEED:] not in (b"", key.public_key().public_bytes_raw()):
        return None
    return PrivateKey(ED25519, key)


@chapter.function("ed25519_verify")
def ed25519_verify(message: bytes, signature: bytes, publickey: bytes) -> bool | None:
    """Return whether an Ed25519 signature (RFC 8032) is that of a message; none for what is no public key.

    The signature is in bytes; the key is its 32 bytes, DER or PEM text.

    Example:
        $key = pack("H*", "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        echo ed25519_verify("Hello", "no signature", $key);  // expect: false
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    raw = len(publickey) == SEED
    key = Ed25519PublicKey.from_public_bytes(publickey) if raw else load_public_key(publickey)
    if not isinstance(key, Ed25519PublicKey):
        return None
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True
