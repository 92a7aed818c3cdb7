"""Chapter "Protocols": the classes LDAP and LDAPResult, and the older ldap_search() and ldap_bind().

The client itself is in ldapclient.py, which is imported when a script has an LDAP.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar, runtime_checkable

from hsl.builtins import Chapter, NativeObject, Options, method, option, static_method
from hsl.errors import ScriptError, near
from hsl.values import Array, Object, Value, to_string

if TYPE_CHECKING:
    from hsl.library.ldapclient import Client
    from hsl.run import Run

T = TypeVar("T")

chapter = Chapter("Protocols")

SCOPES: Final = ("sub", "one", "base")
NOT_SUPPORTED: Final = -12
INVALID_CREDENTIALS: Final = 49

# ------------------------------------------------------------ the classes


class SearchOptions(Options):
    scope: bytes = option(b"sub", "`sub`: the entry and all below it; `one`: those just below it; `base`: the entry.")
    filter: bytes = option(b"(objectclass=*)", "Which entries (RFC 4515); values are escaped by LDAP::filter_escape.")
    attributes: Array | None = option(None, "The names of the attributes; by default all.")


SETTINGS: Final = {  # the options of a connection: from, to
    "network_timeout": (0, 1e6), "timeout": (0, 1e6), "timelimit": (0, 2**31 - 1), "protocol_version": (3, 3),
    "referrals": (0, 0), "tls_verify_peer": (0, 1), "tls_default_ca": (0, 1),
}  # fmt: skip


@chapter.object("LDAP")
class LDAP(NativeObject):
    """Return a client of a directory (LDAP v3), by `ldap://host:port` or `ldaps://host:port`.

    Several URIs, separated by blanks, are tried one after the other. The connection is made when it is first needed.
    Methods give none when they fail; errno() then tells why. TLS checks the certificate and the host's name unless the
    option `tls_verify_peer` is false. A server that the network policy denies raises an error. Referrals are not
    followed.

    Example:
        $ldap = LDAP("ldap://ldap.example.com");
        $ldap->setoption("timeout", 5);
        if ($ldap->bind("uid=tesla,dc=example,dc=com", "password"))
            foreach ($ldap->search("dc=example,dc=com", ["filter" => "(mail=*)"]) ?? [] as $entry)
                echo $entry["dn"];
    """

    def __init__(self, uri: bytes) -> None:
        super().__init__()
        from hsl.library.ldapclient import Client, read_uri

        self.client = Client(read_uri("LDAP", uri))
        self.problem = 0

    async def attempt(self, action: Awaitable[T]) -> T | None:
        """What comes of an operation; none, and its errno noted, where it fails."""
        from hsl.library.ldapclient import LDAPFailure

        try:
            return await action
        except LDAPFailure as error:
            self.problem = error.code
            return None

    async def done(self, action: Awaitable[bool]) -> Object | None:
        return self if await self.attempt(action) else None

    def failed(self, code: int) -> Object | None:
        """None, for an operation that failed."""
        self.problem = code
        return None

    @method("setoption")
    def setoption(self, name: bytes, value: bool | float) -> Object | None:
        """Set an option of the connection, and return the LDAP; none for a value that is not supported.

        `network_timeout`: seconds for connecting, `timeout`: for an answer, 0: what the script has left (the default of
        both); `timelimit`: seconds that the server may search, 0: its own limit; `tls_verify_peer` (true); also
        `protocol_version` (3), `referrals` (false) and `tls_default_ca`, which change nothing.

        Example:
            $ldap = LDAP("ldap://ldap.example.com");
            if (!$ldap->setoption("network_timeout", 5))
                echo LDAP::err2string($ldap->errno());
        """
        text = name.decode("utf-8", "replace")
        if text not in SETTINGS:
            hint = near(text, SETTINGS) or f"there are {', '.join(SETTINGS)}"
            raise ScriptError(f"LDAP->setoption(): parameter 1 (name): there is no option {text!r}", hint=hint)
        low, high = SETTINGS[text]
        if not low <= value <= high:
            return self.failed(NOT_SUPPORTED)
        if text in ("network_timeout", "timeout"):
            setattr(self.client, text, float(value) or None)
        elif text == "timelimit":
            self.client.timelimit = int(value)
        elif text == "tls_verify_peer":
            self.client.verify = bool(value)
        return self

    @method("starttls")
    async def starttls(self, run: Run) -> Object | None:
        """Turn TLS on (RFC 4511 section 4.14), and return the LDAP; none on failure.

        Example:
            $ldap = LDAP("ldap://ldap.example.com");
            if (!$ldap->starttls())
                echo LDAP::err2string($ldap->errno());
        """
        return await self.done(self.client.start_tls(run))

    @method("bind")
    async def bind(self, run: Run, dn: bytes = b"", cred: bytes = b"") -> Object | None:
        """Log in with a name and a password, without both anonymously, and return the LDAP; none on failure.

        A name without a password fails, and is not sent: servers take that for anonymous (RFC 4513 section 5.1.2).

        Example:
            $ldap = LDAP("ldap://ldap.example.com");
            if (!$ldap->bind("cn=admin,dc=example,dc=com", "secret"))
                echo LDAP::err2string($ldap->errno());
        """
        if dn and not cred:
            return self.failed(INVALID_CREDENTIALS)
        return await self.done(self.client.bind(run, dn, cred))

    @method("search")
    async def search(self, run: Run, basedn: bytes, options: SearchOptions) -> Object | None:
        """Search below a name, and return an LDAPResult; none on failure.

        More than 1 000 000 values of attributes, or 64 MiB, raise an error.

        Example:
            $ldap = LDAP("ldap://ldap.example.com");
            $filter = "(mail=" . LDAP::filter_escape("someone@example.com") . ")";
            $result = $ldap->search("dc=example,dc=com", ["filter" => $filter, "attributes" => ["cn"]]);
            while ($result and $entry = $result->next())
                echo $entry["cn"][0];
        """
        scope = options.scope.decode("utf-8", "replace")
        if scope not in SCOPES:
            raise ScriptError(f"LDAP->search(): option scope: wanted sub, one or base, got {scope!r}")
        attributes = [] if options.attributes is None else list(map(to_string, options.attributes.values()))
        found = await self.attempt(self.client.search(run, basedn, scope, options.filter, attributes))
        return None if found is None else LDAPResult.of(found)

    @method("unbind")
    async def unbind(self, run: Run) -> Object | None:
        """End the connection, and return the LDAP; none on failure. Everything else fails from then on.

        Example:
            $ldap = LDAP("ldap://ldap.example.com");
            $ldap->unbind();
        """
        return await self.done(self.client.unbind(run))

    @method("errno")
    def errno(self) -> float:
        """Return the number of the latest error; 0 if there was none.

        From 1 on they are the server's (RFC 4511 appendix A), below 0 those of libldap: -1 the server cannot be
        reached, -5 the time is over, -7 the filter is wrong, -11 TLS failed.

        Example:
            echo LDAP("ldap://ldap.example.com")->errno();  // expect: 0
        """
        return float(self.problem)

    @method("getpeerx509")
    def getpeerx509(self) -> Object | None:
        """Return the server's certificate as an X509; none without TLS.

        Example:
            echo LDAP("ldap://ldap.example.com")->getpeerx509();  // expect: none
        """
        from hsl.library.tls import x509_object

        certificate = None if self.client.tls is None else self.client.tls.tls.getpeercert(binary_form=True)
        return None if certificate is None else x509_object(certificate)

    @staticmethod
    @static_method("err2string")
    def err2string(errno: int) -> bytes:
        """Return what an error's number means, in the words of libldap.

        Example:
            echo LDAP::err2string(49);  // expect: Invalid credentials
        """
        from hsl.library.ldaperrors import MESSAGES

        return MESSAGES.get(errno, "Unknown error").encode()

    @staticmethod
    @static_method("filter_escape")
    def filter_escape(value: bytes) -> bytes:
        """Return a value as it can stand in a filter (RFC 4515).

        Brackets, asterisks, backslashes and bytes that are no printable ASCII become `\\XX`.

        Example:
            echo LDAP::filter_escape("a*b");  // expect: a\\2Ab
        """
        from hsl.library import ldapwire as wire

        return wire.escape(value)

    @staticmethod
    @static_method("str2dn")
    def str2dn(str: bytes) -> Array | None:
        """Return the components of a distinguished name (RFC 4514): arrays of an attribute and its value.

        A component of several attributes is one array of all of them, in turn with their values. None for what is no
        name.

        Example:
            echo LDAP::str2dn("cn=admin,dc=example");  // expect: [0=>[0=>"cn",1=>"admin"],1=>[0=>"dc",1=>"example"]]
        """
        from hsl.library import ldapwire as wire

        try:
            rdns = wire.read_name(str)
        except wire.Malformed:
            return None
        return Array([Array([part for pair in rdn for part in pair]) for rdn in rdns])

    @staticmethod
    @static_method("dn2str")
    def dn2str(dn: Array) -> bytes | None:
        """Return the distinguished name of what LDAP::str2dn() gives, escaped as is necessary; none if it is none.

        Example:
            echo LDAP::dn2str([["cn", "Smith, John"], ["dc", "example"]]);  // expect: cn=Smith\\, John,dc=example
        """
        from hsl.library import ldapwire as wire

        rdns = []
        for item in dn.values():
            parts = [to_string(part) for part in item.values()] if isinstance(item, Array) else []
            if not parts or len(parts) % 2:
                return None
            rdns.append(list(zip(parts[::2], parts[1::2], strict=True)))
        try:
            return wire.write_name(rdns)
        except wire.Malformed:
            return None


@chapter.object("LDAPResult", creatable=False)
class LDAPResult(NativeObject):
    """What LDAP->search() found. `foreach` walks over the entries that next() has not given yet.

    Each entry is an array of `dn`, its name, and its attributes: arrays of their values.

    Example:
        $result = LDAP("ldap://directory.example.com")->search("dc=example,dc=com");
        if ($result)
            foreach ($result as $entry)
                echo $entry["dn"];
    """

    def __init__(self) -> None:
        super().__init__()
        self.entries: Iterator[Array] = iter(())

    @classmethod
    def of(cls, entries: list[Array]) -> LDAPResult:
        result = cls()
        result.entries = iter(entries)
        return result

    @method("next")
    def next_entry(self) -> Array | None:
        """Return the next entry; none after the last one.

        Example:
            function names($result) {
                $names = [];
                while ($entry = $result->next()) $names[] = $entry["dn"];
                return $names;
            }
        """
        return next(self.entries, None)

    def walk(self, run: object) -> Iterator[tuple[Value, Value]]:
        yield from ((float(number), entry) for number, entry in enumerate(self.entries))


# ------------------------------------------------------------ the older functions


class LDAPProfile(NamedTuple):
    """A directory that the configuration names."""

    host: str  # a URI
    username: str = ""
    password: str = ""
    base: str = ""
    query: str = ""
    tls_verify_peer: bool = True


@runtime_checkable
class HasLDAP(Protocol):
    """A host whose configuration has LDAP profiles, by id."""

    @property
    def ldap(self) -> Mapping[str, LDAPProfile]: ...


class BindOverride(Options):
    host: bytes | None = option(None, "The LDAP URI.")
    tls_verify_peer: bool | None = option(None, "Check the server's certificate; by default as the profile says.")
    tls_default_ca: bool = option(True, "The authorities that this system knows; there are no others.")


class SearchOverride(BindOverride):
    username: bytes | None = option(None, "The name to log in with; empty: nobody's.")
    password: bytes | None = option(None, "The password.")
    base: bytes | None = option(None, "The name below which is searched.")
    query: bytes | None = option(None, "The filter; %s and $1, $2 … stand for the values, escaped, %x as it is.")


def read_profile(run: Run, function: str, name: bytes, override: BindOverride) -> tuple[LDAPProfile, Client]:
    """A profile, or nothing where the override names the host. Raises ScriptError."""
    profiles: Mapping[str, LDAPProfile] = run.host.ldap if isinstance(run.host, HasLDAP) else MappingProxyType({})
    text = name.decode("utf-8", "replace")
    profile = profiles.get(text)
    if profile is None and override.host is None:
        hint = near(text, profiles) or "name the host in the override array, or use the class LDAP"
        raise ScriptError(f"{function}(): there is no profile {text!r} (scripting.ldap)", hint=hint)
    profile = profile or LDAPProfile("")
    host = profile.host.encode() if override.host is None else override.host
    from hsl.library.ldapclient import Client, read_uri

    client = Client(read_uri(function, host))
    client.verify = profile.tls_verify_peer if override.tls_verify_peer is None else override.tls_verify_peer
    return profile, client


@chapter.function("ldap_bind")
async def ldap_bind(run: Run, profile: bytes, username: bytes, password: bytes, override: BindOverride) -> float:
    """Return 1 if a directory takes a name and its password, 0 if it does not, -1 if it cannot be asked.

    `profile` is an id of the configuration's `scripting.ldap`; any string, if the override names the host. An empty
    password gives 0, and is not sent. (Older; today: the class LDAP.)

    Example:
        if (ldap_bind("directory", "uid=tesla,dc=example,dc=com", "password") == 1)
            echo "welcome";
    """
    from hsl.library.ldapclient import REFUSED, LDAPFailure

    _, client = read_profile(run, "ldap_bind", profile, override)
    if not password:
        return 0.0
    try:
        await client.bind(run, username, password)
        await client.unbind(run)
    except LDAPFailure as error:
        return 0.0 if error.code in REFUSED else -1.0
    finally:
        client.close()
    return 1.0


@chapter.function("ldap_search")
async def ldap_search(run: Run, profile: bytes, lookup: bytes | Array, override: SearchOverride) -> Array | float:
    """Return the entries that a query finds, as LDAPResult->next() gives them; -1 if the directory fails.

    `profile` is an id of the configuration's `scripting.ldap`; any string, if the override names the host. In the query
    a string `lookup` replaces `%s` (escaped) and `%x` (as it is: dangerous), the items of an array `$1`, `$2` …
    (escaped). (Older; today: the class LDAP.)

    Example:
        $found = ldap_search("directory", "someone@example.com", ["query" => "(mail=%s)"]);
        if (is_array($found) and length($found) > 0)
            echo $found[0]["dn"];
    """
    from hsl.library.ldapclient import LDAPFailure, fill_query

    named, client = read_profile(run, "ldap_search", profile, override)
    username = named.username.encode() if override.username is None else override.username
    password = named.password.encode() if override.password is None else override.password
    base = named.base.encode() if override.base is None else override.base
    query = named.query.encode() if override.query is None else override.query
    try:
        if username:
            await client.bind(run, username, password)
        entries = await client.search(run, base, "sub", fill_query(query or b"(objectclass=*)", lookup), [])
        await client.unbind(run)
    except LDAPFailure:
        return -1.0
    finally:
        client.close()
    return Array([*entries])
