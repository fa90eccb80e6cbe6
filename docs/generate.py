"""Reference pages of the documentation, made from the code when the site is built.

``mkdocs.yml`` names this file as a hook. :func:`pages` is all that is generated: commands from the
typer app, settings from the config dataclasses, the tables from the registries, error codes and
the JSON documents from ``docs/schemas``. Nothing of it is committed.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
import types
import typing
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

import redub

# Everything that this script needs of redub, in one place.
from redub.cli import app
from redub.commands.documents import DOCUMENTS
from redub.core import errors
from redub.core.registry import load
from redub.core.types import AudioSpec
from redub.evaluation.registry import METRICS, function_of
from redub.evaluation.takes import MEAN_MEL
from redub.features.registry import EXTRACTORS, FEATURE_BACKENDS, PROFILES
from redub.footage.corpora.registry import LAYOUTS
from redub.index.registry import BACKENDS
from redub.index.transform import TRANSFORMS
from redub.model.registry import SYSTEMS, system
from redub.model.vocoder.registry import VOCODERS
from redub.pipeline.reports.error_codes import codes, error_classes
from redub.pipeline.store.settings import ProjectConfig

PACKAGE = Path(redub.__file__).parent
ROOT = Path(__file__).resolve().parents[1]
COPIED = {
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
}
"""Files of the repository's root that the site shows, too."""


def pages() -> dict[str, str]:
    """Path within the documentation to Markdown text."""
    return {
        "reference/commands.md": commands(),
        "reference/settings.md": settings(),
        "reference/features.md": features(),
        "reference/metrics.md": metrics(),
        "reference/systems.md": systems(),
        "reference/errors.md": error_codes(),
        "reference/json.md": json_documents(),
        **{page: copied(file) for file, page in COPIED.items()},
    }


# -- text


def copied(file: str) -> str:
    """A file of the repository's root; its links into ``docs/`` become links of the site."""
    return (ROOT / file).read_text(encoding="utf-8").replace("](docs/", "](")


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; cells keep to one line."""
    lines = [list(columns)]
    lines += [["---"] * len(lines[0])]
    lines += [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def first_line(thing: Any) -> str:
    """The first paragraph of a docstring, else of its module's, as Markdown on one line."""
    own = thing.__dict__.get("__doc__") if inspect.isclass(thing) else thing.__doc__
    own = "" if own and own.startswith(f"{getattr(thing, '__name__', '')}(") else own
    text = inspect.cleandoc(own or sys.modules[thing.__module__].__doc__ or "")
    return plain(text.partition("\n\n")[0])


def plain(text: str) -> str:
    """A docstring's roles and double backticks as Markdown."""
    text = re.sub(r":\w+:`~?([^`]+)`", lambda m: f"`{m[1].rpartition('.')[2]}`", text)
    return " ".join(text.replace("``", "`").split())


def shown_type(hint: Any) -> str:
    """A type as a settings file understands it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " | ".join(f"`{json.dumps(a)}`" for a in arguments)
    if origin in (typing.Union, types.UnionType):
        names = ["not set" if a is type(None) else shown_type(a) for a in arguments]
        return " or ".join(names)
    if origin is tuple or origin is list:
        return f"list of {shown_type(arguments[0])}"
    if origin is dict or hint is dict:
        return "table"
    names = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def shown_default(field: dataclasses.Field[Any]) -> str:
    value = field.default
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    if value is dataclasses.MISSING:
        return "must be given"
    if value is None:
        return "not set"
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, tuple | set | frozenset):
        value = list(value)
    try:
        return f"`{json.dumps(value)}`"
    except TypeError:
        return f"`{value}`"


def fields_of(config: type) -> list[tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(config)
    return [(field, hints[field.name]) for field in dataclasses.fields(config) if field.init]


def keys_table(config: type, prefix: str, skip: tuple[str, ...] = ()) -> str:
    rows = [
        [f"`{prefix}{field.name}`", shown_type(hint), shown_default(field)]
        for field, hint in fields_of(config)
        if field.name not in skip and not dataclasses.is_dataclass(hint)
    ]
    return table(["key", "value", "default"], rows) if rows else ""


# -- commands


def commands() -> str:
    """Every command with its arguments and options, from the typer app."""
    parts = [
        "# Commands\n",
        "`redub COMMAND --help` says the same in the terminal. `python -m redub` is `redub`.\n",
        "`--json` puts one [JSON document](json.md) on stdout; everything else goes to stderr. The "
        "[exit codes](errors.md#exit-codes) are the same for all commands.\n",
    ]
    root = typer.main.get_command(app)
    found = list(walk_commands(root, "redub"))
    parts += ["## Options before the command\n", options_table(root), "## All of them\n"]
    parts.append(
        table(
            ["command", "what it does"],
            [[f"[`{name}`](#{anchor(name)})", short_help(command)] for name, command in found],
        )
    )
    for name, command in found:
        parts.append(f"## {name} {{ #{anchor(name)} }}\n")
        parts.append(plain(inspect.cleandoc(command.help or "")) + "\n")
        words = [usage_of(p) for p in command.params if p.param_type_name == "argument"]
        parts.append(f"```\n{' '.join([name, *words, '[OPTIONS]'])}\n```\n")
        parts.append(options_table(command))
    return "\n".join(parts)


def options_table(command: Any) -> str:
    """Arguments and options of a click command; empty where it has none."""
    rows = [option_row(p) for p in command.params if not getattr(p, "hidden", False)]
    rows = [row for row in rows if row[0] != "`--help`"]
    return table(["argument or option", "default", "meaning"], rows) if rows else ""


def walk_commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Commands below a click group by full name, groups left out, in the order of the help."""
    children = getattr(command, "commands", None)
    if children is None:
        yield name, command
        return
    for child, inner in children.items():
        if not inner.hidden:
            yield from walk_commands(inner, f"{name} {child}")


def anchor(name: str) -> str:
    return name.replace(" ", "-")


def short_help(command: Any) -> str:
    text = inspect.cleandoc(command.help or "").partition("\n\n")[0]
    return plain(text)


def usage_of(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name).upper()
    name += "…" if parameter.nargs == -1 else ""
    return name if parameter.required else f"[{name}]"


def option_row(parameter: Any) -> list[str]:
    if parameter.param_type_name == "argument":
        names = f"`{(parameter.metavar or parameter.name).upper()}`"
    else:
        names = ", ".join(f"`{word}`" for word in (*parameter.opts, *parameter.secondary_opts))
    default = parameter.default
    if parameter.required:
        said = "must be given"
    elif default in (None, False, (), []) or callable(default) or "UNSET" in repr(default):
        said = ""
    else:
        said = f"`{default}`"
    return [names, said, plain(getattr(parameter, "help", None) or "")]


# -- settings


def settings() -> str:
    """Every key of ``redub.toml`` from the config dataclasses."""
    parts = [
        "# Settings\n",
        "All keys of `redub.toml`. Keys that are left out keep their defaults; an unknown key is "
        "an error that names the nearest known one. `redub config` prints the settings in force. "
        "Settings of single features (`[features.f0]`) are on [the page of features](features.md)."
        "\n",
        keys_table(ProjectConfig, "", skip=("features", "profile", "separate")),
    ]
    for field, hint in fields_of(ProjectConfig):
        if dataclasses.is_dataclass(hint):
            parts += setting_section(typing.cast(type, hint), field.name)
    parts += [
        "## [features]\n",
        table(
            ["key", "value", "default"],
            [
                [
                    "`features.profile`",
                    " | ".join(f"`{json.dumps(p)}`" for p in PROFILES),
                    '`"builtin"`',
                ]
            ],
        ),
    ]
    return "\n".join(parts)


def setting_section(config: type, name: str) -> list[str]:
    doc = "" if (config.__doc__ or "").startswith(f"{config.__name__}(") else config.__doc__
    parts = [f"## [{name}]\n"]
    parts += [f"{plain(paragraph)}\n" for paragraph in inspect.cleandoc(doc or "").split("\n\n")]
    if config is AudioSpec:  # the key belongs to the table; no record of the sound has it
        parts.append(
            "`audio.separate` (boolean, `false`): compute all sound features from the speech that "
            "DeepFilterNet separates from the sound ([page](../extractors/deepfilternet.md)).\n"
        )
    parts.append(keys_table(config, f"{name}."))
    for field, hint in fields_of(config):
        if dataclasses.is_dataclass(hint):
            parts += setting_section(typing.cast(type, hint), f"{name}.{field.name}")
    return parts


# -- registries


def features() -> str:
    """Every feature, its backends, and the settings of each backend."""
    parts = [
        "# Features\n",
        "What `redub extract` computes for every clip. Each feature has a builtin extractor; some "
        "can also be made by a network with your own copy of its weights, or read from files: "
        '`[features.NAME]` with `backend = "BACKEND"`. How each network is set up is on the '
        "pages of the [extractors](../extractors/README.md).\n",
        table(
            ["feature", "what it is", "other backends", "in the `paper` profile"],
            [
                [
                    f"[`{name}`](#{name})",
                    first_line(load(EXTRACTORS, name, kind="feature")),
                    ", ".join(f"`{backend}`" for backend in FEATURE_BACKENDS.get(name, {})),
                    f"`{PROFILES['paper'].get(name, 'builtin')}`",
                ]
                for name in EXTRACTORS
            ],
        ),
    ]
    for name in EXTRACTORS:
        parts.append(f"## {name}\n")
        lines = {"builtin": EXTRACTORS[name], **FEATURE_BACKENDS.get(name, {})}
        for backend in lines:
            parts += backend_section(name, backend, load(lines, backend, kind="backend"))
    return "\n".join(parts)


def backend_section(feature: str, backend: str, kind: Any) -> list[str]:
    parts = [f"### {feature} by {backend}\n", first_line(kind) + "\n"]
    reads = [*getattr(kind, "reads", ())]
    facts = [f"version {kind.version}"]
    if kind.media:
        facts.append("looks at " + " and ".join(sorted(kind.media)))
    if reads:
        facts.append("reads " + ", ".join(f"[`{name}`](#{name})" for name in reads))
    parts.append("; ".join(facts) + ".\n")
    parts.append(keys_table(kind.Config, f"features.{feature}.", skip=("audio", "video")))
    return parts


def metrics() -> str:
    """The rows of the table of metrics, with what each module says of its definition."""
    directions = {
        "higher": "higher is better",
        "lower": "lower is better",
        "zero": "0 is best",
        "none": "not ranked",
    }
    rows, modules = [], {}
    for name, metric in METRICS.items():
        function = function_of(metric.target)
        baseline = metric.baseline.name if metric.baseline else MEAN_MEL
        rows.append(
            [
                f"`{name}`",
                metric.title,
                metric.explain or first_line(function),
                metric.unit or "–",
                f"{metric.scale:g}",
                directions[metric.direction],
                baseline if metric.is_measured else "not measured by `redub evaluate`",
            ]
        )
        modules[function.__module__] = inspect.cleandoc(
            sys.modules[function.__module__].__doc__ or ""
        )
    parts = [
        "# Metrics\n",
        "What `redub evaluate` measures. The functions are public: [`redub.metrics`](python.md).\n",
        table(["metric", "title", "what it is", "unit", "scale", "direction", "baseline"], rows),
        "A shown value is the stored value times the scale: JSON documents hold fractions where "
        "tables show percent. The baseline is the trivial answer that a run is compared with.\n",
        "## Definitions and sources\n",
    ]
    for module, text in modules.items():
        parts.append(f"### {module.rpartition('.')[2]}\n")
        parts.append(f"```text\n{text}\n```\n")
    return "\n".join(parts)


def systems() -> str:
    """Systems with their presets; vocoders, index backends, transforms, corpus layouts."""
    parts = [
        "# Systems, vocoders, indexes\n",
        "What `redub train MODEL` trains. [The systems](../models.md) are described on a page of "
        "their own; here is every key of `[train.model]` with its value in both presets.\n",
        table(
            ["system", "what it is", "grown from", "context", "reads"],
            [
                [f"[`{name}`](#{name})", first_line(system(name)),
                 f"`{spec.grown_from}`" if spec.grown_from else "", "yes" if spec.context else "no",
                 ", ".join(f"`{feature}`" for feature in spec.reads)]
                for name, spec in SYSTEMS.items()
            ],
        ),
    ]  # fmt: skip
    for name in SYSTEMS:
        presets = system(name).PRESETS
        values = {preset: dict(flat(config)) for preset, config in presets.items()}
        keys = list(dict.fromkeys(key for own in values.values() for key in own))
        parts.append(f"## {name}\n")
        parts.append(
            table(
                ["`train.model.` key", *(f"`{preset}`" for preset in presets)],
                [
                    [f"`{key}`", *(f"`{own.get(key, '')}`" for own in values.values())]
                    for key in keys
                ],
            )
        )
    named = {
        "Vocoders": (VOCODERS, "`[vocoder] name`"),
        "Index backends": (BACKENDS, "`[index] backend`"),
        "Index transforms": (TRANSFORMS, "`[index] …_transform`"),
        "Corpus layouts": (LAYOUTS, "`redub corpus prepare LAYOUT`"),
    }
    for title, (registry, where) in named.items():
        rows = [[f"`{name}`", first_line(load(registry, name, kind=title))] for name in registry]
        parts += [f"## {title}\n", f"Named by {where}.\n", table(["name", "what it is"], rows)]
    return "\n".join(parts)


def flat(config: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys of a nested dataclass, and each value as TOML would spell it."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from flat(value, f"{prefix}{field.name}.")
        elif isinstance(value, tuple | frozenset):
            yield f"{prefix}{field.name}", json.dumps(list(value))
        else:
            yield f"{prefix}{field.name}", json.dumps(value)


# -- errors, from the source; JSON documents, from their schemas


def error_codes() -> str:
    """The kinds of errors with their exit codes, and every code that the source raises."""
    kinds = error_classes()
    said = described(errors.__doc__ or "")

    exits: dict[int, set[str]] = defaultdict(set)
    for name, kind in kinds.items():
        exits[kind.exit_code].add(name)
    parts = [
        "# Errors and exit codes\n",
        "A message has a stable code, and says what was found, what was wanted and what to do. "
        "Scripts and the quarantine table use the code; `redub bad list` shows it.\n",
        "## Exit codes\n",
        table(
            ["exit code", "meaning", "errors"],
            [
                [f"`{code}`", meaning, ", ".join(f"`{name}`" for name in sorted(exits[code]))]
                for code, meaning in EXIT_MEANINGS.items()
            ],
        ),
        "## Kinds of errors\n",
        "From Python, each is a kind of [`redub.RedubError`](python.md).\n",
        table(
            ["error", "is a", "exit code", "meaning"],
            [
                [f"`{name}`", f"`{kind.__base__.__name__}`", f"`{kind.exit_code}`",
                 said.get(name) or first_line(kind)]
                for name, kind in kinds.items()
            ],
        ),
        "## Codes\n",
        table(
            ["code", "error", "exit code", "messages"],
            [
                [
                    f"`{code}`",
                    ", ".join(f"`{name}`" for name in found.errors),
                    ", ".join(map(str, found.exit_codes)),
                    "<br>".join(escaped(message) for message in found.messages[:3]),
                ]
                for code, found in codes().items()
            ],
        ),
    ]  # fmt: skip
    return "\n".join(parts)


EXIT_MEANINGS = {
    0: "done",
    1: "an error without a kind of its own",
    2: "the words typed make no sense together",
    3: "finished; some clips are in the quarantine (`redub bad list`)",
    4: "a setting, table or input file is wrong; nothing was done",
    5: "the disk is full, read-only or gone",
    6: "bytes on disk are not the bytes that were written",
    7: "another command holds the project",
    8: "weights were refused",
    9: "the Dask cluster went away",
    130: "interrupted (Ctrl-C)",
    143: "terminated (SIGTERM)",
}


def described(tree: str) -> dict[str, str]:
    """What the drawn tree of errors says of each of them."""
    lines = re.findall(r"^[│├└─ ]*(\w+Error|FeatureAbsent) +[\d–]+ +(\S.*)$", tree, re.MULTILINE)
    return dict(lines)


def escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_").replace("`", "\\`")


def json_documents() -> str:
    """What commands print with ``--json``: every key of every document, from ``docs/schemas``."""
    folder = ROOT / "docs" / "schemas"
    read = {name: json.loads((folder / f"{name}.json").read_text("utf-8")) for name in DOCUMENTS}
    rows = [
        [f"[`{schema['title']}`](#{document_anchor(name)})", plain(schema["description"])]
        for name, schema in read.items()
    ]
    parts = [
        "# JSON documents\n",
        "With `--json` every command prints one document on stdout. Its key `schema` names the "
        "document; the number after the slash changes when a key changes its meaning or goes away. "
        "A number that is not finite is `null`. A command that fails prints no document; its exit "
        "code is the same as without `--json`.\n",
        "A JSON schema (draft 2020-12) of each document is in `docs/schemas`.\n",
        table(["`schema`", "what it is"], rows),
    ]
    for name, schema in read.items():
        parts.append(f"## {schema['title']} {{ #{document_anchor(name)} }}\n")
        parts.append(f"{plain(schema['description'])} [JSON schema](../schemas/{name}.json)\n")
        parts.append(document_keys(schema))
        for kind, inner in schema.get("$defs", {}).items():
            parts.append(f"**{kind}**: {plain(inner['description'])}\n")
            parts.append(document_keys(inner))
    return "\n".join(parts)


def document_anchor(name: str) -> str:
    return re.sub(r"[^a-z]", "-", name)


def document_keys(schema: Mapping[str, Any]) -> str:
    """The keys of an object as a table."""
    rows = [
        [f"`{key}`", json_type(own), plain(own["description"])]
        for key, own in schema["properties"].items()
        if key != "schema"
    ]
    return table(["key", "value", "meaning"], rows)


def json_type(schema: Mapping[str, Any]) -> str:
    """What may stand for a key of a document, in words."""
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(json_type(one) for one in schema["anyOf"])
    if "prefixItems" in schema:
        return f"list of {', '.join(json_type(one) for one in schema['prefixItems'])}"
    if schema.get("type") == "array":
        return f"list of {json_type(schema['items'])}"
    if schema.get("type") == "object":
        return f"names to {json_type(schema['additionalProperties'])}"
    named = schema.get("type", "any value")
    words = {"string": "text", "integer": "whole number", "boolean": "`true` or `false`",
             "null": "`null`"}  # fmt: skip
    kinds = [words.get(kind, kind) for kind in ([named] if isinstance(named, str) else named)]
    return " or ".join(kinds)


# -- hooks of MkDocs


def on_config(config: Any) -> Any:
    """Fill ``folder/*`` in the navigation with the pages of that folder, by name."""
    config.nav = [filled(entry, Path(config.docs_dir)) for entry in config.nav]
    return config


def filled(entry: Any, docs: Path) -> Any:
    if isinstance(entry, Mapping):
        return {title: filled(inner, docs) for title, inner in entry.items()}
    if not isinstance(entry, list):
        return entry
    listed: list[Any] = []
    for inner in entry:
        if isinstance(inner, str) and inner.endswith("/*"):
            own = sorted(docs.glob(f"{inner}.md"), key=lambda p: (p.name != "README.md", p.name))
            listed += [path.relative_to(docs).as_posix() for path in own]
        else:
            listed.append(filled(inner, docs))
    return listed


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Docstrings' roles, ``:func:`x```, as plain names."""
    html = re.sub(r":(?:func|class|meth|mod|data|attr):(?=<code>)", "", html)
    return re.sub(r"<code>~(?:\w+\.)*(\w+)</code>", r"<code>\1</code>", html)


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files
