"""Chapter "Scanners": ScanDLP(), the message's parts against rules (reference 2015 and 2019)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from time import monotonic

from hsl.builtins import Chapter, Options, option
from hsl.errors import ScriptError, near
from hsl.library.mime import MailMessage
from hsl.run import Run
from hsl.runtime.context import MessageContext, text
from hsl.runtime.dlp import MAX_RULES, TOO_DEEP, UNKNOWN, Item, Rule, Scan, read_rule
from hsl.runtime.functions.arguments import MESSAGE_STAGES, host
from hsl.values import Array, Value, to_string, type_name

chapter = Chapter("Scanners", stages=MESSAGE_STAGES)
MAX_DEPTH = 100


class DLPOptions(Options):
    """The options of ScanDLP()."""

    stop_on_match: bool = option(False, "Stop at the first match.")
    timeout: float | None = option(None, "Stop after about this time, with ERR_UNKNOWN_ERROR.", unit="seconds")
    recursion_limit: int = option(9, "How deep parts and archives may be nested.")
    partid: bool = option(False, "Give an array of rule to the ids of the parts where it matched.")
    extended_result: bool = option(False, "Give an array: `rules`, and `error` if there was one.")


class OutOfTime(Exception):
    pass


@chapter.function("ScanDLP")
def scan_dlp(run: Run, patterns: Array | None = None, options: DLPOptions | None = None) -> Array:
    """Return the rules that match the message's parts: their names; an empty array for none.

    `patterns` names rules of the configuration (`scanners.dlp.rules`), or holds rules: name to an array of type to
    patterns. Types: `filename`, `mimetype` and `content` (regular expressions), `md5hash`, `sha1hash` and `sha256hash`
    (hex digests). Without it all configured rules are looked for. Contents are looked at decoded, as bytes; ZIP
    archives are opened, up to 16 MiB of a member and 64 MiB in all.

    There may be rules that nobody asked for: ERR_PASSWORD_PROTECTED (a locked archive), ERR_RECURSION_LIMIT (nested too
    deep), ERR_UNKNOWN_ERROR (broken, over a limit, or out of time).

    Example:
        $found = ScanDLP(["programs" => ["filename" => ["/[.](exe|js)$/i"], "mimetype" => ["/x-msdownload/"]]]);
        if ($found != []) Reject("No programs, please");
    """
    options = options or DLPOptions()
    if not 0 <= options.recursion_limit <= MAX_DEPTH:
        raise ScriptError(f"ScanDLP(): option recursion_limit: wanted 0 to {MAX_DEPTH}, got {options.recursion_limit}")
    ends = math.inf if options.timeout is None else monotonic() + options.timeout

    def pause() -> None:
        run.tick()
        if monotonic() > ends:
            raise OutOfTime

    scan = Scan(read_rules(run, patterns), pause, options.stop_on_match, options.recursion_limit)
    try:
        look_at_parts(run, scan)
    except OutOfTime:
        scan.found.setdefault(UNKNOWN, [])
    names = Array.of(scan.found)
    if options.partid:
        names = Array.from_pairs((name, Array.of(parts)) for name, parts in scan.found.items())
    if not options.extended_result:
        return names
    error: dict[Value, Value] = {b"error": True} if UNKNOWN in scan.found else {}
    return Array.record({b"rules": names, **error})


def look_at_parts(run: Run, scan: Scan) -> None:
    """The parts as they came, those that hold a content of their own."""
    message = MailMessage(host(run, MessageContext).mail)
    for part in message.tree(run).walk():
        if part.children or scan.done:
            continue
        found = message.of(part)
        if part.depth > scan.recursion_limit:
            scan.note(TOO_DEEP, Item(part.id, part.depth))
            continue
        content = message.mail.content(part)
        scan.look(Item(part.id, part.depth, found.filename() or b"", found.get_type() or b"", content))


def read_rules(run: Run, patterns: Array | None) -> Mapping[bytes, Rule]:
    """The rules that are meant: all that are configured, some of them by name, or a script's own."""
    known = host(run, MessageContext).services.dlp
    if patterns is None:
        return known
    if len(patterns) > MAX_RULES:
        raise ScriptError(f"ScanDLP(): parameter 1 (patterns): wanted at most {MAX_RULES} rules, got {len(patterns)}")
    rules: dict[bytes, Rule] = {}
    for key, value in patterns.pairs():
        if isinstance(value, Array):
            rules[to_string(key)] = own_rule(to_string(key), value)
        elif isinstance(value, bytes) and value in known:
            rules[value] = known[value]
        else:
            shown = text(to_string(value))[:60]
            hint = near(shown, [text(name) for name in known])
            raise ScriptError(f"ScanDLP(): parameter 1 (patterns): there is no rule {shown!r}", hint=hint)
    return rules


def own_rule(name: bytes, types: Array) -> Rule:
    given: dict[str, list[bytes]] = {}
    for key, value in types.pairs():
        values = list(value.values()) if isinstance(value, Array) else [value]
        kind = text(to_string(key))
        for item in values:
            if not isinstance(item, bytes):
                raise ScriptError(f"ScanDLP(): rule {text(name)}: {kind}: wanted strings, got {type_name(item)}")
        given[kind] = [item for item in values if isinstance(item, bytes)]
    try:
        return read_rule(text(name), given)
    except ScriptError as error:
        raise ScriptError(f"ScanDLP(): {error.message}") from None
