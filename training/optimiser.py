"""Optimisers, learning rate schedules, and the optimiser state for an exact resume.

The learning rate is a pure function of the training step, so there is no scheduler to save, and none that could cycle
the betas under test (PyTorch's OneCycleLR does so by default).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from smidgen.runtime.errors import unknown_name

# PyTorch's defaults for OneCycleLR.
ONECYCLE_RISING_FRACTION = 0.3
ONECYCLE_INITIAL_DIVISOR = 25.0
ONECYCLE_FINAL_DIVISOR = 1e4

_GROUP = "group"


def _lamb(parameters: list[nn.Parameter], **options: Any) -> torch.optim.Optimizer:
    """LAMB (You et al., "Large Batch Optimization for Deep Learning", 2020), in the third version of the paper.

    It has no bias correction, and applies weight decay inside the trust ratio.
    """
    # Imported here: loading the library takes seconds.
    from pytorch_optimizer import Lamb

    # Without adam_debias the library divides the learning rate by 1 - beta1^t.
    lamb: torch.optim.Optimizer = Lamb(parameters, weight_decouple=False, adam_debias=True, **options)
    return lamb


OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "lamb": _lamb,
}


def build_optimiser(
    name: str, parameters: Iterable[nn.Parameter], *, lr: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.Optimizer:
    """Builds an optimiser of :data:`OPTIMISERS`.

    Raises:
        UserError: If the name is unknown.
    """
    if name not in OPTIMISERS:
        raise unknown_name("optimiser", name, OPTIMISERS)
    options: dict[str, Any] = {"lr": lr, "betas": betas, "weight_decay": weight_decay}
    return OPTIMISERS[name](list(parameters), **options)


def _cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2


def onecycle(step: int, num_steps: int, warmup_steps: int) -> float:
    """One-cycle factor: rises by a cosine from 1/25 to 1, then falls by a cosine to 1/250,000.

    Equal to PyTorch's OneCycleLR with ``cycle_momentum=False``; its rise takes ``warmup_steps`` unless that is 0.

    Source: L. N. Smith and N. Topin, "Super-convergence", 2018.
    """
    peak = (float(warmup_steps) if warmup_steps else ONECYCLE_RISING_FRACTION * num_steps) - 1
    if peak > 0 and step <= peak:
        return _cosine(1 / ONECYCLE_INITIAL_DIVISOR, 1.0, step / peak)
    falling = (step - peak) / max(num_steps - 1 - peak, 1)
    return _cosine(1.0, 1 / (ONECYCLE_INITIAL_DIVISOR * ONECYCLE_FINAL_DIVISOR), min(falling, 1.0))


def constant(step: int, num_steps: int, warmup_steps: int) -> float:
    """Constant factor 1 after a linear warm-up, for comparing betas."""
    return min(1.0, (step + 1) / (warmup_steps + 1))


SCHEDULES: dict[str, Callable[[int, int, int], float]] = {"onecycle": onecycle, "constant": constant}


def set_learning_rate(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Sets one learning rate for every parameter."""
    for group in optimiser.param_groups:
        group["lr"] = lr


class WeightAverage:
    """An exponential moving average of weights (Polyak and Juditsky, 1992; the decay as in diffusion models' training).

    After step t the average is d A + (1 - d) w with d = min(decay, (t - 1) / t): the plain mean of all weights so far,
    until that is as long as the decay's memory. So the initial weights are not in it.

    Args:
        parameters: What is averaged.
        decay: Share of the average that stays at a step.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float) -> None:
        self._parameters = list(parameters)
        self._average = [parameter.detach().clone() for parameter in self._parameters]
        self._decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after a step, counted from 1."""
        kept = min(self._decay, (step - 1) / step)
        for average, parameter in zip(self._average, self._parameters, strict=True):
            average.lerp_(parameter, 1 - kept)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside the block the parameters hold the average."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def tensors(self) -> dict[str, Tensor]:
        """The average as named tensors: by the parameter's index."""
        return {str(index): average for index, average in enumerate(self._average)}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restores what :meth:`tensors` gave.

        Raises:
            ValueError: If it is not of these parameters.
        """
        if {name: tensor.shape for name, tensor in tensors.items()} != {
            name: tensor.shape for name, tensor in self.tensors().items()
        }:
            raise ValueError("average: tensors missing, unknown or of another shape")
        for name, average in self.tensors().items():
            average.copy_(tensors[name])

    def _swap(self) -> None:
        for index, parameter in enumerate(self._parameters):
            parameter.data, self._average[index] = self._average[index], parameter.data


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """State of an optimiser as named tensors.

    Returns:
        ``"<index of the parameter>.<name of the state>"``, and ``"group<index>.step"`` if an optimiser counts its
        steps per group of parameters.
    """
    state = optimiser.state_dict()
    tensors = {}
    for index, values in state["state"].items():
        for name, value in values.items():
            assert isinstance(value, Tensor), f"optimiser state {name!r} is not a tensor; make this function save it"
            # Several values may be views of one tensor, which safetensors cannot store.
            is_part = value.untyped_storage().nbytes() > value.nbytes
            tensors[f"{index}.{name}"] = value.clone() if is_part else value
    for index, group in enumerate(state["param_groups"]):
        if "step" in group:
            tensors[f"{_GROUP}{index}.step"] = torch.tensor(group["step"])
    return tensors


def load_optimiser_tensors(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Restores the result of :func:`optimiser_tensors` into an optimiser built in the same way."""
    state: dict[int, dict[str, Tensor]] = {}
    groups = [dict(group) for group in optimiser.state_dict()["param_groups"]]
    for key, value in tensors.items():
        owner, _, name = key.partition(".")
        if owner.startswith(_GROUP):
            groups[int(owner.removeprefix(_GROUP))][name] = int(value)
        else:
            state.setdefault(int(owner), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": groups})
