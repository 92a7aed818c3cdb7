"""Whom the workers run as: `environment.privdrop` comes in, a process without root's rights goes out."""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import signal
from dataclasses import dataclass

from hsl.smtpd.config import PrivDrop

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
PR_SET_DUMPABLE = 4


class PrivilegeError(Exception):
    """The workers cannot run as that user; the text is for the administrator."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A user as the system knows it."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def find_identity(wanted: PrivDrop | None) -> Identity | None:
    """Whom to become; None: nobody else than we are. Raises PrivilegeError."""
    if wanted is None:
        return None
    try:
        user = pwd.getpwnam(wanted.user)
        group = grp.getgrnam(wanted.group).gr_gid if wanted.group is not None else user.pw_gid
    except KeyError as error:
        raise PrivilegeError(f"environment.privdrop: {error.args[0]}") from None
    if user.pw_uid == os.geteuid() and group == os.getegid():
        return None
    if os.geteuid() != 0:
        raise PrivilegeError(f"environment.privdrop: only root can become {wanted.user}")
    groups = os.getgrouplist(wanted.user, group)
    return Identity(user.pw_uid, group, tuple(groups))


def become(identity: Identity) -> None:
    """Give root's rights up for good. Raises OSError."""
    os.setgroups(identity.groups)
    os.setresgid(identity.gid, identity.gid, identity.gid)
    os.setresuid(identity.uid, identity.uid, identity.uid)
    if identity.uid and 0 in os.getresuid():
        raise PermissionError("root's rights could not be given up")
    prctl(PR_SET_DUMPABLE, 1)  # else /proc/self is root's, and keys that were handed down could not be loaded


def die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends; at once if it has ended. To be said again after `become`.

    Workers without a supervisor would hold the queue and the ports against the next one.
    """
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def prctl(option: int, value: int) -> None:
    """prctl(2). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
