"""Commands of the weights ledger, models.lock: ``redub weights ...``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from redub.commands.apps import weights_app
from redub.commands.console import OK, REFUSED, finish, progress_bar, put, say, table
from redub.commands.invocation import HERE, command
from redub.commands.options import Json, ProjectDir, project_of
from redub.core.errors import ConfigError, UsageError


@weights_app.command("add")
def weights_add(
    kind: Annotated[str, typer.Argument(help="a kind that `redub weights kinds` lists")],
    path: Annotated[Path, typer.Argument(help="the local folder or file")],
    name: Annotated[str, typer.Option(help="name of the entry (default: the kind)")] = "",
    licence: Annotated[str, typer.Option(help="licence, if not the publisher's")] = "",
    terms: Annotated[str, typer.Option(help="terms of use, if not the publisher's")] = "",
    replace: Annotated[bool, typer.Option(help="overwrite an entry that has other files")] = False,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Record the SHA-256 of every file of pretrained weights, with licence and terms."""
    from redub.pipeline.store.lock import project_lock
    from redub.pipeline.store.weights import add_weights

    root = project_of(project).root
    with project_lock(root), progress_bar("hash", "bytes") as bar:
        entry = add_weights(
            root,
            kind,
            path,
            name=name,
            licence=licence,
            terms=terms,
            replace=replace,
            progress=bar,
        )
    if as_json:
        put(entry, schema="weights.entry")
    say(f"{entry.name}: {len(entry.files)} files of {entry.path}")
    say(f"licence: {entry.licence}{'; ' + entry.terms if entry.terms else ''}")
    finish(0, command("doctor", "--weights", project=project))


@weights_app.command("get")
def weights_get(
    names: Annotated[
        list[str], typer.Argument(help="packages of `redub weights packages`, or: all")
    ],
    replace: Annotated[bool, typer.Option(help="overwrite an entry that has other files")] = False,
    again: Annotated[bool, typer.Option(help="download a package that is here already")] = False,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Download public packages that carry weights, by SHA-256, and record them in models.lock.

    In a folder without a project the packages are only downloaded.
    """
    from redub.pipeline.store.packaged import (
        FetchedPackage,
        FetchedPackages,
        get_package,
        package_names,
    )

    wanted = package_names(names)
    root = _root_or_none(project)
    done: list[FetchedPackage] = []
    with progress_bar("download", "packages") as bar:
        for name in wanted:
            bar(len(done), len(wanted))
            done.append(get_package(name, root, replace=replace, again=again))
        bar(len(done), len(wanted))
    if as_json:
        put(FetchedPackages(tuple(done)), schema="weights.get")
    for got in done:
        state = got.problem or f"{got.package}, {got.licence}; files in {got.folder}"
        say(f"{got.name}: {state}")
    failed = any(got.problem for got in done)
    if root is None:
        say(f"no project in {project}: nothing was recorded. `redub init` records them")
    elif not failed:
        say(f"next: {command('doctor', '--weights', project=project)}")
    raise typer.Exit(REFUSED if failed else OK)


def _root_or_none(folder: Path) -> Path | None:
    """The root of the project of a folder; None if there is none."""
    try:
        return Path(project_of(folder).root)
    except ConfigError as error:
        if error.code != "E-CFG-NOPROJECT":
            raise
        return None


@weights_app.command("packages")
def weights_packages(as_json: Json = False) -> None:
    """List the public packages that carry weights, with size and licence."""
    from redub.features.weights.packages import PACKAGES, WeightPackages, is_fetched

    here = {name: is_fetched(name) for name in PACKAGES}
    if as_json:
        put(WeightPackages(PACKAGES, here), schema="weights.packages")
        return
    table(
        ["name", "what", "package", "MB", "licence", "here"],
        [
            [
                name,
                package.title,
                f"{package.package} {package.version}",
                package.megabytes,
                package.licence,
                "yes" if here[name] else "no",
            ]
            for name, package in PACKAGES.items()
        ],
    )


@weights_app.command("list")
def weights_list(project: ProjectDir = HERE, as_json: Json = False) -> None:
    """List the entries of models.lock."""
    from redub.pipeline.store.weights import WeightsList, read_ledger

    entries = tuple(read_ledger(project_of(project).root).entries.values())
    if as_json:
        put(WeightsList(entries), schema="weights.list")
        return
    table(
        ["name", "kind", "files", "licence", "path"],
        [[e.name, e.kind, len(e.files), e.licence, e.path] for e in entries],
    )


@weights_app.command("kinds")
def weights_kinds(project: ProjectDir = HERE, as_json: Json = False) -> None:
    """List the kinds of weights: their files, their licence, and what a project has of them."""
    from redub.features.weights.kinds import KINDS, WeightKinds

    if as_json:
        put(WeightKinds(KINDS), schema="weights.kinds")
        return
    recorded = _recorded(project)
    table(
        ["kind", "what", "needs", "licence", "recorded"],
        [
            [
                name,
                kind.title,
                " + ".join("|".join(group) for group in kind.wanted),
                kind.licence,
                ", ".join(recorded.get(name, ["no"])) if recorded is not None else "–",
            ]
            for name, kind in KINDS.items()
        ],
    )
    say(f"record one with {command('weights', 'add', 'KIND', 'PATH', project=project)}")


def _recorded(project: Path) -> dict[str, list[str]] | None:
    """Kind → its entries in models.lock; None where there is no project."""
    from redub.pipeline.store.weights import read_ledger

    try:
        root = project_of(project).root
    except ConfigError as error:
        if error.code != "E-CFG-NOPROJECT" or project != HERE:
            raise
        return None
    found: dict[str, list[str]] = {}
    for entry in read_ledger(root).entries.values():
        found.setdefault(entry.kind, []).append(entry.name)
    return found


@weights_app.command("verify")
def weights_verify(
    names: Annotated[list[str] | None, typer.Argument(help="entries (default: all)")] = None,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Hash every recorded file again; exit with 8 if a file is gone or changed."""
    from redub.core.config import nearest
    from redub.pipeline.store.weights import WeightsCheck, read_ledger, verify_weights

    ledger = read_ledger(project_of(project).root)
    for name in names or ():
        if name not in ledger.entries:
            raise UsageError(f"no weights '{name}'; {nearest(name, ledger.entries)}")
    with progress_bar("verify", "entries") as bar:
        found = list(verify_weights(ledger, names or list(ledger.entries), bar))
    if as_json:
        check = WeightsCheck({entry.name: wrong for entry, wrong in found})
        put(check, schema="weights.verify")
    for entry, wrong in found:
        say(f"{entry.name}: {'whole' if not wrong else ''}{'; '.join(wrong)}")
    raise typer.Exit(REFUSED if any(wrong for _, wrong in found) else OK)


@weights_app.command("remove")
def weights_remove(
    name: Annotated[str, typer.Argument(help="an entry of models.lock")],
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Remove an entry from models.lock; files and computed features stay."""
    from redub.pipeline.store.lock import project_lock
    from redub.pipeline.store.weights import remove_weights

    root = project_of(project).root
    with project_lock(root):
        entry = remove_weights(root, name)
    if as_json:
        put(entry, schema="weights.entry")
    say(f"{entry.name} removed; its files in {entry.path} were not touched")
