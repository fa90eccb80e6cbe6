"""On which device and in what batches networks run; nothing here changes a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redub.core.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """How models are run; it changes no value beyond rounding, so it is in no key.

    ``device``: ``auto`` (the first GPU, else the CPU), ``cpu``, ``cuda``, ``cuda:1``.
    ``batch``: clips per forward pass, 0 for each extractor's own choice.
    ``threads``: CPU threads of one worker's networks. A fixed number, not the machine's, so that
        every scheduler and every machine of a cluster sums in the same order.
    """

    device: str = "auto"
    batch: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        if self.device not in ("auto", "cpu") and not self.device.startswith("cuda"):
            raise ConfigError(
                f"compute.device is '{self.device}'; legal: auto, cpu, cuda, cuda:N",
                code="E-CFG-VALUE",
            )
        if self.batch < 0:
            raise ConfigError(f"compute.batch is {self.batch}; wanted 0 or more")
        if self.threads < 1:
            raise ConfigError(f"compute.threads is {self.threads}; wanted at least 1")

    def torch_device(self) -> Any:
        """The device to compute on.

        Raises:
            ConfigError: a GPU was asked for by name and there is none.
        """
        import torch

        has_gpu = torch.cuda.is_available()
        if self.device == "auto":
            return torch.device("cuda" if has_gpu else "cpu")
        if self.device != "cpu" and not has_gpu:
            raise ConfigError(
                f"compute.device is '{self.device}' and no GPU is usable; set it to auto or cpu",
                code="E-CFG-DEVICE",
            )
        return torch.device(self.device)
