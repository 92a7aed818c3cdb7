"""The process's limit on open files: raised at start as far as it may be, and compared with what sessions can need."""

from __future__ import annotations

import resource

from hsl.runtime.log import Log
from hsl.smtpd.config import Config

OTHERS = 200  # the queue, the log, DNS, scanners, Redis, control and monitor clients
OF_A_SESSION = 2  # its socket, and the file of a large message
OF_AN_ATTEMPT = 2  # its socket, and the file of a large message


def wanted_descriptors(config: Config) -> int:
    """How many files the sessions and attempts that a configuration allows may have open at once."""
    sessions = sum(server.limits.connections for server in config.servers)
    return OF_A_SESSION * sessions + OF_AN_ATTEMPT * config.queues.concurrency + OTHERS


def raise_descriptor_limit(config: Config, log: Log) -> None:
    """Use the hard limit (RLIMIT_NOFILE); a warning when it is less than the configuration may need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wanted = wanted_descriptors(config)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        log.warning("few-descriptors", limit=hard, wanted=wanted, hint="raise LimitNOFILE or lower limits.connections")
