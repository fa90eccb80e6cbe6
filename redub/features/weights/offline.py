"""transformers without the network and without its chatter.

Its ``from_pretrained`` makes no call for a local folder, but that is a property of today's version;
the variables make it a property of the process. They must be set before the first import.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",  # workers are processes; its threads only warn about forks
}


def quiet_transformers() -> Any:
    """The transformers module, offline, without progress bars and load reports."""
    os.environ.update(OFFLINE)
    transformers: Any = importlib.import_module("transformers")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers
