"""Constant tensors that modules compute with, made when first needed and kept out of the state dict."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class LazyConstant:
    """A tensor made on demand, and kept in each type and on each device it was asked for.

    Not a buffer: a module that was cast to float32 and back would have rounded it.

    Args:
        make: Gives the tensor, in float64 where it has fractions; a function that can be pickled, so that the module
            that holds the constant can be.
    """

    def __init__(self, make: Callable[[], Tensor]) -> None:
        self.make = make
        self.kept: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def like(self, other: Tensor) -> Tensor:
        """The tensor with the type and on the device of ``other``."""
        return self.of(other.dtype, other.device)

    def of(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """The tensor with a type and on a device."""
        if (dtype, device) not in self.kept:
            # Made under inference mode, it could not take part in a later training step; made under a meta device,
            # it would hold nothing.
            with torch.inference_mode(False), torch.device("cpu"):
                self.kept[dtype, device] = self.make().to(device, dtype)
        return self.kept[dtype, device]
