"""Several networks of one architecture as one: their weights in one matrix, a row for each.

Shape suffixes: S networks, P weights of one network, B batch, O output steps, A outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from smidgen.policies.folded_attention import PreparedTokens
from smidgen.policies.perceiver import Perceiver

# Tokens that were prepared once, or frames, if the layers before the attention are learned.
StackedInput = PreparedTokens | Tensor


class StackedNetwork:
    """The weights of several networks, and their computations side by side.

    Args:
        networks: Perceivers of one architecture, each with weights and fitted input of its own.

    Attributes:
        weights_SP: One row per network: its parameters one after the other, in the order of ``named_parameters``.
        sizes: Number of weights of each parameter.
        is_input_learned: Whether the input transform has parameters, so that tokens change from step to step.
    """

    def __init__(self, networks: Sequence[Perceiver]) -> None:
        self.network = _FromPrepared(networks[0])
        parameters = dict(self.network.named_parameters())
        self.names = list(parameters)
        self.shapes = [parameter.shape for parameter in parameters.values()]
        self.sizes = [shape.numel() for shape in self.shapes]
        rows = [torch.cat([parameter.detach().flatten() for parameter in each.parameters()]) for each in networks]
        self.weights_SP = torch.stack(rows)
        self.is_input_learned = any(True for _ in networks[0].input_pipeline.parameters())
        self.buffers: dict[str, Tensor] = {}
        if self.is_input_learned:
            named = [dict(_FromPrepared(each).named_buffers()) for each in networks]
            self.buffers = {name: torch.stack([buffers[name] for buffers in named]) for name in named[0]}

    def taken(self, rows: Tensor) -> StackedNetwork:
        """The networks of only these rows."""
        networks = copy.copy(self)
        networks.weights_SP = self.weights_SP[rows]
        networks.buffers = {name: buffer[rows] for name, buffer in self.buffers.items()}
        return networks

    def by_parameter(self, matrix_SP: Float[Tensor, "networks weights"]) -> dict[str, Tensor]:
        """A matrix laid out like the weights, as one stacked tensor per parameter."""
        parts = matrix_SP.split(self.sizes, dim=1)
        return {n: part.unflatten(1, shape) for n, part, shape in zip(self.names, parts, self.shapes, strict=True)}

    @torch.no_grad()
    def predict(self, inputs: StackedInput) -> Float[Tensor, "networks batch steps outputs"]:
        """Each network's output for its own inputs, which have a leading axis of networks."""
        outputs: Tensor = self._call(self.network, inputs, self.by_parameter(self.weights_SP))
        return outputs

    @torch.no_grad()
    def read(
        self, inputs: StackedInput
    ) -> tuple[Float[Tensor, "networks batch latents width"], Float[Tensor, "networks batch heads latents tokens"]]:
        """Each network's latents after the cross-attention, and its attention weights."""
        reading = _Reading(self.network.perceiver)
        latents_SBLE, weights_SBHLM = self._call(reading, inputs, self.by_parameter(self.weights_SP))
        return latents_SBLE, weights_SBHLM

    def _call(self, module: nn.Module, inputs: StackedInput, parameters: dict[str, Tensor]) -> Any:
        # The flag that says whether statistics were fitted decides a branch, so it cannot differ between networks.
        flags = {name: buffer[0] for name, buffer in self.buffers.items() if buffer.dtype == torch.bool}
        statistics = {name: buffer for name, buffer in self.buffers.items() if name not in flags}

        def of_one(own: dict[str, Tensor], own_input: StackedInput) -> Any:
            return functional_call(module, own | flags, (own_input,))

        axes: Any = inputs.map(lambda _: 0) if isinstance(inputs, PreparedTokens) else 0
        # The fused kernels do not support an axis of networks.
        with sdpa_kernel(SDPBackend.MATH):
            return torch.vmap(of_one, in_dims=(0, axes))(parameters | statistics, inputs)

    def gradient(
        self, inputs: StackedInput, target_SBOA: Float[Tensor, "networks batch steps outputs"]
    ) -> tuple[Float[Tensor, "networks weights"], Float[Tensor, "networks batch steps outputs"]]:
        """Gradient of each network's mean squared error, and the predictions."""
        parameters = list(self.by_parameter(self.weights_SP.detach()).values())
        gradients, predicted_SBOA = self.gradient_of_parameters(parameters, inputs, target_SBOA)
        return torch.cat([gradient.flatten(1) for gradient in gradients], 1), predicted_SBOA

    def gradient_of_parameters(
        self, parameters: list[Tensor], inputs: StackedInput, target_SBOA: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """``gradient`` with the weights as one stacked tensor per parameter."""
        leaves = [parameter.detach().requires_grad_() for parameter in parameters]
        with torch.enable_grad():
            predicted_SBOA = self._call(self.network, inputs, dict(zip(self.names, leaves, strict=True)))
            # Rows do not interact, so the gradient of the sum contains each network's own.
            loss = (predicted_SBOA - target_SBOA).square().mean((1, 2, 3)).sum()
        return list(torch.autograd.grad(loss, leaves)), predicted_SBOA.detach()


class _FromPrepared(nn.Module):
    """A Perceiver over prepared tokens; other inputs are prepared on the way, with a gradient."""

    def __init__(self, perceiver: Perceiver) -> None:
        super().__init__()
        self.perceiver = perceiver

    def forward(self, inputs: StackedInput) -> Any:
        return self.perceiver(self._prepared(inputs))

    def _prepared(self, inputs: StackedInput) -> PreparedTokens:
        return inputs if isinstance(inputs, PreparedTokens) else self.perceiver.prepare(inputs)


class _Reading(_FromPrepared):
    """Latents and attention weights in place of the outputs."""

    def forward(self, inputs: StackedInput) -> Any:
        tokens, encoder = self._prepared(inputs), self.perceiver.encoder
        return encoder(tokens), encoder.attention_map(tokens)
