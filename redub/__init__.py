"""redub: folders of footage in, movie dubbers and dubbed clips out.

>>> import redub
>>> project = redub.open_project("demo")  # doctest: +SKIP
>>> project.features("face_emotion")  # doctest: +SKIP
>>> project.index("face").query(project.clips()["clip_id"][0], k=3)  # doctest: +SKIP

Names are loaded when they are first used, so that ``import redub`` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redub.api import Index as Index
    from redub.api import Project as Project
    from redub.api import dub as dub
    from redub.api import open_project as open_project
    from redub.core.errors import RedubError as RedubError

__version__ = "0.2.0"

_PUBLIC = {
    "Index": "redub.api",
    "Project": "redub.api",
    "RedubError": "redub.core.errors",
    "dub": "redub.api",
    "metrics": "redub.metrics",
    "open_project": "redub.api",
}

__all__ = ["Index", "Project", "RedubError", "__version__", "dub", "metrics", "open_project"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'redub' has no attribute '{name}'")
    module = importlib.import_module(_PUBLIC[name])
    return module if name == "metrics" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
