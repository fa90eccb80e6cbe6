"""A project: a folder with ``redub.toml`` and, below it, everything that redub writes.

The file says *what* is produced; flags only say *how* it is computed. Every key is checked. The key
of each stage covers the settings that the stage uses, so a changed setting never uses a stale file.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from redub.core.config import merged, nearest, read_toml, toml_text
from redub.core.errors import ConfigError, UsageError
from redub.core.records import Json
from redub.features.registry import BUILTIN, PROFILES
from redub.pipeline.store.settings import (
    FILE_NAME,
    ProjectConfig,
    parse_config,
    train_config,
    train_values,
)


@dataclass(frozen=True)
class Project:
    """A project folder and its checked settings; picklable, for worker processes."""

    root: Path
    config: ProjectConfig

    @property
    def footage_root(self) -> Path:
        """The absolute folder of the footage, ``[footage] root``."""
        return (self.root / self.config.footage.root).resolve()


def open_project(start: Path) -> Project:
    """Find ``redub.toml`` in ``start`` or the folders above it, and check it.

    Raises:
        ConfigError: no such file, or an error in it.
    """
    start = start.resolve()
    if not start.exists():
        raise ConfigError(
            f"there is no folder {start}; start a project with `redub init DIR`, or name one with "
            "-C DIR",
            code="E-CFG-NOPROJECT",
        )
    for folder in (start, *start.parents):
        path = folder / FILE_NAME
        if not path.is_file() and (path.exists() or path.is_symlink()):
            raise ConfigError(
                f"{path} is no file that can be read; wanted the settings of a project",
                code="E-CFG-TOML",
            )
        if path.is_file():
            return Project(folder, parse_config(toml_text(path), where=str(path)))
    raise ConfigError(
        f"no {FILE_NAME} in {start} or above it; start a project with `redub init DIR`, or "
        "name one with -C DIR",
        code="E-CFG-NOPROJECT",
    )


def with_profile(project: Project, profile: str) -> Project:
    """The same project with another profile of extractors.

    Raises:
        ConfigError: there is no such profile.
    """
    _check_profile(profile)
    return Project(project.root, dataclasses.replace(project.config, profile=profile))


def _check_profile(profile: str) -> None:
    if profile not in PROFILES:
        raise ConfigError(f"unknown profile '{profile}'; {nearest(profile, PROFILES)}")


def with_training(
    project: Project,
    *,
    model: str | None = None,
    preset: str | None = None,
    file: Path | None = None,
    settings: Sequence[str] = (),
) -> Project:
    """The same project with other settings of ``[train]``: file, then preset, then single settings.

    Args:
        model: the model of the command line, if it names one; ``settings`` may not name another.
        preset: ``tiny`` or ``paper``.
        file: TOML with keys of ``[train]`` (``max_steps = 9``, ``[training.batching]``).
        settings: ``key=value`` with dotted keys.

    Raises:
        ConfigError: an unknown key (with the nearest known one), or a value of another type.
        UsageError: a setting without ``=``, or two models.
    """
    values = train_values(project.config.train)
    if file is not None:
        changes = read_toml(file)
        if "train" in changes:
            raise ConfigError(
                f"{file} has the key 'train'; write the keys of [train] without that heading, and "
                "[model] for [train.model]",
                code="E-CFG-KEY",
            )
        if isinstance(changes.get("model"), str):
            changes["model"] = {"name": changes["model"]}
        values = merged(values, changes)
    if preset is not None:
        values["preset"] = preset
    changes = parsed_settings(settings)
    if isinstance(changes.get("model"), str):
        changes["model"] = {"name": changes["model"]}
    table = changes.get("model")
    named = table.get("name") if isinstance(table, dict) else None
    if model is not None and named not in (None, model):
        raise UsageError(f"the command names the model {model} and --set names {named}; keep one")
    train = train_config(merged(values, changes))
    return Project(project.root, dataclasses.replace(project.config, train=train))


def parsed_settings(settings: Sequence[str]) -> dict[str, Json]:
    """Parse ``key=value`` settings with dotted keys into nested tables; later ones win.

    Raises:
        UsageError: a setting without ``=``.
    """
    values: dict[str, Json] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {setting}: wanted key=value, as training.seed=3")
        *tables, last = key.strip().split(".")
        nested: dict[str, Json] = {last: _toml_value(text.strip())}
        for name in reversed(tables):
            nested = {name: nested}
        values = merged(values, nested)
    return values


def _toml_value(text: str) -> Json:
    """Parse a value as TOML; anything else is a string."""
    try:
        value: Json = tomllib.loads(f"value = {text}")["value"]
        return value
    except tomllib.TOMLDecodeError:
        return text


@dataclass(frozen=True, slots=True)
class NewProject:
    """A project that was just made: its ``redub.toml``, footage folder, profile and weights.

    ``weights`` are the entries of ``models.lock``, from packages that were fetched before.
    """

    file: Path
    footage: Path
    profile: str = BUILTIN
    weights: tuple[str, ...] = ()


TEMPLATE = """# redub project. Keys left out keep their defaults; `redub config` prints all of them.
name = {name}

[footage]
root = {footage:20} # media, NAME.srt next to NAME.mp4, optional cast/emotions/splits.csv
allow_audio_only = false    # true: speech files without video are clips too

[features]
profile = {profile:17} # builtin | packaged | paper: which models compute the features

[index]
k = 3                       # neighbours per modality (paper: 3)
speaker = "any"             # any | same | other

[train]
preset = "tiny"             # tiny | paper
"""


def init_project(root: Path, profile: str = BUILTIN, footage: Path | None = None) -> NewProject:
    """Write a commented ``redub.toml`` and the footage folder.

    Args:
        footage: an existing footage folder to use instead of the project's own.

    Raises:
        ConfigError: E-CFG-EXISTS, the folder holds a project already, or there is no such profile;
            nothing was changed; E-CFG-FOOTAGE, ``footage`` is no folder.
    """
    from redub.core.durable import commit_bytes, storage_errors

    path = root / FILE_NAME
    if path.exists():
        raise ConfigError(f"{path} exists already; nothing was changed", code="E-CFG-EXISTS")
    _check_profile(profile)
    if footage is not None and not footage.is_dir():
        raise ConfigError(f"there is no footage folder {footage}", code="E-CFG-FOOTAGE")
    own = root / "footage"
    with storage_errors(path):
        (own if footage is None else root).mkdir(parents=True, exist_ok=True)
    name = root.resolve().name or "project"
    text = TEMPLATE.format(
        name=json.dumps(name),
        profile=json.dumps(profile),
        footage=json.dumps("footage" if footage is None else str(footage.resolve())),
    )
    commit_bytes(path, text.encode())
    return NewProject(path, footage or own, profile)
