"""Delivery attempts in words: an Attempt comes in; fields of a log line, or one line for people, go out."""

from __future__ import annotations

from hsl.runtime.model import Attempt, DeliveryPlan


def attempt_facts(attempt: Attempt, plan: DeliveryPlan | None = None) -> dict[str, object]:
    """How it went out, and what decided it; None and empty are left out by the log."""
    facts: dict[str, object] = {
        "relay": attempt.remotemx or (plan.host if plan else None),
        "relayip": attempt.remoteip,
        "relayport": attempt.remoteport or None,
        "sourceip": attempt.localip,
        "helo": attempt.helo,
        "duration": attempt.duration,
        "tls": f"{attempt.tls.protocol}/{attempt.tls.cipher}" if attempt.tls else None,
    }
    decided = attempt.result or attempt.error
    if decided is not None and decided.enhanced:
        facts["enhanced"] = ".".join(map(str, decided.enhanced))
    if attempt.result is not None:
        facts |= {"code": attempt.result.code, "state": attempt.result.state, "reply": " ".join(attempt.result.lines)}
    elif attempt.error is not None:
        facts |= {
            "code": 0,
            "state": attempt.error.state,
            "error": attempt.error.kind,
            "reply": attempt.error.message,
        }
    return facts


def describe(attempt: Attempt) -> str:
    """An attempt's outcome in one line, for people."""
    if attempt.result is not None:
        enhanced = ".".join(map(str, attempt.result.enhanced)) + " " if attempt.result.enhanced else ""
        return f"{attempt.result.code} {enhanced}{' '.join(attempt.result.lines)} ({attempt.result.state})"[:1000]
    return f"{attempt.error.kind}: {attempt.error.message}"[:1000] if attempt.error else ""
