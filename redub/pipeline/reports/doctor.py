"""`redub doctor`: what this installation can do.

Reports versions, tools, decoders, the GPU and every registry. Each registry line is imported, so a
line that does not resolve is reported.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redub import __version__
from redub.core.registry import load

FOR_DEVELOPERS = ("dev", "docs")
UNWANTED = ("torchvision", "torchaudio", "timm")


@dataclass(slots=True)
class Examination:
    """Findings: section → name → text, and ``problems`` as sentences."""

    sections: dict[str, dict[str, str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def examine() -> Examination:
    """Examine the installation; without ``problems`` everything works."""
    report = Examination()
    report.sections["redub"] = {
        "redub": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
    packages = declared_packages()
    report.sections["packages"] = {name: _version(name, report) for name in packages.pop("")}
    report.sections["extras"] = {
        extra: _extra(extra, names)
        for extra, names in packages.items()
        if extra not in FOR_DEVELOPERS
    }
    for name in UNWANTED:
        if importlib.util.find_spec(name) is not None:
            report.problems.append(f"{name} is installed; it breaks with this torch, remove it")
    report.sections["tools"] = {
        "C++ compiler": shutil.which("c++") or shutil.which("g++") or "none (hnswlib needs one)",
        "chromium": shutil.which("chromium") or "none (only for page tests)",
    }
    report.sections["decoders"] = _decoders(report)
    report.sections["GPU"] = _gpu()
    for kind, table in _registries().items():
        report.sections[f"registry: {kind}"] = {
            name: _resolves(table, name, kind, report) for name in table
        }
    return report


def declared_packages() -> dict[str, list[str]]:
    """Packages that the installed redub declares, by extra; ``""`` has those of the core."""
    packages: dict[str, list[str]] = {"": []}
    for requirement in importlib.metadata.requires("redub") or []:
        extra = re.search(r"extra == [\"']([\w-]+)", requirement)
        name = re.match(r"[\w.-]+", requirement)
        assert name is not None
        packages.setdefault(extra[1] if extra else "", []).append(name[0])
    return packages


def _extra(extra: str, names: Sequence[str]) -> str:
    missing = []
    for name in names:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if not missing:
        return "installed"
    return f"without {', '.join(missing)}; pip install 'redub[{extra}]'"


def _version(name: str, report: Examination) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        report.problems.append(f"package {name} is missing")
        return "missing"


def _decoders(report: Examination) -> dict[str, str]:
    import av

    found = {"PyAV": f"{av.__version__}, libavcodec {av.library_versions['libavcodec']}"}
    try:
        import decord

        found["decord"] = decord.__version__
    except (ImportError, OSError) as error:
        found["decord"] = f"unusable: {error}"
        report.problems.append(f"decord cannot be loaded ({error}); PyAV reads everything instead")
    return found


def _gpu() -> dict[str, str]:
    import torch

    if not torch.cuda.is_available():
        return {"CUDA": "none (everything runs on the CPU)"}
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"CUDA": ", ".join(names)}


def _registries() -> dict[str, Mapping[str, str]]:
    from redub.evaluation.registry import METRICS
    from redub.features.registry import EXTRACTORS, FEATURE_BACKENDS
    from redub.footage.corpora.registry import LAYOUTS
    from redub.index.registry import BACKENDS
    from redub.index.transform import TRANSFORMS
    from redub.model.registry import SYSTEMS
    from redub.model.vocoder.registry import VOCODERS

    return {
        "extractors": EXTRACTORS,
        "extractors with weights or from files": {
            f"{feature}: {backend}": target
            for feature, backends in FEATURE_BACKENDS.items()
            for backend, target in backends.items()
        },
        "corpus layouts": LAYOUTS,
        "index backends": BACKENDS,
        "index transforms": TRANSFORMS,
        "models": {name: spec.target for name, spec in SYSTEMS.items()},
        "vocoders": VOCODERS,
        "metrics": {name: metric.target for name, metric in METRICS.items()},
    }


def _resolves(table: Mapping[str, Any], name: str, kind: str, report: Examination) -> str:
    try:
        line = table[name]
        found = load(table, name, kind=kind) if isinstance(line, str) else line
    except (ImportError, AttributeError) as error:
        report.problems.append(f"{kind} '{name}' does not load: {error}")
        return f"broken: {error}"
    lines = (found.__doc__ or sys.modules[found.__module__].__doc__ or "").strip().splitlines()
    return lines[0] if lines else str(line)
