"""Import transformers without network access and without its messages.

The current ``from_pretrained`` makes no network call for a local folder. The environment variables
guarantee this for the whole process. They must be set before the first import.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",  # workers are processes; its threads warn about forks
}


def quiet_transformers() -> Any:
    """Import and return transformers: offline, without progress bars and load reports."""
    os.environ.update(OFFLINE)
    transformers: Any = importlib.import_module("transformers")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers
