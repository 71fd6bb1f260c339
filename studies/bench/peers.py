"""The packages that we are compared with: found where they are installed, and built in the sizes of ours.

They are not dependencies of smidgen: ``make bench`` installs them, and a row without its peer says how to.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from smidgen.policies.perceiver import Perceiver, PerceiverConfig

INSTALL_COMMAND = ".venv/bin/python -m pip install --no-deps --requirement install/bench.txt"
# Name on the package index -> name of the module.
PEERS = {"perceiver-pytorch": "perceiver_pytorch", "transformers": "transformers", "h5py": "h5py"}
OURS = "ours"

NUM_FRAMES, CHANNELS, HORIZON, ACTION_FEATURES = 3, 3, 8, 4
NUM_LATENTS, WIDTH, NUM_LAYERS, NUM_HEADS, MLP_RATIO = 32, 128, 4, 4, 4


def has_peer(package: str) -> bool:
    """Whether a peer is installed."""
    return importlib.util.find_spec(PEERS[package]) is not None


def import_peer(package: str) -> Any:
    """The peer's module; only after :func:`has_peer`."""
    return importlib.import_module(PEERS[package])


def absent(package: str) -> str:
    """The note of a row whose peer is not installed."""
    return f"{package} is not installed; install it: {INSTALL_COMMAND}"


def our_network(image_size: int, num_bands: int = 6, **changes: Any) -> Perceiver:
    """Our Perceiver: 32 latents of width 128, 1 cross head, 4 latent layers of 4 heads, 8 x 4 outputs."""
    config = PerceiverConfig(num_bands=num_bands, **changes)
    grid = (NUM_FRAMES, image_size, image_size)
    return Perceiver(config, grid=grid, channels=CHANNELS, action_features=ACTION_FEATURES, horizon=HORIZON)


def perceiver_pytorch_network(image_size: int, num_bands: int = 6) -> nn.Module:
    """perceiver-pytorch's Perceiver of the same sizes; its head pools the latents and gives 8 x 4 numbers."""
    built: nn.Module = import_peer("perceiver-pytorch").Perceiver(
        num_freq_bands=num_bands,
        depth=1,
        max_freq=float(image_size),
        input_channels=CHANNELS,
        input_axis=3,
        num_latents=NUM_LATENTS,
        latent_dim=WIDTH,
        cross_heads=1,
        latent_heads=NUM_HEADS,
        cross_dim_head=WIDTH,
        latent_dim_head=WIDTH // NUM_HEADS,
        num_classes=HORIZON * ACTION_FEATURES,
        self_per_cross_attn=NUM_LAYERS,
    )
    return nn.Sequential(built, nn.Unflatten(1, (HORIZON, ACTION_FEATURES)))


class TransformersNetwork(nn.Module):
    """transformers' PerceiverModel of the same sizes, with a decoder of 8 output queries.

    The table of Fourier features is made once, here, and joined to every batch's pixels.
    """

    positions_NP: Tensor

    def __init__(self, image_size: int, num_bands: int = 6) -> None:
        super().__init__()
        package = importlib.import_module("transformers.models.perceiver.modeling_perceiver")
        grid = (NUM_FRAMES, image_size, image_size)
        self.register_buffer("positions_NP", _fourier_table(grid, num_bands))
        shared = {"qk_channels": WIDTH, "v_channels": WIDTH}
        config = import_peer("transformers").PerceiverConfig(
            num_latents=NUM_LATENTS,
            d_latents=WIDTH,
            d_model=CHANNELS + self.positions_NP.shape[1],
            num_blocks=1,
            num_self_attends_per_block=NUM_LAYERS,
            num_self_attention_heads=NUM_HEADS,
            num_cross_attention_heads=1,
            self_attention_widening_factor=MLP_RATIO,
            cross_attention_widening_factor=MLP_RATIO,
            attention_probs_dropout_prob=0.0,
            **shared,
        )
        decoder = package.PerceiverBasicDecoder(
            config,
            output_num_channels=ACTION_FEATURES,
            output_index_dims=HORIZON,
            num_channels=WIDTH,
            num_heads=1,
            widening_factor=MLP_RATIO,
            position_encoding_type="trainable",
            trainable_position_encoding_kwargs={"num_channels": WIDTH, "index_dims": HORIZON},
            **shared,
        )
        self.model = package.PerceiverModel(config, decoder=decoder)

    def forward(self, frames_BTHWC: Tensor) -> Tensor:
        """Predicts 8 x 4 numbers from float pixels."""
        positions = self.positions_NP.expand(len(frames_BTHWC), -1, -1)
        logits: Tensor = self.model(inputs=torch.cat([frames_BTHWC.flatten(1, 3), positions], dim=-1)).logits
        return logits


def _fourier_table(grid: tuple[int, ...], num_bands: int) -> Tensor:
    """(N, P) sines, cosines and the coordinate of each axis, as all three networks encode positions."""
    axes = []
    for length in grid:
        x = torch.linspace(-1.0, 1.0, length)[:, None]
        angle = math.pi * x * torch.linspace(1.0, max(1.0, length / 2), num_bands)
        axes.append(torch.cat([angle.sin(), angle.cos(), x], dim=1))
    index = torch.meshgrid(*(torch.arange(length) for length in grid), indexing="ij")
    return torch.cat([table[i.flatten()] for table, i in zip(axes, index, strict=True)], dim=1)


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    OURS: our_network,
    "perceiver-pytorch": perceiver_pytorch_network,
    "transformers": TransformersNetwork,
}


def contestants() -> list[str]:
    """Ours, and the networks whose package is installed."""
    return [name for name in NETWORKS if name == OURS or has_peer(name)]


class TrainingStep:
    """One network with its optimiser and one batch; calling it makes one step of Adam.

    Args:
        name: One of :data:`NETWORKS`.
        batch_size: Examples of the batch.
        image_size: Rows and columns of a frame.
        num_bands: Fourier bands per axis.
        device: Where to compute.
        changes: Fields of our configuration that differ from its defaults.
    """

    def __init__(
        self,
        name: str,
        batch_size: int,
        image_size: int,
        num_bands: int = 6,
        device: str = "cpu",
        **changes: Any,
    ) -> None:
        torch.manual_seed(0)
        self.network = NETWORKS[name](image_size, num_bands=num_bands, **changes).to(device)
        shape = (batch_size, NUM_FRAMES, image_size, image_size, CHANNELS)
        self.frames = torch.randint(0, 256, shape, dtype=torch.uint8).to(device)
        self.target = torch.randn(batch_size, HORIZON, ACTION_FEATURES).to(device)
        if isinstance(self.network, Perceiver):
            self.network.fit_input(self.frames)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=1e-4)

    def predict(self) -> Tensor:
        """A forward pass from bytes; ours converts them itself."""
        ours = isinstance(self.network, Perceiver)
        frames = self.frames if ours else self.frames.float().div_(255.0)
        output: Tensor = self.network(frames)
        return output

    def predictor(self) -> Callable[[], Tensor]:
        """What predicts one observation after the other, as in an episode: our policy reads its weights out once."""
        if isinstance(self.network, Perceiver):
            return functools.partial(self.network, self.frames, weights=self.network.weights())
        return self.predict

    def __call__(self) -> None:
        """Forward, backward, Adam."""
        loss = nn.functional.mse_loss(self.predict(), self.target)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        if self.frames.is_cuda:
            torch.cuda.synchronize()
