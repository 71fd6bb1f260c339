"""Constant tensors used by modules, created on first use and kept out of the state dict."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class LazyConstant:
    """A tensor created on demand, and cached for each dtype and device.

    Not a buffer: casting the module to float32 and back would round it.

    Args:
        make: Returns the tensor, in float64 if it has fractions; a picklable function, so that modules that hold the
            constant can be pickled.
    """

    def __init__(self, make: Callable[[], Tensor]) -> None:
        self.make = make
        self.kept: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def like(self, other: Tensor) -> Tensor:
        """The tensor with the dtype and on the device of ``other``."""
        return self.of(other.dtype, other.device)

    def of(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """The tensor with the given dtype and device."""
        if (dtype, device) not in self.kept:
            # Created in inference mode, it could not be used in later training; created on the meta device, it would
            # have no data.
            with torch.inference_mode(False), torch.device("cpu"):
                self.kept[dtype, device] = self.make().to(device, dtype)
        return self.kept[dtype, device]
