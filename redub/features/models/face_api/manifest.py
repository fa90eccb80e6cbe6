"""Read the weights of TensorFlow.js: a manifest in JSON, and one binary file without a header.

The manifest lists name, shape and type of each tensor; the binary file holds their values one after
the other. A quantised tensor has one byte q per number, which stands for ``min + scale * q``.
Source: the documentation of TensorFlow.js on weight manifests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from redub.core.types import FloatArray
from redub.features.weights.folder import WeightFolder

SUFFIX = "-weights_manifest.json"


def read_tensors(weights: WeightFolder, model: str) -> dict[str, FloatArray]:
    """Read all tensors of a model.

    Args:
        model: name of the files without ``-weights_manifest.json`` and ``.bin``.

    Returns:
        name → float32 array in the shape of the manifest.

    Raises:
        ModelRefusedError: E-MODEL-FILE, a file is missing, damaged, or of another size than the
            manifest says.
    """
    manifest, binary = f"{model}{SUFFIX}", f"{model}.bin"
    groups = weights.any_json(manifest)
    data = weights.file(binary).read_bytes()
    tensors: dict[str, FloatArray] = {}
    at = 0
    try:
        for entry in (entry for group in groups for entry in group["weights"]):
            values, size = _values(entry, data[at:])
            tensors[entry["name"]] = values
            at += size
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise weights.refused(
            f"{manifest} and {binary} do not fit together, or are damaged ({error}); type "
            "`redub weights get face_api`",
            code="E-MODEL-FILE",
        ) from error
    if at != len(data):
        raise weights.refused(
            f"{binary} has {len(data)} bytes, its manifest lists {at}; type "
            "`redub weights get face_api`",
            code="E-MODEL-FILE",
        )
    return tensors


def _values(entry: Mapping[str, Any], data: bytes) -> tuple[FloatArray, int]:
    """The values of one tensor at the start of ``data``, and their number of bytes there."""
    shape = tuple(int(size) for size in entry["shape"])
    count = math.prod(shape)
    if min(shape, default=1) < 1:
        raise ValueError(f"{entry['name']} has the shape {shape}")
    packing = entry.get("quantization")
    stored = np.dtype("<f4") if packing is None else np.dtype("u1")
    if entry["dtype"] != "float32" or (packing and packing["dtype"] != "uint8"):
        raise ValueError(f"{entry['name']} is neither float32 nor packed as uint8")
    size = count * stored.itemsize
    if len(data) < size:
        raise ValueError(f"{entry['name']} is cut off")
    values = np.frombuffer(data, stored, count).astype(np.float64)
    if packing is not None:
        values = float(packing["min"]) + float(packing["scale"]) * values
    if not np.isfinite(values).all():
        raise ValueError(f"{entry['name']} is not finite")
    return values.astype(np.float32).reshape(shape), size
