"""Move images to the device of a network. Letters: H and W image height and width."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from redub.core.types import ByteArray


def on_device(images: ByteArray, device: torch.device) -> Tensor:
    """Convert (..., H, W, 3) or (..., H, W) uint8 to float32 from 0 to 1 on the device.

    Bytes are transferred and then converted on the device, which needs a quarter of the transfer.
    """
    bytes_ = torch.from_numpy(np.ascontiguousarray(images))
    if device.type == "cuda":
        bytes_ = bytes_.pin_memory()
    return bytes_.to(device, non_blocking=True).float().div_(255.0)
