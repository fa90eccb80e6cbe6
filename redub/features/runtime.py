"""Device, batch size and threads of the networks; these settings do not change a value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from redub.core.errors import ConfigError

_DEVICE = re.compile(r"auto|cpu|cuda(?::[0-9]{1,3})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """How networks are run. It changes values only by rounding, so cache keys do not contain it.

    Attributes:
        device: ``auto`` (the first GPU, else the CPU), ``cpu``, ``cuda``, ``cuda:1``.
        batch: clips per forward pass; 0 for the default of each extractor.
        threads: CPU threads of the networks in one worker. The number does not depend on the
            machine, so that every machine of a cluster sums in the same order.

    Raises:
        ConfigError: E-CFG-VALUE, another device name, ``batch`` below 0 or ``threads`` below 1.
    """

    device: str = "auto"
    batch: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        if not _DEVICE.fullmatch(self.device):
            raise ConfigError(
                f"compute.device is {self.device!r}; legal: auto, cpu, cuda, cuda:N (N from 0)",
                code="E-CFG-VALUE",
            )
        if self.batch < 0:
            raise ConfigError(
                f"compute.batch is {self.batch}; wanted 0 or more", code="E-CFG-VALUE"
            )
        if self.threads < 1:
            raise ConfigError(
                f"compute.threads is {self.threads}; wanted at least 1", code="E-CFG-VALUE"
            )

    def torch_device(self) -> Any:
        """Return the torch device to compute on.

        Raises:
            ConfigError: E-CFG-DEVICE, ``device`` names a GPU that this machine does not have.
        """
        import torch

        if self.device == "cpu":
            return torch.device("cpu")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if self.device == "auto":
            return torch.device("cuda" if count else "cpu")
        if count == 0:
            raise ConfigError(
                f"compute.device is '{self.device}' and no GPU is usable; set it to auto or cpu",
                code="E-CFG-DEVICE",
            )
        if self.device == "cuda":
            return torch.device("cuda")
        number = int(self.device.removeprefix("cuda:"))
        # Checked here, because torch raises only when the first tensor is moved, with a
        # RuntimeError that would look like a fault of the clip.
        if number >= count:
            usable = ", ".join(f"cuda:{n}" for n in range(count))
            raise ConfigError(
                f"compute.device is '{self.device}', which this machine does not have; set it to "
                f"auto, cpu or one of {usable}",
                code="E-CFG-DEVICE",
            )
        return torch.device("cuda", number)
