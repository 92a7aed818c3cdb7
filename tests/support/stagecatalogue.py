"""Today's catalogue of the stages against the table of the stages, both ways: what each has that the other has not.

In: tests/data/catalogue-2026.json and the code. Out: sentences, one for each difference that no table declares.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import catalogue
from catalogue import LATER, TYPES, Named

from hsl.compiler import Variable
from hsl.library import core_registry
from hsl.library.eras import years_of
from hsl.runtime.stages import STAGES, registry

COMPARED = tuple(stage for stage in STAGES if stage != "data")  # of 2015 and 2019: today there is eod only

# What a stage has although today's catalogue does not name it there, and why. Names of 2015 and 2019 need no reason.
OURS = {
    'connect: $connection["remoteip"]': "as in `$arguments`: functions that several stages share need one place",
    'connect: $connection["remoteport"]': "as in `$arguments`",
    'connect: $connection["remoteptr"]': "as in `$arguments`",
    'connect: $connection["localip"]': "as in `$arguments`",
    'connect: $connection["localport"]': "as in `$arguments`",
    'connect: $connection["serverid"]': "as in `$arguments`",
    'connect: $connection["tls"]': "on a listener with `implicit_tls` it is known before the banner",
    'rcptto: $arguments["relay"]': "whether the recipient is accepted without an explicit `Accept()`",
    "postdelivery: Delete(options)": "as at pre-delivery",
    "eod: Accept(options)": "the options of 2019: `reason`, `reply_codes`; and `disconnect`",
}

# The variables of 2015 and 2019, which stay beside today's.
CLASSIC_NAMES = """
    actionid destination destinationport errorcode errormsg errorndr family messageid protocol queueid recipient
    recipientdomain recipientdomains recipientlocalpart recipients retries retry saslauthed saslpassword saslusername
    sender senderdomain senderhelo senderip senderlocalpart senderparams senderport serverid serverip serverport service
    sourceip tlsstarted transfertime transportid
"""
CLASSIC = frozenset(CLASSIC_NAMES.split())


# --- variables


def missing_variables(stage: str) -> Iterator[str]:
    """What the catalogue has and the stage has not, or has of another type."""
    yield from missing_keys(catalogue.read("2026")["variables"][stage], STAGES[stage].variables.values(), "$")


def missing_keys(wanted: Iterable[Mapping[str, Any]], given: Iterable[Variable], path: str) -> Iterator[str]:
    known = {item.name: item for item in given}
    for item in wanted:
        name = item["name"].removeprefix("$")
        place, found = shown(path, name), known.get(name)
        if found is None:
            yield f"{place} is missing"
        elif not same_type(item["type"], found.type):
            yield f"{place} is {found.type}, wanted {item['type']}"
        elif not found.later:
            yield from missing_keys(item.get("keys", ()), found.keys, place)


def additional_variables(stage: str) -> Iterator[str]:
    """What the stage has and the catalogue has not; arrays that the catalogue does not describe aside."""
    wanted = {item["name"].removeprefix("$"): item for item in catalogue.read("2026")["variables"][stage]}
    for name, variable in STAGES[stage].variables.items():
        if name in wanted:
            yield from additional_keys(wanted[name], variable, f"${name}")
        elif name not in CLASSIC:
            yield f"${name}"


def additional_keys(wanted: Mapping[str, Any], given: Variable, path: str) -> Iterator[str]:
    known = {item["name"]: item for item in wanted.get("keys", ())}
    for key in given.keys if known else ():
        place = shown(path, key.name)
        if key.name in known:
            yield from additional_keys(known[key.name], key, place)
        elif not key.later:
            yield place


def shown(path: str, name: str) -> str:
    """`$connection["tls"]`"""
    return f"${name}" if path == "$" else f'{path}["{name}"]'


def same_type(wanted: str, given: str) -> bool:
    """Classes are objects, what only functions give are resources."""
    if wanted in TYPES:
        return wanted == given
    return given == wanted or given == ("resource" if wanted.endswith("Resource") else "object")


def left_for_later() -> dict[str, str]:
    """The keys that the reference has and no stage sets, with the reason."""
    found: dict[str, str] = {}

    def walk(variable: Variable, path: str) -> None:
        if variable.later:
            assert found.setdefault(path, variable.later) == variable.later, f"{path} has two reasons"
        for key in variable.keys:
            walk(key, shown(path, key.name))

    for stage in STAGES.values():
        for variable in stage.variables.values():
            walk(variable, f"${variable.name}")
    return found


def later_keys_without_need() -> list[str]:
    """Of these, those that the catalogue does not have at all."""
    named = {path for stage in COMPARED for path in every_path(catalogue.read("2026")["variables"][stage], "$")}
    return sorted(left_for_later().keys() - named)


def every_path(wanted: Iterable[Mapping[str, Any]], path: str) -> Iterator[str]:
    for item in wanted:
        place = shown(path, item["name"].removeprefix("$"))
        yield place
        yield from every_path(item.get("keys", ()), place)


# --- functions and classes


def named_at(stage: str) -> list[Named]:
    return [item for item in catalogue.todays_names() if item.stage == stage]


def missing_functions(stage: str) -> Iterator[str]:
    """The functions, constructors and methods of the catalogue that are not in the stage as it has them."""
    for item in named_at(stage):
        declared = declared_at(stage, item.name)
        if declared is None:
            yield f"{item.name} is missing"
        else:
            yield from catalogue.mismatches(item, declared)


def declared_at(stage: str, name: str) -> dict[str, Any] | None:
    """What a stage declares under a name; of a class, its members go by its stages."""
    owner = name.split(".")[0]
    if owner not in registry(stage).entries and owner not in registry(stage).classes:
        return None
    forms = [
        one
        for one in catalogue.declarations().get(name, ())
        if "stages" not in one or one["stages"] is None or stage in one["stages"]
    ]
    return forms[0] if forms else None


def additional_functions(stage: str) -> Iterator[str]:
    """What a stage has that the catalogue has neither there nor in the core, nor an older reference anywhere; and what
    its functions take beyond the catalogue's."""
    names = {item.name: item for item in named_at(stage)}
    core = {builtin.name for builtin in core_registry().unique()} | core_registry().classes.keys()
    known = registry(stage)
    for name in [*known.entries, *known.classes]:
        if name in names:
            yield from additional_parameters(names[name], declared_at(stage, name) or {})
        elif name not in core and not years_of(name):
            yield name


def additional_parameters(item: Named, declared: Mapping[str, Any]) -> Iterator[str]:
    ours = declared.get("parameters") or []
    for place, parameter in enumerate(ours):
        wanted = item.parameters[place] if place < len(item.parameters) else None
        if wanted is None:
            yield f"{item.name}({parameter['name']})"
        elif more := set(parameter["types"]) - wanted.types - {"none"}:
            yield f"{item.name}({parameter['name']}): {', '.join(sorted(more))}"


def undeclared(found: Iterable[str], stage: str) -> list[str]:
    return [item for item in found if f"{stage}: {item}" not in OURS]


def stages_without_table() -> set[str]:
    """The catalogue's stages that there are not, and that no table leaves for later."""
    return set(catalogue.read("2026")["functions"]) - {"core"} - STAGES.keys() - LATER
