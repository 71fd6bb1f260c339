"""More frames: a Perceiver's training step costs operations and memory that are linear in its tokens.

Counted, not timed: operations by PyTorch's counter, memory as the bytes that a backward pass keeps.
"""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from smidgen.policies.frame_network import NetworkShapes
from smidgen.policies.perceiver_policy import ConvStemPerceiverConfig, PerceiverPolicyConfig

SMALL = {"num_latents": 4, "latent_dim": 16, "num_layers": 1, "num_heads": 2, "horizon": 2, "num_executed": 1}
FRAMES = (1, 3, 8)
IMAGE_SIZE, BATCH = 32, 2


def step_costs(config: PerceiverPolicyConfig) -> tuple[int, int, int]:
    """Tokens, operations, and bytes kept for the backward pass of one training step."""
    torch.manual_seed(0)
    network = config.build(
        NetworkShapes(
            num_frames=config.num_frames,
            image_size=IMAGE_SIZE,
            channels=3,
            state_dim=0,
            horizon=config.horizon,
            action_features=4,
        )
    )
    frames = torch.randint(0, 256, (BATCH, config.num_frames, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=torch.uint8)
    network.fit_input([frames])
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda each: each):
        loss = network(frames).square().mean()
        num_bytes = sum(kept.values())
        loss.backward()
    return network.num_tokens, counter.get_total_flops(), num_bytes


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (PerceiverPolicyConfig, {"transform": "raw", "standardise_after": "centre"}),
        (PerceiverPolicyConfig, {"transform": "raw", "position_encoding": "one_d", "num_bands": 8}),
        (PerceiverPolicyConfig, {"transform": "raw", "num_cross_attentions": 2, "num_layers": 2}),
        (PerceiverPolicyConfig, {"transform": "dft3d", "standardise_after": "centre"}),
        (ConvStemPerceiverConfig, {}),
    ],
)
def test_operations_and_memory_are_linear_in_tokens(
    kind: type[PerceiverPolicyConfig], settings: dict[str, object]
) -> None:
    one, three, eight = (step_costs(kind.from_flat(num_frames=each, **{**SMALL, **settings})) for each in FRAMES)
    for measure in (1, 2):
        per_token = (three[measure] - one[measure]) / (three[0] - one[0])
        expected = one[measure] + per_token * (eight[0] - one[0])
        assert eight[measure] == pytest.approx(expected, rel=0.02)
        assert eight[measure] > 1.2 * three[measure] > 1.2 * one[measure]
