"""What the server of ``tests.typed`` imports before it forks."""

import importlib
import pkgutil

import redub.pipeline
from redub import cli
from redub.model.registry import SYSTEMS

for spec in SYSTEMS.values():
    importlib.import_module(spec.target.partition(":")[0])
for module in pkgutil.iter_modules(redub.pipeline.__path__, "redub.pipeline."):
    importlib.import_module(module.name)

assert callable(cli.main)
