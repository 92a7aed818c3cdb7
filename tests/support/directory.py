"""A real directory: Debian's slapd, on free loopback ports, with a few entries."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme
from servers import Server, free_port, is_listening, needs, on_free_port

BASE = "dc=example,dc=com"
ADMIN = f"cn=admin,{BASE}"
PASSWORD = "secret"

CONFIG = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
TLSCACertificateFile {folder}/ca.pem
TLSCertificateFile {folder}/certificate.pem
TLSCertificateKeyFile {folder}/key.pem
allow bind_v2 bind_anon_cred bind_anon_dn
database mdb
suffix "{base}"
rootdn "{admin}"
rootpw {password}
directory {folder}/database
"""

ENTRIES = """\
dn: {base}
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: ou=people,{base}
objectClass: organizationalUnit
ou: people

dn: uid=tesla,ou=people,{base}
objectClass: inetOrgPerson
uid: tesla
cn: Nikola Tesla
sn: Tesla
mail: tesla@example.com
mail: nikola@example.com
userPassword: coil

dn: uid=curie,ou=people,{base}
objectClass: inetOrgPerson
uid: curie
cn: Marie (Curie)*
sn: Curie
mail: curie@example.com
jpegPhoto:: AP8KQw==
userPassword: radium
"""


class Slapd(Server):
    """slapd with ldap:// on `port` and ldaps:// on `tls_port`. Its certificate is for `localhost`."""

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        super().__init__(folder, "slapd")
        self.program = needs("slapd", "slapd")
        (folder / "database").mkdir()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        certificate = authority.issue_cert("localhost")
        certificate.private_key_pem.write_to_path(folder / "key.pem")
        (folder / "certificate.pem").write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
        self.config = folder / "slapd.conf"
        self.config.write_text(CONFIG.format(folder=folder, base=BASE, admin=ADMIN, password=PASSWORD))
        self.load(ENTRIES.format(base=BASE))
        self.port = self.tls_port = 0

    def load(self, entries: str) -> None:
        """Add entries while it does not run."""
        tool = needs("slapadd", "slapd")
        subprocess.run([tool, "-q", "-f", self.config], input=entries, text=True, check=True, capture_output=True)

    def start(self, port: int) -> None:
        self.tls_port = free_port()
        urls = f"ldap://127.0.0.1:{port} ldaps://127.0.0.1:{self.tls_port}"
        command = [self.program, "-h", urls, "-f", str(self.config), "-d", "0"]
        self.launch(command, lambda: all(is_listening("127.0.0.1", item) for item in (port, self.tls_port)))
        self.port = port


@contextmanager
def slapd(folder: Path, authority: trustme.CA) -> Iterator[Slapd]:
    """A running slapd."""
    server = Slapd(folder, authority)
    on_free_port(server.start)
    try:
        yield server
    finally:
        server.stop()
