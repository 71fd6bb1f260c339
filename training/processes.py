"""The processes that train one policy together, as torchrun starts them; outside of torchrun, this process alone.

``torchrun --nproc-per-node 4 --no-python smidgen-train demos=... out=...``: each process computes its share of every
batch, and PyTorch's DistributedDataParallel averages the gradients. The first alone validates, logs and saves.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from smidgen.runtime.errors import UserError

# The others wait while the first fits statistics, validates or saves.
TIMEOUT = datetime.timedelta(hours=1)


@dataclass(frozen=True)
class Processes:
    """This process among those of its run.

    Attributes:
        rank: Its number, from 0.
        size: Number of processes.
        device: Device of each process's tensors: ``cpu`` or ``cuda``; the current GPU is the process's own.
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @classmethod
    @contextlib.contextmanager
    def joined(cls, device: str) -> Iterator[Processes]:
        """Joins the processes that torchrun started with this one.

        Args:
            device: Device of the policy: ``cpu``, ``cuda`` or ``mps``.

        Raises:
            UserError: If there are more processes than GPUs on this machine, or several processes on ``mps``.
        """
        if not distributed.is_torchelastic_launched() or os.environ["WORLD_SIZE"] == "1":
            yield cls(device=device)
            return
        if device == "mps":
            raise UserError("device=mps: several processes cannot share one GPU; run smidgen-train without torchrun")
        if device == "cuda":
            local_rank, num_gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
            if local_rank >= num_gpus:
                raise UserError(f"this machine has {num_gpus} GPUs; expected --nproc-per-node of at most that")
            torch.cuda.set_device(local_rank)
        distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=TIMEOUT)
        try:
            yield cls(distributed.get_rank(), distributed.get_world_size(), device)
        except RuntimeError as error:
            if not _is_lost_peer(error):
                raise
            raise UserError("another process of this training has ended; its own output says why") from error
        finally:
            distributed.destroy_process_group()

    @property
    def is_first(self) -> bool:
        """Whether this process validates, logs and saves."""
        return self.rank == 0

    def quiet(self) -> contextlib.AbstractContextManager[Any]:
        """Inside its block, only the first process prints."""
        return contextlib.nullcontext() if self.is_first else contextlib.redirect_stdout(None)

    def shared(self, value: Any) -> Any:
        """The first process's value, in each."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    def mean(self, values: list[float]) -> list[float]:
        """The mean of each value over the processes, in each."""
        if self.size == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        means: list[float] = (total / self.size).tolist()
        return means

    def averaging_gradients(self, module: nn.Module) -> nn.Module:
        """The module, or one whose backward pass also averages its gradients over the processes.

        Its weights are made equal to the first process's.
        """
        if self.size == 1:
            return module
        # Through the CPU: a tensor of a GPU would arrive on that GPU.
        module.load_state_dict(self.shared({name: value.cpu() for name, value in module.state_dict().items()}))
        if not any(parameter.requires_grad for parameter in module.parameters()):
            return module
        # Buffers are the same in each process: nothing changes them after they were fitted.
        return DistributedDataParallel(module, forward_sync_buffers=False, init_sync=False)


def _is_lost_peer(error: RuntimeError) -> bool:
    # Of a GPU and of the CPU; the latter is a plain RuntimeError whose message names its library.
    return isinstance(error, distributed.DistError) or "gloo" in str(error).lower()
