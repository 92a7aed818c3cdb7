"""The configuration's shape: `smtpd.yaml`, in the vocabulary of these administrators. Reading it is `configfile.py`.

Times are seconds or `1d2h3m4s`; sizes are bytes or `10MiB`.
"""

from __future__ import annotations

import re
import socket
import ssl
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

MECHANISM = re.compile(r"[A-Z0-9_-]{1,20}\Z")  # RFC 4422 3.1
SERVER_NAME = re.compile(r"(?:\*\.)?[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})+\Z", re.IGNORECASE)
TIME = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?\Z")
METRIC = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]{0,199}\Z")
SIZE = re.compile(r"(\d+)\s*(TiB|GiB|MiB|KiB|B)?\Z")
SIZES = {"TiB": 1 << 40, "GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}
LOOKUP_MX = "lookup-mx"  # in the place of a host
MAX_WORKERS = 64
CONTROL_SOCKET = "control.sock"  # in queues.path, unless environment.controlsocket says otherwise


def read_seconds(value: object) -> object:
    """`90`, `1.5` or `1h30m` as seconds."""
    if isinstance(value, str) and value:
        match = TIME.match(value)
        if not match:
            raise ValueError(f"{value!r} is not a time: write seconds, or like 1d2h3m4s")
        days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
        return days * 86400 + hours * 3600 + minutes * 60 + seconds
    return value


def read_bytes(value: object) -> object:
    """`1048576` or `1MiB` as bytes."""
    if isinstance(value, str):
        match = SIZE.match(value)
        if not match:
            raise ValueError(f"{value!r} is not a size: write bytes, or like 10MiB")
        return int(match[1]) * SIZES[match[2] or "B"]
    return value


MAX_SECONDS = 10 * 365 * 86400.0  # of any time: dates that follow from it can be written
Seconds = Annotated[float, BeforeValidator(read_seconds), Field(ge=0, le=MAX_SECONDS)]
Bytes = Annotated[int, BeforeValidator(read_bytes), Field(ge=0)]


def check_metric(value: object) -> object:
    """A name that Prometheus takes, and that is not the gateway's own."""
    if isinstance(value, str) and (not METRIC.match(value) or value.startswith("hsl_")):
        raise ValueError(f"{value!r} is not a metric's name: letters, digits, _ and :, and not beginning with hsl_")
    return value


def check_mechanism(value: object) -> object:
    """The name of a SASL mechanism, in upper case."""
    if isinstance(value, str):
        value = value.upper()
        if not MECHANISM.match(value):
            raise ValueError(f"{value!r} is not a mechanism: up to 20 letters, digits, - and _")
    return value


def check_server_name(value: object) -> object:
    """A host name, maybe with `*` as its first label."""
    if isinstance(value, str) and (not SERVER_NAME.match(value) or len(value) > 253):
        raise ValueError(f"{value!r} is not a host name: write mail.example.com or *.example.com")
    return value


def check_ciphers(value: object) -> object:
    """A list of ciphers that OpenSSL knows at least one of."""
    if isinstance(value, str):
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers(value)
        except ssl.SSLError:
            raise ValueError(f"OpenSSL knows none of the ciphers {value!r}") from None
    return value


ServerName = Annotated[str, BeforeValidator(check_server_name)]
Ciphers = Annotated[str, BeforeValidator(check_ciphers)]
Mechanism = Annotated[str, BeforeValidator(check_mechanism)]
MetricName = Annotated[str, BeforeValidator(check_metric)]
FileMask = Annotated[str, Field(pattern=r"^0?[0-7]{3}$")]
Workers = Annotated[int, Field(ge=1, le=MAX_WORKERS)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Listener(Section):
    """An address to listen on. Port 0 takes a free one (tests)."""

    address: str = "127.0.0.1"  # "::" and "0.0.0.0" are all of their family
    port: Port = 25
    implicit_tls: bool = False  # TLS from the first octet (submissions, port 465)


class CertificatePair(Section):
    """A certificate, with its chain behind it, and its key; PEM files without a password."""

    certificate: Path  # PEM file
    privatekey: Path  # PEM file


class NamedCertificate(CertificatePair):
    """For clients that name one of these servers (SNI)."""

    names: list[ServerName] = []  # host names, `*.` stands for one label; default: those in the certificate


class ClientCertificates(Section):
    """Whether clients are asked for certificates. Scripts see them, and OpenSSL's verdict: `$connection["tls"]`.

    request: any certificate will do, and none. require: any, but one. verify: one that `ca` has issued.
    """

    mode: Literal["request", "require", "verify"] = "request"  # see above
    ca: Path | None = None  # PEM file of authorities


class ServerTLS(CertificatePair):
    """STARTTLS (and implicit TLS) with this certificate, and others by name. Changed files are taken by themselves."""

    certificates: list[NamedCertificate] = []
    clients: ClientCertificates | None = None
    required: bool = False  # no mail without TLS: 530 5.7.0
    minimum: Literal["TLSv1.2", "TLSv1.3"] = "TLSv1.2"  # the oldest version that is spoken
    ciphers: Ciphers | None = None  # of TLS 1.2, as OpenSSL lists them
    watch: Seconds = 10.0  # between two looks at the files; 0: only a reload looks


class Relay(Section):
    """Who may send to any domain without a script saying so."""

    networks: list[str] = []  # of clients, as 192.0.2.0/24
    domains: list[str] = []  # of recipients, exactly


class Limits(Section):
    """The most that one peer may use."""

    size: Bytes = 50 * 1024 * 1024  # one message
    recipients: int = Field(default=1000, ge=1)  # of one message; more get 452
    line: Bytes = 998  # one line of a message, CRLF not counted (RFC 5322 2.1.1); 0: no limit
    errors: int = Field(default=20, ge=1)  # 4xx and 5xx replies of one session
    auth_failures: int = Field(default=3, ge=1)  # failed logins of one session
    auth_failures_per_ip: int = Field(default=20, ge=1)  # failed logins of one IP in an hour
    connections: int = Field(default=1000, ge=1)  # at once; more get 421
    connections_per_ip: int = Field(default=50, ge=1)  # at once, of one IP; more get 421
    handshakes_per_ip: int = Field(default=100, ge=1)  # failed TLS handshakes of one IP in an hour
    handshake: Seconds = 30.0  # a TLS handshake in all
    idle: Seconds = 300.0  # waiting for a command or a block of data (RFC 5321 4.5.3.2.7)
    session: Seconds = 3600.0  # one session in all
    replies: Annotated[Bytes, Field(ge=512)] = 64 * 1024  # not yet taken by their client; then it is not read
    spool: Bytes = 1024 * 1024 * 1024  # message bytes held by all sessions together, while they come in
    spool_per_ip: Bytes = 256 * 1024 * 1024  # the same, of one IP's sessions; more get 452


class Phase(Section):
    """A stage's script, relative to scripting.rootpath."""

    hook: str | None = None  # a file


class RecipientHooks(Section):
    """Scripts by the recipient's domain, exactly; `*` is for all others. Without one there is no script."""

    recipientdomains: Annotated[dict[str, str], Field(min_length=1)]  # domain to file


def read_hook(value: object) -> object:
    """One script alone is for all domains."""
    return {"recipientdomains": {"*": value}} if isinstance(value, str) else value


class RecipientPhase(Section):
    """The scripts of rcptto, relative to scripting.rootpath: one, or a map by domain."""

    hook: Annotated[RecipientHooks | None, BeforeValidator(read_hook)] = None


class Phases(Section):
    """A server has a data hook (for each recipient) or an eod hook (once per message), not both."""

    connect: Phase = Phase()
    helo: Phase = Phase()
    auth: Phase = Phase()
    mailfrom: Phase = Phase()
    rcptto: RecipientPhase = RecipientPhase()
    data: Phase = Phase()
    eod: Phase = Phase()
    disconnect: Phase = Phase()


class AuthSettings(Section):
    """What AUTH offers. PLAIN and LOGIN are built in; the auth script carries out all others (`Reply`)."""

    without_tls: bool = False  # offer AUTH on plain connections (loopback tests only)
    mechanisms: Annotated[list[Mechanism], Field(min_length=1)] = ["PLAIN", "LOGIN"]  # in the order of preference


class Server(Section):
    """One virtual SMTP server."""

    id: str  # `$serverid`, and `server` in the log
    listeners: Annotated[list[Listener], Field(min_length=1)]
    transport: str  # the transportid that recipients get unless a script says otherwise
    hostname: str | None = None  # default: environment.hostname
    tls: ServerTLS | None = None
    relay: Relay = Relay()
    limits: Limits = Limits()
    auth: AuthSettings = AuthSettings()
    phases: Phases = Phases()
    bare_newline: Literal["reject", "normalise"] = "reject"  # bare CR and LF, and NUL, in a message
    submission: bool = False  # add Message-ID and Date where they are missing
    postmaster: str | None = None  # where `RCPT TO:<postmaster>` goes


class Session(Section):
    """How a transport reaches its next hop. Without a host (or with lookup-mx) by the recipient domain's MX."""

    host: str | None = None  # a name or an address
    port: Port = 25
    helo: str | None = None  # default: that of the source address, or environment.hostname
    sourceip: str | None = None  # an addresses[] id
    tls: Literal["disabled", "optional", "optional_verify", "require", "require_verify"] = "optional"  # STARTTLS
    username: str | None = None  # for AUTH
    password: str | None = None
    connect_timeout: Seconds = 30.0  # for one address

    @property
    def fixed_host(self) -> str | None:
        """The next hop of all mail; None: each recipient domain has its own."""
        return None if self.host in (None, "", LOOKUP_MX) else self.host


class Transport(Section):
    """One way out, that scripts name by its id."""

    id: str
    session: Session = Session()


class Interval(Section):
    """The time until the next attempt."""

    interval: Seconds  # after the attempt before
    notify: bool = False  # tell the sender of the delay


class Retry(Section):
    """`count` retries after these intervals (the last one repeats), and no longer than `expire` in all."""

    count: int = Field(default=30, ge=0)  # attempts after the first
    intervals: Annotated[list[Interval], Field(min_length=1)] = [
        Interval(interval=60), Interval(interval=900), Interval(interval=3600, notify=True),
        Interval(interval=7200), Interval(interval=10800),
    ]  # fmt: skip
    expire: Seconds = 5 * 86400.0  # an older message bounces, whatever its count


class DKIMKey(Section):
    """A signature by RFC 6376. The private key is a PEM file, of RSA or Ed25519."""

    selector: str  # s=
    domain: str  # d=
    privatekey: Path  # PEM file


class DSN(Section):
    """Delivery status notifications."""

    transport: str | None = None  # default: the transport of the failed mail
    dkim: DKIMKey | None = None  # sign notifications; From is of environment.hostname, or what SetDSN() says
    enabled: bool = True  # False: mail that cannot be delivered is deleted without a bounce


class TransportGroup(Section):
    """Transports with the same retries and notifications."""

    id: str
    retry: Retry = Retry()
    dsn: DSN = DSN()
    transports: Annotated[list[Transport], Field(min_length=1)]


class Address(Section):
    """A source address that scripts name as `netaddr:ID`."""

    id: str
    address: str  # IPv4 or IPv6
    hostname: str  # what HELO says from there


PolicyField = Literal[
    "tenantid", "transportid", "recipientdomain", "jobid", "localip", "grouping", "remoteip", "remotemx",
]  # fmt: skip


class PolicyLimits(Section):
    """What a policy allows; `rate` is `messages/seconds`. `properties` are for scripts to see."""

    concurrency: int | None = Field(default=None, ge=1, le=1_000_000)  # attempts at once
    rate: str | None = None  # messages
    connectinterval: Seconds | None = None  # between two new connections
    stop: bool = False  # policies below this one do not count what this one counts
    tag: str = ""  # for `$arguments["policy"]`
    properties: dict[str, bool | int | float | str] = {}  # likewise


class PolicyCondition(Section):
    """For which of the counted values these limits are: field to value, as in queue_policy()."""

    if_: dict[str, str] = Field(alias="if")  # field to value; all must be so
    then: PolicyLimits


class QueuePolicy(Section):
    """One counter, by the values of its fields (none: one for all mail): the first condition that matches, or else the
    default, says what it is limited to."""

    fields: list[PolicyField] = []  # what is counted apart
    conditions: list[PolicyCondition] = []
    default: PolicyLimits | None = None


class GroupingItem(Section):
    """Mail hosts that count as one: `&id` in conditions."""

    id: str
    remotemx: list[str] = []  # names of mail hosts
    remoteip: list[str] = []  # addresses and networks


class GroupingSettings(Section):
    """What the field `grouping` is for mail hosts of no grouping, and the groupings."""

    default: Literal["recipientdomain", "remotemx", ""] = "recipientdomain"  # of hosts in none
    groupings: list[GroupingItem] = []


class Pooling(Section):
    """Connections to next hops that are kept for the next mail."""

    timeout: Seconds = 10.0  # how long an unused one is kept; 0: every mail has its own
    transactions: int = Field(default=100, ge=1)  # of one connection
    age: Seconds = 300.0  # of one connection
    size: int = Field(default=200, ge=0)  # unused ones


class Queues(Section):
    """The queue and what leaves it."""

    path: Path = Path("/var/spool/hslmta")  # its folder, on a disk that keeps what it was told to
    predelivery: Phase = Phase()
    postdelivery: Phase = Phase()
    concurrency: int = Field(default=200, ge=1)  # delivery attempts at once; on top, as many that take over a second
    concurrency_per_destination: int | None = Field(default=None, ge=1)  # default: a quarter of them, at least 20
    pooling: Pooling = Pooling()
    free: Bytes = 64 * 1024 * 1024  # below this much free disk MAIL gets 452
    policies: list[QueuePolicy] = []
    grouping: GroupingSettings = GroupingSettings()
    lists: dict[str, list[str]] = {}  # `@name` in conditions


class State(Section):
    """Where rates and slots live: the process's memory, or Redis for several processes and nodes."""

    backend: Literal["memory", "redis"] = "memory"  # several workers need Redis
    url: str | None = None  # redis://host:port/db or unix://path
    prefix: str = "hsl:"  # of all keys
    timeout: Seconds = 0.5  # for one answer; then scripts that need it fail temporarily


class SpamAssassin(Section):
    """spamd, on its TCP socket."""

    host: str = "127.0.0.1"
    port: Port = 783
    timeout: Seconds = 20.0  # a scan in all
    max_size: Bytes = 512 * 1024  # larger messages are not scanned: NOT_SCANNED_TOO_BIG


class ClamAV(Section):
    """clamd, on its TCP socket."""

    host: str = "127.0.0.1"
    port: Port = 3310
    timeout: Seconds = 20.0  # a scan in all
    max_size: Bytes = 25 * 1024 * 1024  # larger messages are not scanned; at most clamd's StreamMaxLength


class DLP(Section):
    """Rules of ScanDLP(): by name, then by type (filename, mimetype, content, md5hash …), patterns."""

    rules: dict[str, dict[str, list[str]]] = {}  # name to type to patterns


class Scanners(Section):
    """Without a spamassassin section ScanSA knows GTUBE only, without clamav ScanCLAM EICAR only; ScanRPD is the
    embedded classifier in this version."""

    spamassassin: SpamAssassin | None = None
    clamav: ClamAV | None = None
    dlp: DLP = DLP()


class Resolver(Section):
    """Where names are asked for."""

    servers: list[str] = []  # addresses; default: the system's
    port: Port = 53
    timeout: Seconds = 5.0  # a question in all
    ptr: bool = True  # look the client's name up at connect (for $remoteptr and Received)
    hosts: dict[str, list[str]] = {}  # fixed answers, name to addresses (tests, demos)
    mx: dict[str, list[str]] = {}  # fixed answers, domain to mail hosts in order


class Budgets(Section):
    """The most that one script run may use."""

    steps: int = Field(default=20_000_000, ge=1000)  # turns of loops, and calls
    seconds: Seconds = 30.0  # waits included: longer than the scanners' timeouts


class ScriptNetwork(Section):
    """What scripts may reach, by DNS questions to servers that they name, HTTP and sockets.

    Of the networks that hold an address the longest decides. Link-local and cloud metadata addresses are denied unless
    an `allow` names them, or a network as long as theirs.
    """

    allow: list[str] = []  # networks; default: everything
    deny: list[str] = []  # networks, besides those that are always denied
    unix: list[str] = []  # absolute paths of UNIX sockets; no others may be reached


class LDAPDirectory(Section):
    """A directory that ldap_search() and ldap_bind() know by its id."""

    id: str
    host: str  # one or more URIs: ldap://host:port, ldaps://host:port
    username: str = ""  # a DN
    password: str = ""
    base: str = ""  # below which is searched
    query: str = ""  # a filter; %s stands for what is looked up
    tls_verify_peer: bool = True  # only servers with a certificate that is theirs


class Scripting(Section):
    """What scripts may do."""

    rootpath: Path = Path(".")  # below it lie scripts, and all files that they read
    network: ScriptNetwork = ScriptNetwork()
    budgets: Budgets = Budgets()
    ffi: bool = False  # whether scripts may call C functions: they can then do whatever the process can, and crash it
    ldap: list[LDAPDirectory] = []
    defer_code: Literal[421, 451] = 421  # what Defer() answers at end of data


class MonitorListener(Section):
    """Where /metrics, /ready and /healthy are served; a loopback address, for there are no passwords."""

    address: str = "127.0.0.1"
    port: Port


class Metric(Section):
    """A metric that scripts count: what it is, before the first script does."""

    name: MetricName  # letters, digits, _ and :
    type: Literal["counter", "gauge", "histogram"]  # as Prometheus has them
    help: str = ""  # what it counts
    buckets: list[float] = []  # of a histogram: upper bounds


class MonitorSettings(Section):
    """What is told of the gateway."""

    listener: MonitorListener | None = None
    metrics: list[Metric] = []


class PrivDrop(Section):
    """Whom the workers run as, once root has opened the ports."""

    user: str  # who must be able to read the scripts, and to write to queues.path
    group: str | None = None  # default: the user's own


class Environment(Section):
    """The processes, and whom they say they are."""

    hostname: str = Field(default_factory=socket.gethostname)  # in the banner, Received, HELO, reports, gethostname()
    workers: Workers = 1  # processes on the same ports; several need state.backend redis
    privdrop: PrivDrop | None = None  # default: the workers stay who started them
    umask: FileMask | None = None  # of the workers, octal, like 0027; default: as it was
    controlsocket: Path | None = None  # default: control.sock in queues.path
    log: Literal["debug", "info", "warning", "error"] = "info"  # the least that is told; debug has what scripts echo


class Config(Section):
    """The whole file."""

    version: Literal[1] = 1  # of this format
    environment: Environment = Environment()
    servers: Annotated[list[Server], Field(min_length=1)]
    transportgroups: Annotated[list[TransportGroup], Field(min_length=1)]
    addresses: list[Address] = []
    queues: Queues = Queues()
    state: State = State()
    scanners: Scanners = Scanners()
    monitor: MonitorSettings = MonitorSettings()
    resolver: Resolver = Resolver()
    scripting: Scripting = Scripting()
