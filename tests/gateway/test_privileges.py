"""Workers that give root's rights up: who they are, what they own, and keys that only root may read."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import smtplib
import ssl
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway import DEADLINE, Gateway, hsl, write_gateway
from pki import Holder
from servers import UNPRIVILEGED, is_root

PRELOAD = """\
# what a worker reads later, it reads as a user who may not see where this test's Python lies
import encodings.idna, encodings.latin_1
from cryptography import x509
from cryptography.hazmat.primitives import serialization
import hsl.library.tls, hsl.smtpd.clientcerts
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter: those of pytest are for its own user."""
    path = Path(tempfile.mkdtemp(prefix="hsl-privileges-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def write(folder: Path, user: str = UNPRIVILEGED, group: str | None = None, **server: object) -> Path:
    privdrop = {"user": user} | ({"group": group} if group else {})
    environment = {"privdrop": privdrop, "umask": "0077", "controlsocket": "c.sock", "hostname": "gw.example.net"}
    return write_gateway(folder, {"predelivery": "Reschedule(600);"}, environment=environment, server=server)


def presented(gateway: Gateway) -> bytes:
    """The certificate of a new connection."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", gateway.port, timeout=DEADLINE) as client:
        client.starttls(context=context)
        assert isinstance(client.sock, ssl.SSLSocket)
        return client.sock.getpeercert(binary_form=True) or b""


def test_the_workers_are_somebody_else(folder: Path) -> None:
    """Root opens the port, keeps the control socket, and reads the keys, also those that come anew."""
    if not is_root():
        done = hsl("serve", "-c", write(folder))
        assert (done.returncode, "only root can become nobody" in done.stderr) == (1, True)
        return
    files = {"certificate": folder / "c.pem", "privatekey": folder / "k.pem"}
    (folder / "sitecustomize.py").write_text(PRELOAD)

    def place(name: str) -> bytes:
        """Put a new pair there, for root only; the certificate."""
        pair = Holder(name)
        for file, text in zip(files.values(), (pair.pem, pair.key_pem), strict=True):
            file.write_bytes(text)
            file.chmod(0o600)
        return pair.der

    first = place("first.example.net")
    path = write(folder, tls={name: str(file) for name, file in files.items()})
    with Gateway(path, PYTHONPATH=str(folder)) as gateway:
        user = pwd.getpwnam(UNPRIVILEGED)
        status = Path(f"/proc/{gateway.workers()[0]}/status").read_text()
        for line in (
            "Umask:\t0077",
            f"Uid:\t{user.pw_uid}\t{user.pw_uid}\t{user.pw_uid}",
            f"Gid:\t{user.pw_gid}\t{user.pw_gid}",
        ):
            assert line in status
        assert f"Uid:\t{os.geteuid()}\t" in Path(f"/proc/{gateway.pid}/status").read_text()
        assert gateway.send("joe@one.example", "bob@example.org")[0] == 250
        assert (folder / "queue" / "queue.db").stat().st_uid == user.pw_uid
        assert stat.S_IMODE((folder / "queue").stat().st_mode) == 0o700
        assert gateway.control.stat().st_uid == os.geteuid()
        assert presented(gateway) == first
        second = place("second.example.net")
        gateway.send_signal(signal.SIGHUP)
        gateway.wait_for(r" certificate-renewed ")
        assert presented(gateway) == second
        assert gateway.queued() == 1


def test_users_and_groups_that_there_are_not(folder: Path) -> None:
    path = write(folder, "no-such-user", "no-such-group")
    done = hsl("serve", "-c", path)
    assert done.returncode == 1
    for name in ("user", "group"):
        lines = enumerate(path.read_text().splitlines(), 1)
        number, column = next((at, line.index(f'"no-such-{name}"')) for at, line in lines if f"no-such-{name}" in line)
        assert f"smtpd.yaml:{number}:{column + 1}: error: there is no {name} 'no-such-{name}'" in done.stderr
