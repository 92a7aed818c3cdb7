"""`smtpd.yaml` comes in; a checked Config and its warnings go out, or one ConfigError with every finding and its place.

Relative paths in the file are taken from the file's own folder. Nothing is substituted from the environment.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from hsl.errors import Diagnostic, near
from hsl.smtpd.config import CONTROL_SOCKET, Config, Phases, Queues
from hsl.smtpd.configchecks import check_references
from hsl.smtpd.yamlfile import ConfigError, Document, KeyPath, dotted, fail, read_yaml

__all__ = ["ConfigError", "LoadedConfig", "load_config", "queue_places", "read_config"]

WANTED = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "dict": "a mapping (key: value)",
    "model": "a mapping (key: value)",
    "path": "a path",
}
SECRETS = frozenset({"password", "url"})  # their values are never quoted in a message


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration, the file it came from, and what its administrator should look at."""

    path: Path
    config: Config
    warnings: tuple[Diagnostic, ...] = ()


def read_config(path: Path) -> Config:
    """The checked configuration. Raises ConfigError with all errors of the file."""
    return load_config(path).config


def load_config(path: Path) -> LoadedConfig:
    """The checked configuration with its warnings. Raises ConfigError with all errors (and warnings) of the file."""
    document = read_yaml(path)
    folder = path.resolve().parent
    config = validate(document, folder)
    check_references(document, folder)
    fail(document)
    if config is None:  # the model's errors are findings: fail() has raised
        raise ConfigError(document.findings.items)
    return LoadedConfig(path, config, tuple(document.findings.items))


def queue_places(path: Path) -> tuple[Path, Path]:
    """The queue's folder and the control socket that a file names, whatever else may be wrong with it.

    Raises ConfigError when the file cannot be read or is not YAML.
    """
    document = read_yaml(path)
    fail(document)
    folder = path.resolve().parent
    queue = folder / (document.text(("queues", "path")) or str(Queues().path))
    control = document.text(("environment", "controlsocket"))
    return queue, folder / control if control else queue / CONTROL_SOCKET


def validate(document: Document, folder: Path) -> Config | None:
    """The model of the data; None when it does not fit, each misfit a finding."""
    if not isinstance(document.data, dict):
        document.findings.error("type", "the file must hold a mapping (key: value)", document.value_span(()))
        return None
    data = resolve_paths(document.data, folder)
    for _ in range(2):
        try:
            return Config.model_validate_json(json.dumps(data), strict=True)
        except ValidationError as error:
            problems: list[Any] = error.errors(include_url=False)
            spelt = [spell_number(document, data, problem) for problem in problems]
            if not any(spelt):
                break
    for problem in problems:
        report(document, problem)
    return None


def resolve_paths(data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A copy of the data whose relative paths are absolute."""
    copy: dict[str, Any] = json.loads(json.dumps(data))
    places: list[tuple[object, str]] = [
        (copy.setdefault("scripting", {}), "rootpath"),
        (copy.get("queues"), "path"),
        (copy.get("environment"), "controlsocket"),
    ]
    if isinstance(copy["scripting"], dict):
        copy["scripting"].setdefault("rootpath", ".")
    servers = copy.get("servers")
    for server in servers if isinstance(servers, list) else []:
        tls = server.get("tls") if isinstance(server, dict) else None
        places += [(tls, "certificate"), (tls, "privatekey")]
        if isinstance(tls, dict):
            places.append((tls.get("clients"), "ca"))
            more = tls.get("certificates")
            items = more if isinstance(more, list) else []
            places += [(item, key) for item in items for key in ("certificate", "privatekey")]
    groups = copy.get("transportgroups")
    for group in groups if isinstance(groups, list) else []:
        dsn = group.get("dsn") if isinstance(group, dict) else None
        places.append((dsn.get("dkim") if isinstance(dsn, dict) else None, "privatekey"))
    for section, key in places:
        if isinstance(section, dict) and isinstance(section.get(key), str):
            section[key] = str(folder / section[key])
    return copy


def spell_number(document: Document, data: Any, problem: Mapping[str, Any]) -> bool:
    """`id: 4` where text is wanted: take the number as it was written. Returns whether that was the problem."""
    path: KeyPath = tuple(problem["loc"])
    value, text = document.get(*path), document.text(path)
    if problem["type"] != "string_type" or isinstance(value, bool) or not isinstance(value, int | float) or not text:
        return False
    for key in path[:-1]:
        data = data[key]
    data[path[-1]] = text
    return True


def report(document: Document, problem: Mapping[str, Any]) -> None:
    """One of pydantic's errors as a finding at its place."""
    path: KeyPath = tuple(problem["loc"])
    kind = str(problem["type"])
    if kind == "extra_forbidden":
        report_unknown(document, path)
    elif kind == "missing":
        if not misspelt(document, path):
            message = f"missing key {path[-1]!r} {inside(path[:-1])}"
            document.findings.error("missing", message, document.key_span(path[:-1]))
    else:
        message, hint = describe(document, path, problem)
        document.findings.error("value", message, document.value_span(path), hint)


def misspelt(document: Document, path: KeyPath) -> bool:
    """Whether a missing key stands there under a wrong name, which is a finding of its own."""
    model, given = model_at(path[:-1]), document.get(*path[:-1])
    if model is None or not isinstance(given, dict):
        return False
    known = keys_of(model)
    unknown = [str(key) for key in given if key not in known]
    return any(near(key, known, "{}") == path[-1] for key in unknown)


def report_unknown(document: Document, path: KeyPath) -> None:
    """An unknown key, with the nearest valid one, the section that has it, or all that are known here."""
    from hsl.runtime.stages import ABSENT  # here: `hsl queue` needs no stages

    key = str(path[-1])
    model = model_at(path[:-1])
    if model is Phases and key in ABSENT:
        document.findings.error("key", f"there is no stage {key!r}", document.key_span(path), ABSENT[key])
        return
    names = list(keys_of(model)) if model else []
    hint = near(key, names, "did you mean '{}'?")
    if hint is None:
        homes = [where for where, section in sections(Config) if key in keys_of(section)]
        hint = f"'{key}' is a key of {homes[0] or 'the top level'}" if homes else f"known here: {', '.join(names)}"
    document.findings.error("key", f"unknown key {key!r} {inside(path[:-1])}", document.key_span(path), hint)


def describe(document: Document, path: KeyPath, problem: Mapping[str, Any]) -> tuple[str, str | None]:
    """Message and hint for a value that does not fit."""
    kind, context = str(problem["type"]), problem.get("ctx", {})
    got = shown(document, path)
    if kind == "value_error":
        return f"{dotted(path)}: {context['error']}", None
    if kind == "literal_error":
        names = [word.strip("'") for word in str(context["expected"]).replace(" or ", ", ").split(", ")]
        return f"{dotted(path)}: {got}, wanted {context['expected']}", near(
            document.text(path) or "", names, "did you mean '{}'?"
        )
    bounds = {"greater_than_equal": ("ge", "at least"), "less_than_equal": ("le", "at most")}
    if kind in bounds:
        name, words = bounds[kind]
        return f"{dotted(path)}: {got}, wanted {words} {context[name]:g}", None
    if kind == "too_short":
        return f"{dotted(path)}: wanted at least {context['min_length']} item, got {got}", None
    wanted = WANTED.get(kind.split("_")[0])
    if wanted is None:
        return f"{dotted(path)}: {problem['msg']}, got {got}", None
    return f"{dotted(path)}: wanted {wanted}, got {got}", type_hint(kind, document, path)


def type_hint(kind: str, document: Document, path: KeyPath) -> str | None:
    """What YAML does, or does not do, to a value written without quotes."""
    text = document.text(path) or ""
    if kind.startswith("bool") and text.lower() in ("no", "off", "n", "yes", "on", "y"):
        return f"write {'true' if text.lower() in ('yes', 'on', 'y') else 'false'}"
    if kind.startswith(("int", "float")) and text.lstrip("+-0").isdigit():
        return f"a leading 0 is ambiguous (octal in YAML 1.1): write {text.lstrip('+-0')}"
    if kind.startswith("string") and isinstance(document.get(*path), bool):
        return f'quote it if it is meant as text: "{text}"'
    return None


def shown(document: Document, path: KeyPath) -> str:
    """What stands at a path, for a message. Never a secret."""
    value = document.get(*path)
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, dict):
        return "a mapping"
    if value is None:
        return "nothing"
    return "something else" if path[-1] in SECRETS else repr(document.text(path))[:80]


def inside(path: KeyPath) -> str:
    return f"in {dotted(path)}" if path else "at the top level"


def model_at(path: KeyPath) -> type[BaseModel] | None:
    """The model of the section at a path; None where there is none."""
    model: type[BaseModel] | None = Config
    for key in path:
        if isinstance(key, int):
            continue
        if model is None or key not in keys_of(model):
            return None
        model = model_of(keys_of(model)[key].annotation)
    return model


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys of a section as they are written: `if` for what Python calls `if_`."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def model_of(annotation: Any) -> type[BaseModel] | None:
    """The model inside list[X], X | None, Annotated[X, …]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    origin = get_origin(annotation)
    if origin is Annotated or origin is list or origin in (Union, UnionType):
        return next((found for found in map(model_of, get_args(annotation)) if found), None)
    return None


def sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section of the configuration with its path, `servers[].limits`, outer ones first."""
    yield prefix, model
    for name, info in model.model_fields.items():
        inner = model_of(info.annotation)
        if inner is not None:
            mark = "[]" if get_origin(info.annotation) is list else ""
            yield from sections(inner, f"{prefix}.{name}{mark}".removeprefix("."))
