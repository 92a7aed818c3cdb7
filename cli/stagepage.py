"""The page about the stages: the table of the stages comes in, docs/stages.md goes out (`make docs`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from hsl.compiler import Variable
from hsl.library import core_registry
from hsl.runtime.stages import TABLE, Answer, Stage, registry
from hsl.runtime.verdict import Verdict

INTRODUCTION = """\
# The stages

Made from the code by `make docs`. What a function does, with its options: `hsl builtins NAME`.

A script ends with a verdict, one of the stage's functions. Where it ends without one, or fails, the stage has an action
of its own (the reference of 2019). The text of an error never leaves: it is logged whole, with its position.

- At rcptto accepting without a verdict is not a permission to relay: then the server's relay rule decides
  ([mail.md](mail.md)).
- At data and eod 421 is 451 with `scripting.defer_code: 451`.
- A stage without a hook goes on as without a verdict; but AUTH is not offered without an auth hook, and without an eod
  hook the data stage decides.
- `reply_codes` changes code and enhanced code, within the class (2xx, 4xx, 5xx) that the verdict stands for.
"""


def stages_page() -> str:
    """The whole page, as Markdown."""
    return (
        "\n".join([INTRODUCTION, *overview(), "", *(line for stage in TABLE for line in section(stage))]).rstrip()
        + "\n"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def overview() -> Iterator[str]:
    """What each stage does of its own accord."""
    head = ("stage", "runs", "without a verdict", "reply", "on a script error", "reply")
    yield from table(head, map(overview_row, TABLE))


def overview_row(stage: Stage) -> tuple[str, ...]:
    answer = stage.answers.get(stage.implicit.action)
    return (
        f"[{stage.name}](#{stage.name})",
        lower(stage.summary),
        action(stage.implicit),
        reply(answer),
        action(stage.on_error),
        reply(stage.error if stage.answers else None),
    )


def lower(text: str) -> str:
    return text[0].lower() + text[1:]


def action(verdict: Verdict) -> str:
    """`queue` with its options, as a script would write them."""
    options = ", ".join(f"`{name}` {value_text(value)}" for name, value in verdict.options.items())
    return f"{verdict.action} ({options})" if options else verdict.action


def value_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def reply(answer: Answer | None) -> str:
    """`450 4.3.0`, or a dash where no client waits for an answer."""
    if answer is None:
        return "–"
    enhanced = ".".join(map(str, answer.enhanced)) if answer.enhanced else ""
    return f"{answer.code} {enhanced}".rstrip()


def section(stage: Stage) -> Iterator[str]:
    """All about one stage."""
    yield f"## {stage.name}\n\n{stage.summary}.\n"
    if stage.answers:
        yield from table(("verdict", "reply"), answers(stage))
        yield ""
    if stage.closes:
        yield "A refusal closes the connection.\n"
    yield f"Functions beside the library: {', '.join(f'`{name}`' for name in functions(stage.name))}.\n"
    yield from table(("variable", "type", "what it is"), keys(stage.variables, ""))
    yield ""


def answers(stage: Stage) -> Iterator[tuple[str, str]]:
    for name, answer in stage.answers.items():
        yield name, reply(answer)
    if stage.error is not None:
        yield "script error", reply(stage.error)


def functions(stage: str) -> list[str]:
    """The stage's own functions, today's names, and classes."""
    core = core_registry()
    known = registry(stage)
    own = [entry.name for name, entry in known.entries.items() if name == entry.name and name not in core.entries]
    return sorted({*own, *(known.classes.keys() - core.classes.keys())}, key=str.lower)


def keys(variables: Mapping[str, Variable] | Sequence[Variable], path: str) -> Iterator[tuple[str, str, str]]:
    """A row for each variable, and for each key below it; those that are never set say why."""
    for variable in variables.values() if isinstance(variables, Mapping) else variables:
        place = f'{path}["{variable.name}"]' if path else f"${variable.name}"
        kind = variable.type if path or variable.readonly else f"{variable.type}, writable"
        yield f"`{place}`", kind, f"not available: {variable.later}" if variable.later else variable.doc
        yield from keys(variable.keys, place)
