"""Postfix and Haraka as processes of a bench: own configuration, queue and ports; the system's are left alone."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from measured import greets
from servers import Server, needs, on_free_port

HERE = Path(__file__).resolve().parent
HARAKA = "Haraka@3.3.4"
POSTFIX_DAEMONS = Path("/usr/lib/postfix/sbin")

MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
myhostname = postfix.example.net
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
mydestination =
local_recipient_maps =
alias_maps =
relayhost = [127.0.0.1]:{sink}
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtp_destination_concurrency_limit = 20
"""
MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix(Server):
    """Debian's Postfix, relaying everything to a port; its defaults but for the limits that 20 sessions would meet."""

    def __init__(self, folder: Path, sink: int) -> None:
        super().__init__(folder, "postfix")
        self.sink = sink
        self.port = on_free_port(self.start_at)

    def start_at(self, port: int) -> None:
        needs("postfix", "postfix")
        folder = self.directory / f"postfix-{port}"
        for name in ("conf", "queue", "data"):
            (folder / name).mkdir(parents=True)
        shutil.chown(folder / "data", "postfix")
        known = {"folder": folder, "daemons": POSTFIX_DAEMONS, "sink": self.sink, "port": port}
        (folder / "conf" / "main.cf").write_text(MAIN.format(**known))
        (folder / "conf" / "master.cf").write_text(MASTER.format(**known))
        check = ["postfix", "-c", str(folder / "conf"), "check"]
        subprocess.run(check, check=True, capture_output=True, timeout=60)
        command = [str(POSTFIX_DAEMONS / "master"), "-c", str(folder / "conf"), "-s"]  # -s: in the foreground
        environment = {"MAIL_CONFIG": str(folder / "conf"), "command_directory": "/usr/sbin"}
        self.launch(command, lambda: greets(port), **environment)


class Haraka(Server):
    """Haraka with its own queue, one process, and the plugin haraka/rates.js in place of the outbound scripts."""

    def __init__(self, folder: Path, sink: int, limits: dict[str, int]) -> None:
        super().__init__(folder, "haraka")
        self.numbers = {**limits, "sink": sink}
        self.program = installed()
        self.port = on_free_port(self.start_at)

    def start_at(self, port: int) -> None:
        folder = self.directory / f"haraka-{port}"
        shutil.copytree(self.program.parents[1] / "Haraka" / "config", folder / "config")
        for name in ("plugins", "queue"):
            (folder / name).mkdir()
        files = {
            "smtp.ini": f"listen=127.0.0.1:{port}\npublic_ip=127.0.0.1\n",  # else it asks somebody for its address
            "plugins": "rates\n",
            "me": "haraka.example.net\n",
            "log.ini": "[main]\nlevel=notice\n",
            "outbound.ini": "enable_tls=false\n",
            "rates.json": json.dumps(self.numbers),
        }
        for name, content in files.items():
            (folder / "config" / name).write_text(content)
        shutil.copy(HERE / "haraka" / "rates.js", folder / "plugins")
        self.launch([str(self.program), "-c", str(folder)], lambda: greets(port))


def installed() -> Path:
    """Haraka's program; npm installs it below build/ the first time."""
    place = HERE.parents[1] / "build" / "relay" / "haraka"
    program = place / "node_modules" / ".bin" / "haraka"
    if not program.exists():
        place.mkdir(parents=True, exist_ok=True)
        command = [needs("npm", "npm"), "install", "--no-audit", "--no-fund", "--prefix", str(place), HARAKA]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
    return program
