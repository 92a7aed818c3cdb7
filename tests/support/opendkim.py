"""Another implementation's word on DKIM: opendkim in its test mode, with key files."""

import subprocess
from pathlib import Path

from servers import needs


def opendkim_says(folder: Path, message: bytes, **keys: str) -> str:
    """What opendkim says of a message; `keys` are the records of selectors of example.com."""
    (folder / "message.eml").write_bytes(message)
    (folder / "records").write_text("".join(f"{name}._domainkey.example.com {text}\n" for name, text in keys.items()))
    (folder / "opendkim.conf").write_text(f"RequireSafeKeys no\nMode v\nTestPublicKeys {folder / 'records'}\n")
    command = [needs("opendkim", "opendkim"), "-x", str(folder / "opendkim.conf"), "-t", str(folder / "message.eml")]
    done = subprocess.run([*command, "-vvv"], capture_output=True, timeout=30, check=True)
    return (done.stdout + done.stderr).decode()
