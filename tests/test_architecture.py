"""The rooms and their imports; no import circle; every registry line resolves; a light door."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import redub
from redub.core.registry import load

ROOT = Path(redub.__file__).parent
BELOW = {"core", "footage", "features", "index", "model", "training", "evaluation", "pages"}
STORE, WORK = "pipeline.store", "pipeline.work"
READERS = BELOW | {STORE, WORK}
LEAVES = {"pipeline.stages", "pipeline.reports", "pipeline.dubbing", "pipeline.imports"}
MAY_IMPORT = {
    "core": set(),
    "footage": {"core"},
    "features": {"core"},
    "index": {"core"},
    "model": {"core"},
    "pages": {"core"},
    "training": {"core", "model"},
    "evaluation": {"core", "features"},  # metrics run networks of fetched packages
    STORE: BELOW,
    WORK: BELOW | {STORE},
    "pipeline.stages": READERS,
    "pipeline.reports": READERS,
    "pipeline.dubbing": READERS,
    "pipeline.imports": READERS,
    "pipeline": READERS | LEAVES,  # walk.py and demo.py: the whole story
    "commands": READERS | LEAVES | {"pipeline"},
    "cli": {"core", "commands"},
    "api": READERS | LEAVES,
    "metrics": {"evaluation"},
}
"""Room → the rooms that its files may import; a room may always import itself."""
HEAVY = {"torch", "transformers", "funasr", "cv2", "av", "decord", "pyarrow", "polars", "dask"}


def module_of(file: Path) -> str:
    """The dotted name of a file of the package, without ``redub.`` in front."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    """The longest known room that a module (without ``redub.``) lies in."""
    parts = module.split(".")
    known = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((room for room in known if room in MAY_IMPORT), parts[0])


def imported_modules(source: str) -> set[str]:
    """What a source imports of redub, also inside functions, without ``redub.`` in front.

    Imports that only the type checker sees are left out: they bind nothing when the program runs.
    """
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                for other in child.orelse:
                    visit(other)
                continue
            if isinstance(child, ast.ImportFrom):
                assert child.level == 0, "relative import"
                found.update(f"{child.module}.{alias.name}" for alias in child.names)
                found.add(str(child.module))
            elif isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            visit(child)

    visit(ast.parse(source))
    return {name.removeprefix("redub.") for name in found if name.startswith("redub.")}


SOURCES = {module_of(file): file for file in sorted(ROOT.rglob("*.py")) if file.stem != "__main__"}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_point_one_way(room):
    files = [file for module, file in SOURCES.items() if room_of(module) == room]
    assert files, f"no code in {room}"
    for file in files:
        rooms = {room_of(name) for name in imported_modules(file.read_text(encoding="utf-8"))}
        assert rooms - {"__version__"} <= MAY_IMPORT[room] | {room}, file


def test_no_module_imports_itself_through_others():
    arrows = {
        module: {
            name
            for name in imported_modules(file.read_text(encoding="utf-8"))
            if name in SOURCES and name != module
        }
        for module, file in SOURCES.items()
    }
    assert sum(map(len, arrows.values())) > len(SOURCES), "the walk found no arrows"
    try:
        graphlib.TopologicalSorter(arrows).prepare()
    except graphlib.CycleError as circle:
        pytest.fail("import circle: " + " -> ".join(circle.args[1]))


def test_every_folder_of_the_package_is_a_known_room():
    rooms = {p.name for p in ROOT.iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    assert rooms == {room.split(".")[0] for room in MAY_IMPORT} - {"cli", "api", "metrics"}
    inner = {p.name for p in (ROOT / "pipeline").iterdir() if (p / "__init__.py").exists()}
    assert inner == {room.split(".")[1] for room in MAY_IMPORT if room.startswith("pipeline.")}


def test_no_folder_is_crowded():
    for folder in {file.parent for file in SOURCES.values()}:
        assert len(list(folder.glob("*.py"))) <= 20, folder


def test_forbidden_imports_and_hidden_ones_would_be_seen():
    planted = (
        "def f():\n    from redub.pipeline.store.tables import Store\nimport redub.model.batch\n"
    )
    assert {room_of(name) for name in imported_modules(planted)} == {STORE, "model"}
    typing_only = "if TYPE_CHECKING:\n    from redub.pipeline.walk import run_all\n"
    assert imported_modules(typing_only) == set()


def registries():
    from redub.evaluation.registry import METRICS
    from redub.features.registry import EXTRACTORS, FEATURE_BACKENDS
    from redub.footage.corpora.registry import LAYOUTS
    from redub.index.registry import BACKENDS
    from redub.index.transform import TRANSFORMS
    from redub.model.registry import SYSTEMS
    from redub.model.vocoder.registry import VOCODERS

    makers = {
        f"{f} by {m}": line for f, lines in FEATURE_BACKENDS.items() for m, line in lines.items()
    }
    tables = (METRICS, LAYOUTS, EXTRACTORS, makers, BACKENDS, TRANSFORMS, SYSTEMS, VOCODERS)
    return [(table, name) for table in tables for name in table]


@pytest.mark.parametrize(("table", "name"), registries())
def test_every_registry_line_resolves(table, name):
    line = table[name]
    found = load({name: line if isinstance(line, str) else line.target}, name, kind="line")
    assert callable(found)


@pytest.mark.parametrize("module", ["redub", "redub.cli", "redub.features.registry"])
def test_the_door_imports_nothing_heavy(module):
    code = f"import {module}, sys; print(*sorted(m.split('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def test_plans_and_keys_load_no_network_library():
    code = (
        "import sys; from redub.features.registry import FEATURE_BACKENDS, extractor_class\n"
        "for feature, makers in FEATURE_BACKENDS.items():\n"
        "    for maker in makers: extractor_class(feature, maker)\n"
        "print(*sorted(m.split('.')[0] for m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "funasr"} & set(done.stdout.split())


def test_nothing_that_breaks_beside_this_torch_is_installed():
    from importlib.util import find_spec

    assert [name for name in ("torchvision", "torchaudio", "timm") if find_spec(name)] == []


def test_no_source_names_an_absolute_home():
    # A path of one machine in the repository is a bug on every other machine.
    for file in sorted(ROOT.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        assert "/home/" not in text, file
        assert "/work/" not in text, file
