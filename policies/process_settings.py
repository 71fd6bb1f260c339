"""What a policy's code can change for the whole process: NumPy's and PyTorch's settings and the working directory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass
class ProcessSettings:
    """A set of settings; :meth:`installed` gives one to a piece of code and keeps what the code makes of it."""

    numpy_errors: Any
    dtype: torch.dtype
    device: torch.device
    has_gradients: bool
    num_threads: int
    directory: str | None

    @classmethod
    def read(cls) -> ProcessSettings:
        """Those of the process at this moment."""
        return cls(
            np.geterr(),
            torch.get_default_dtype(),
            torch.get_default_device(),
            torch.is_grad_enabled(),
            torch.get_num_threads(),
            _working_directory(),
        )

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Inside the block these settings hold, and its changes to them are kept; after it the process has its own."""
        before = ProcessSettings.read()
        self._replace(before)
        try:
            yield
        finally:
            after = ProcessSettings.read()
            before._replace(after)
            self.__dict__.update(after.__dict__)

    def _replace(self, present: ProcessSettings) -> None:
        """Makes them the process's, as far as the present ones differ."""
        if self.numpy_errors != present.numpy_errors:
            np.seterr(**self.numpy_errors)
        if self.dtype != present.dtype:
            torch.set_default_dtype(self.dtype)
        if self.device != present.device:
            # Without a device of its own PyTorch is at its default, and not slowed down by a mode.
            torch.set_default_device(None if self.device.type == "cpu" else self.device)
        if self.has_gradients != present.has_gradients:
            torch.set_grad_enabled(self.has_gradients)
        if self.num_threads != present.num_threads:
            torch.set_num_threads(self.num_threads)
        if self.directory not in (None, present.directory):
            os.chdir(str(self.directory))


def _working_directory() -> str | None:
    """None where it was deleted."""
    with contextlib.suppress(FileNotFoundError):
        return os.getcwd()
    return None
