"""What is written about redub: pages made from the code, links, the README, the changelog."""

import ast
import importlib.util
import re
import sys
import textwrap
import tomllib
import types
from pathlib import Path

import numpy as np
import pytest
import yaml

import redub
from redub.core.metric import Metric
from redub.evaluation.registry import function_of

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def loaded(path: Path):
    spec = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generated():
    return loaded(DOCS / "generate.py").pages()


# -- generated pages


def test_every_command_and_option_is_on_the_page_of_commands(generated):
    # From the source, not from the app that the page is made from.
    page = generated["reference/commands.md"]
    files = [ROOT / "redub" / "cli.py", *(ROOT / "redub").glob("commands/**/*.py")]
    options = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            if called and node.func.attr == "Option":
                options |= {a.value for a in node.args if isinstance(a, ast.Constant)}
    options = {o for o in options if isinstance(o, str) and o.startswith("--")}
    assert len(options) > 20
    assert {o for o in options if f"`{o.split('/')[0]}" not in page} == set()
    for name in ("init", "index query", "weights add", "runs compare", "vocoder train"):
        assert f"## redub {name} " in page


def test_every_setting_of_a_new_project_is_on_the_page_of_settings(generated):
    from redub.pipeline.store.project import TEMPLATE

    page = generated["reference/settings.md"]
    values = tomllib.loads(TEMPLATE.format(name='"x"', profile='"builtin"', footage='"f"'))
    keys = [f"{table}.{key}" for table, own in values.items() if table != "name" for key in own]
    assert len(keys) > 3
    for key in (*keys, "name", "index.metric", "compute.device", "vocoder.run"):
        assert f"| `{key}` |" in page
    assert "| `index.k` | whole number | `3` |" in page
    assert '`"cosine"` \\| `"dot"` \\| `"negative_euclidean"`' in page


def test_every_registry_line_and_error_code_has_a_row(generated):
    from redub.evaluation.registry import METRICS
    from redub.features.registry import EXTRACTORS, FEATURE_BACKENDS
    from redub.model.registry import SYSTEMS

    assert [n for n in METRICS if f"| `{n}` |" not in generated["reference/metrics.md"]] == []
    page = generated["reference/features.md"]
    makers = [(f, m) for f, own in FEATURE_BACKENDS.items() for m in own]
    assert [n for n in EXTRACTORS if f"\n## {n}\n" not in page] == []
    assert [pair for pair in makers if "### {} by {}".format(*pair) not in page] == []
    assert [n for n in SYSTEMS if f"\n## {n}\n" not in generated["reference/systems.md"]] == []
    codes = set()
    for file in (ROOT / "redub").rglob("*.py"):
        codes |= set(re.findall(r"[\"'](E-[A-Z0-9-]+)[\"']", file.read_text(encoding="utf-8")))
    assert len(codes) > 100
    rows = re.findall(r"^\| `(E-[A-Z0-9-]+)` \|", generated["reference/errors.md"], re.MULTILINE)
    assert set(rows) == codes
    assert len(rows) == len(set(rows))
    assert "| `E-EXTRA` | `MissingExtraError` | 4 |" in generated["reference/errors.md"]


def test_tables_have_as_many_cells_in_every_row(generated):
    for path, text in generated.items():
        width = 0
        for line in text.splitlines():
            cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
            assert not (width and cells) or cells == width, (path, line)
            width = cells


# -- imports


MADE_UP = ("redub.evaluation.f0_error", "redub.features.sound.clip_loudness")
"""Modules that the recipes of docs/architecture.md let the reader write."""


def blocks_of(heading: str) -> list[str]:
    """The Python code blocks of one recipe of docs/architecture.md, without their indent."""
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    section = text.partition(f"## Recipe: {heading}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^( *)```python\n(.*?)^ *```$", section, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for _, block in blocks]


def test_the_recipe_of_a_metric_works_as_it_is_printed(monkeypatch):
    source, row, test = blocks_of("add a metric")
    module = types.ModuleType("redub.evaluation.f0_error")
    exec(source, module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    namespace = {}
    exec(test, namespace)
    namespace["test_an_octave_is_1200_cents"]()
    metric = eval(row, {"Metric": Metric})
    assert (metric.is_measured, metric.direction) == (True, "lower")
    track = np.array([100.0, 0.0, 200.0])
    take = types.SimpleNamespace(recorded_f0_hz=track, f0_hz=2 * track)
    assert function_of(metric.of_take)(take) == 1200
    assert function_of(metric.target) is module.f0_error_cents


def imports_of(text: str) -> set[tuple[str, str]]:
    """Pairs (module, name) of every import from redub, also within functions."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "redub":
            found |= {(node.module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names if alias.name.startswith("redub")}
    return found


def exists(module: str, name: str) -> bool:
    try:
        found = importlib.import_module(module)
        return not name or hasattr(found, name) or bool(importlib.import_module(f"{module}.{name}"))
    except ImportError:
        return False


def test_what_benchmarks_examples_and_documents_import_exists():
    texts = {
        path: path.read_text(encoding="utf-8")
        for folder in ("benchmarks", "examples")
        for path in (ROOT / folder).rglob("*.py")
    }
    for path in (ROOT / "README.md", *DOCS.rglob("*.md")):
        blocks = re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
        lines = [line.strip() for block in blocks for line in block.splitlines()]
        texts[path] = "\n".join(
            line for line in lines if re.match(r"(from redub\S* import \w|import redub)", line)
        )
    wanted = {(path.name, *pair) for path, text in texts.items() for pair in imports_of(text)}
    assert len(wanted) > 50
    missing = {w for w in wanted if w[1] not in MADE_UP and not exists(w[1], w[2])}
    assert missing == set()
    assert not exists("redub.core.types", "NoSuchName")
    assert not exists("redub.core.no_such_module", "")


# -- links


def links_of(text: str) -> list[str]:
    plain = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", plain)


@pytest.mark.parametrize("file", sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")]), ids=str)
def test_relative_links_lead_to_a_file_or_to_a_generated_page(file, generated):
    for link in links_of(file.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link) or link.startswith("#"):
            continue
        target = (file.parent / link.partition("#")[0]).resolve()
        made = target.is_relative_to(DOCS) and target.relative_to(DOCS).as_posix() in generated
        assert target.exists() or made, f"{file.name} links to {link}"


def test_every_page_is_in_the_navigation(generated):
    class Loader(yaml.SafeLoader):
        pass

    nav = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)["nav"]
    filled = loaded(DOCS / "generate.py").filled(nav, DOCS)

    def leaves(entry):
        if isinstance(entry, str):
            return [entry]
        inner = entry.values() if isinstance(entry, dict) else entry
        return [leaf for part in inner for leaf in leaves(part)]

    listed = leaves(filled)
    files = {p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md") if "schemas" not in p.parts}
    assert sorted(listed) == sorted(files | set(generated))


# -- the check of a built site


def test_the_check_of_a_site_sees_dead_links_and_what_is_loaded_from_elsewhere(tmp_path):
    check = loaded(DOCS / "check_site.py")
    head = '<link rel="stylesheet" href="a.css"><script src="a.js"></script>'
    (tmp_path / "a.css").write_text("p { color: red }")
    (tmp_path / "a.js").write_text("")
    (tmp_path / "b.html").write_text(f'{head}<h1 id="top">b</h1><a href="https://x.org">x</a>')
    (tmp_path / "a.html").write_text(f'{head}<a href="b.html#top">b</a><img src="data:,x">')
    assert check.faults_of(tmp_path) == []
    wrong = {
        '<a href="c.html">': "c.html, which is not there",
        '<a href="b.html#no">': "no such heading",
        '<img src="https://x.org/a.png">': "loads https://x.org",
        '<script src="//x.org/a.js"></script>': "loads //x.org",
        '<link rel="stylesheet" href="https://x.org/a.css">': "loads https://x.org",
        "<style>@import 'https://x.org/a.css'</style>": "loads https://x.org",
        '<p style="background: url(https://x.org/a.png)">': "loads https://x.org",
        '<img src="gone.png">': "gone.png, which is not there",
        '<pre class="mermaid">': "mermaid",
    }
    for number, (line, said) in enumerate(wrong.items()):
        page = tmp_path / f"wrong_{number}.html"
        page.write_text(line)
        faults = check.faults_of(tmp_path)
        assert len(faults) == 1, line
        assert said in faults[0]
        page.unlink()


# -- README, changelog, citation


def test_the_readme_is_short_and_names_the_two_commands_and_a_picture_that_is_small():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert "make demo" in text
    assert "make test" in text
    pictures = [link for link in links_of(text) if link.endswith((".svg", ".png"))]
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).stat().st_size < 200_000


def test_the_version_is_the_same_everywhere():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", changelog, re.MULTILINE)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert released[0] == str(citation["version"]) == redub.__version__
    assert {r["identifiers"][0]["value"] for r in citation["references"]} == {
        "arXiv:2511.14249",
        "arXiv:2412.18748",
    }


def test_bullets_of_the_changelog_take_two_short_lines_at_most():
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    titles = [line[4:] for line in lines if re.match(r"### ", line)]
    assert set(titles) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert max(map(len, lines)) <= 120
    for number, line in enumerate(lines):
        if line.startswith("  "):
            assert lines[number - 1].startswith("- "), f"line {number + 1}: a third line"


def test_forms_and_hooks_are_yaml_and_fetch_nothing():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repo["repo"] for repo in hooks["repos"]] == ["local"]
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(forms) >= 3
    for form in forms:
        content = yaml.safe_load(form.read_text(encoding="utf-8"))
        assert form.name == "config.yml" or {"name", "description", "body"} <= set(content)
