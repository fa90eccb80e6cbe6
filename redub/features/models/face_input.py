"""Pictures on their way into a network. Letters: H and W picture height and width."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from redub.core.types import ByteArray


def on_device(pictures: ByteArray, device: torch.device) -> Tensor:
    """Pictures (..., H, W, 3) or (..., H, W) of bytes as float32 from 0 to 1 on the device.

    Bytes travel and are divided there: a quarter of the traffic.
    """
    bytes_ = torch.from_numpy(np.ascontiguousarray(pictures))
    if device.type == "cuda":
        bytes_ = bytes_.pin_memory()
    return bytes_.to(device, non_blocking=True).float().div_(255.0)
