"""The reference's catalogues (tests/data/catalogue-*.json): what they name, and how our declarations compare with it.

Run as a program it prints one line: how much of the reference exists, how much is a declared difference.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from hsl.builtins import BuiltinClass
from hsl.cli.manual import Entry, as_object, every_entry
from hsl.library.absent import DIFFERENCES
from hsl.runtime.stages import ABSENT

DATA = Path(__file__).parents[1] / "data"
ERAS = {"2015-04": "2015", "earlier": "2019", "2019-12": "2019"}  # sections of the older names; `earlier`: deprecated
CONSTRUCTS = frozenset({"isset", "unset", "echo"})  # statements and expressions of the language, not functions
CALLED = frozenset({"FFIFunction"})  # what FFI->func() gives: a value to be called, not a name
LATER = frozenset(ABSENT)  # stages that there are not
ERRATA = {  # what the catalogue says otherwise than it can be meant, and what we take
    "str_chunk: lenght": "a number",
    "str_chunk: firstlenght": "a number",
    "cms_decrypt: options": "the certificate, as its text and its use show; the options are the third parameter",
    "FFI.func: arguments": "an array of types",
    "FFI.callback: arguments": "an array of types",
    "domain_includes: options": "any: it does not say which there are",
    "ldap_search: lookup": "a string or an array, as its text says",
    "yaml_decode: options": "any: it does not say which there are",
}
TYPES = frozenset({"string", "number", "boolean", "array", "function", "any", "none"})
PARAMETER = re.compile(r"(?:^|[\[,])\s*(?P<types>[\w ,()]*?)\s*(?P<dots>\.\.\.)?\$(?P<name>\w+)")


HEAD = '''"""The years whose reference has a name: functions, aliases, classes, and methods as `Class.method`.

Made by tools/eras out of the catalogues in tests/data.
"""

from __future__ import annotations

from collections.abc import Mapping

NAMES: Mapping[str, str] = {'''
TAIL = '''

def years_of(name: str) -> tuple[str, ...]:
    """The years whose reference has a name; empty: it is our own."""
    return next((tuple(years.split()) for years, names in NAMES.items() if name in names.split()), ())
'''


RESULTS = {  # what gives something else than today's catalogue says, and why
    "FFI.func": "a function, or none: it is called",
    "MailMessage.signDKIM": "also a string: the option `return_header`",
    "cms_sign": "an array, as its use shows",
    "csv_encode": "a string, as its use shows",
    "http": "also a boolean: the option `background`",
    "queue_policy": "also none: it failed",
    "queue_suspend": "also none: it failed",
    "queue_policy_delete": "a boolean: it does not fail",
    "strpduration": "also none: it is no duration",
    "strptime": "also none: it is no date of the format",
    "zlib_uncompress": "also none: it cannot be uncompressed",
}


class Wanted(NamedTuple):
    """A parameter as the reference has it. `types` is empty where it does not say."""

    name: str
    types: frozenset[str]
    required: bool
    variadic: bool


class Named(NamedTuple):
    """A name of the reference. A method's is `Class.method`, a constructor's `Class`. `stage`: core, or where it is."""

    era: str
    stage: str
    name: str
    parameters: tuple[Wanted, ...]
    result: frozenset[str]  # types; empty where the reference does not say


def read(name: str) -> Any:
    return json.loads((DATA / f"catalogue-{name}.json").read_text())


def dotted(name: str) -> str:
    return re.sub(r"->|::", ".", name).removesuffix(".constructor")


def named(era: str, stage: str, name: str, signature: str) -> Named:
    read_parameters = todays_parameters if "$" in signature else older_parameters
    inner = inside(signature)
    result = signature[signature.index("(") + len(inner) + 2 :].removeprefix(": ")
    return Named(era, stage, dotted(name), tuple(read_parameters(inner)), result_types(result))


def result_types(text: str) -> frozenset[str]:
    """`string, array or none (why)`, with objects and resources under one name."""
    text = re.sub(r"array of .*", "array", re.sub(r" \(.*", "", text))
    words = (word.strip().lower() for word in re.split(r",| or ", text))
    return frozenset(word if word in TYPES else "object" for word in words if word)


def inside(signature: str) -> str:
    """What stands between the first bracket and its partner."""
    depth = 0
    start = signature.index("(") + 1
    for place in range(start - 1, len(signature)):
        depth += {"(": 1, ")": -1}.get(signature[place], 0)
        if not depth:
            return signature[start:place]
    raise ValueError(signature)


def todays_parameters(text: str) -> Iterator[Wanted]:
    """`array $keys [, any $default_value]`."""
    for match in PARAMETER.finditer(text):
        depth = text.count("[", 0, match.start("name")) - text.count("]", 0, match.start("name"))
        types = re.sub(r"array of .*", "array", match["types"])
        words = frozenset(word.strip("() ") for word in re.split(r",| or ", types))
        yield Wanted(match["name"], words - {""}, not depth and not match["dots"], bool(match["dots"]))


def older_parameters(text: str) -> Iterator[Wanted]:
    """`string, delimiter, [limit = 0]`; some lack a closing bracket."""
    depth = 0
    for part in text.split(","):
        depth += part.count("[")
        word = part.strip(" []")
        if word:
            dots = word.startswith("...")
            name = word.removeprefix("...").split(" ")[0]
            yield Wanted(name, frozenset(), depth <= 0 and not dots, dots)
        depth = max(0, depth - part.count("]"))


@cache
def todays_names() -> tuple[Named, ...]:
    """Functions, constructors and methods of 2026."""
    catalogue = read("2026")
    found = []
    for stage, functions in catalogue["functions"].items():
        found += [named("2026", stage, name, text) for name, text in functions.items()]
    for stage, classes in catalogue["classes"].items():
        for name, declared in classes.items():
            found.append(named("2026", stage, name, declared["constructor"]))
            found += [named("2026", stage, text.split("(")[0], text) for text in declared["methods"]]
    return tuple(found)


@cache
def older_names() -> tuple[Named, ...]:
    """Functions, constructors and methods of 2015 and 2019."""
    catalogue = read("older-names")
    found = []
    for section, era in ERAS.items():
        for chapter, functions in catalogue[section].items():
            stage = "core" if chapter in ("core", "functions") else chapter.removeprefix("func_")
            found += [named(era, stage, name, text) for name, text in functions.items()]
    return tuple(found)


def aliases() -> Mapping[str, str]:
    """Older name to today's."""
    found: dict[str, str] = read("older-names")["aliases"]
    return found


def eras() -> dict[str, tuple[str, ...]]:
    """The years whose reference has a name. Aliases that no list has are those of 2019."""
    found: dict[str, set[str]] = {name: {"2019"} for name in aliases()}
    for item in (*older_names(), *todays_names()):
        for name in (item.name, item.name.split(".")[0]):
            found.setdefault(name, set()).add(item.era)
    return {name: tuple(sorted(years)) for name, years in found.items()}


def eras_module() -> str:
    """The text of hsl/library/eras.py."""
    by_years: dict[tuple[str, ...], list[str]] = {}
    for name, years in sorted(eras().items()):
        by_years.setdefault(years, []).append(name)
    lines = [HEAD]
    for years, names in sorted(by_years.items()):
        lines.append(f'    "{" ".join(years)}": """')
        lines += textwrap.wrap(" ".join(names), 116, initial_indent="    ", subsequent_indent="    ")
        lines.append('    """,')
    return "\n".join([*lines, "}", TAIL])


@cache
def declarations() -> Mapping[str, list[dict[str, Any]]]:
    """What `hsl builtins --json` says of a name, in the catalogues' notation; a name of several stages has several."""
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in every_entry():
        for name, declared in objects(entry):
            found.setdefault(dotted(name), []).append(declared)
    return found


def objects(entry: Entry) -> Iterator[tuple[str, dict[str, Any]]]:
    declared: dict[str, Any] = json.loads(json.dumps(as_object(entry)))
    yield entry.name, declared
    for alias in declared["aliases"]:
        yield alias, declared
    if isinstance(entry, BuiltinClass):
        for method in (*declared["methods"], *declared["static_methods"]):
            yield method["name"], method


def problems(item: Named) -> list[str]:
    """Why a name of the reference is not there as it should be; empty: it is. One fitting declaration is enough."""
    if item.name in CONSTRUCTS or item.name in CALLED:
        return []
    declared = declarations().get(item.name)
    if not declared:
        return [f"{item.name}: there is no such {'method' if '.' in item.name else 'function'}"]
    return min((mismatches(item, one) for one in declared), key=len)


def mismatches(item: Named, declared: dict[str, Any]) -> list[str]:
    parameters = declared["parameters"]
    if parameters is None:  # only functions give instances
        return []
    where = f"{item.name} ({item.era}, {item.stage})"
    found = result_mismatch(item, declared["result"])
    least = sum(one["required"] for one in parameters)
    if least > sum(one.required for one in item.parameters):
        found.append(f"{where}: wants at least {least} arguments")
    variadic = any(one["variadic"] for one in parameters)
    if not variadic and (len(parameters) < len(item.parameters) or any(one.variadic for one in item.parameters)):
        found.append(f"{where}: takes at most {len(parameters)} arguments")
    for wanted, ours in zip(item.parameters, parameters, strict=False):
        if item.name not in DIFFERENCES and f"{item.name}: {wanted.name}" not in ERRATA:
            found += mismatch(where, wanted, ours)
    return found


def result_mismatch(item: Named, result: str) -> list[str]:
    ours = {{"resource": "object"}.get(word, word) for word in result.split(" or ")}
    if item.era != "2026" or not item.result or ours == item.result or "any" in ours or item.name in RESULTS:
        return []
    return [f"{item.name}: the result is {result}, wanted {' or '.join(sorted(item.result))}"]


def mismatch(where: str, wanted: Wanted, ours: dict[str, Any]) -> list[str]:
    """A parameter takes each type of the reference's; what the reference calls otherwise is an object or a resource."""
    types = frozenset(ours["types"])
    if "any" in types:
        return []
    missing = (wanted.types & TYPES) - types - ({"none"} if not ours["required"] else set())
    if wanted.types - TYPES and not types & {"object", "resource", "function"}:
        missing |= wanted.types - TYPES
    found = [f"{where}: {wanted.name} takes no {name}" for name in sorted(missing)]
    if wanted.name == "options" and "array" in types and not ours["options"]:
        found.append(f"{where}: no options are declared")
    return found


def in_question(item: Named) -> bool:
    """Whether the library is to have a name. What today's stages have is compared with the table of the stages."""
    return item.stage not in LATER and (item.era != "2026" or item.stage == "core")


def missing(names: Iterable[Named]) -> list[Named]:
    return [item for item in names if problems(item)]


def summary() -> str:
    """How much of the reference exists."""
    functions = {item.name for item in todays_names() if item.stage == "core"}
    functions = {name for name in functions if name in read("2026")["functions"]["core"]}
    classes = set(read("2026")["classes"]["core"])
    named = [item for item in (*todays_names(), *older_names()) if in_question(item)]
    older = {item.name for item in named if item.era != "2026"} | set(aliases())
    older -= {item.name for item in todays_names()}
    bad = {item.name for item in missing(named)}
    bad |= {name for name in aliases() if name not in declarations()}
    bad_classes = {name.split(".")[0] for name in bad}
    there = [
        f"{len(functions - bad - DIFFERENCES.keys())} of {len(functions)} functions",
        f"{len(classes - bad_classes)} of {len(classes)} classes",
        f"{len(older - bad - DIFFERENCES.keys())} of {len(older)} older names",
    ]
    differences = len((functions | classes | older) & DIFFERENCES.keys())
    return f"the reference: {there[0]}, {there[1]} and {there[2]} exist; {differences} are declared differences"


if __name__ == "__main__":
    print(summary())
