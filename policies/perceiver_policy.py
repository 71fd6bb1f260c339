"""The Perceiver as a policy; it differs from other learned policies only in its network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from jaxtyping import Float, UInt8
from torch import Tensor

from smidgen.policies.choose_transform import AUTO, Choice, InputChoice, choose_transform
from smidgen.policies.frame_network import NetworkShapes
from smidgen.policies.latent_start import LookConfig
from smidgen.policies.learned_policy import LearnedPolicyConfig
from smidgen.policies.perceiver import Perceiver, PerceiverConfig, check_look, transform_settings
from smidgen.policies.positions import POSITION_ENCODINGS
from smidgen.policies.standardise import STANDARDISERS
from smidgen.policies.transforms import SCALES, TRANSFORMS, require_options
from smidgen.runtime.errors import unknown_name
from smidgen.runtime.flat_config import part
from smidgen.runtime.user_modules import is_class_spec


@dataclass(frozen=True, kw_only=True)
class PerceiverPolicyConfig(LearnedPolicyConfig):
    """A Perceiver's settings in addition to those of every learned policy."""

    kind: ClassVar[str] = "perceiver"
    has_transform: ClassVar[bool] = True
    network: PerceiverConfig = part(PerceiverConfig)
    look: LookConfig = part(LookConfig)

    @property
    def label(self) -> str:
        """The row is named after the transform; for a user's transform only the class, because it names files."""
        return f"perceiver-{self.network.transform.rpartition(':')[2]}" + ("+eef_state" if self.use_eef_state else "")

    @property
    def transform(self) -> str:
        """Name of the input transform, or ``auto``."""
        return self.network.transform

    def input_choices(self, names: Sequence[str]) -> list[InputChoice]:
        """Candidates of ``transform=auto``; a name without a standardisation gets the network's.

        Raises:
            UserError: If a name is unknown.
        """
        return [InputChoice.parse(text, self.network.standardise_after) for text in names]

    def choose_input(
        self,
        rule: str,
        frames_BTHWC: UInt8[Tensor, "B T H W C"],
        labels_BF: Float[Tensor, "B F"],
        candidates: Sequence[InputChoice],
    ) -> Choice:
        """Applies a rule to the frames' tokens."""
        *grid, channels = frames_BTHWC.shape[1:]
        token_grid, token_channels = ((*grid, channels), 1) if self.network.byte_tokens else (tuple(grid), channels)
        return choose_transform(
            rule,
            frames_BTHWC.float().div_(255.0).flatten(1).unflatten(1, (-1, token_channels)),
            labels_BF,
            candidates,
            grid=token_grid,
            network=self.network,
        )

    def with_input(self, choice: InputChoice) -> Self:
        """The same policy with the chosen input."""
        return dataclasses.replace(self, network=choice.applied_to(self.network))

    def num_position_numbers(self, axes: Sequence[int]) -> int:
        """Bands times positions, of all tokens or of the longest axis."""
        is_one_axis = self.network.position_encoding in ("one_d", "aliased")
        return (self.network.num_bands or 0) * (math.prod(axes) if is_one_axis else max(axes))

    def check(self) -> None:
        """As for every policy, and checks the network's names; ``auto`` is a transform yet to be chosen.

        Raises:
            UserError: If a name is unknown; the message lists the valid ones.
        """
        super().check()
        network = self.network
        for kind, name, valid in (
            ("transform scale", network.transform_scale, SCALES),
            ("standardisation", network.standardise_before, STANDARDISERS),
            ("standardisation", network.standardise_after, STANDARDISERS),
            ("position encoding", network.position_encoding, POSITION_ENCODINGS),
        ):
            if name not in valid:
                raise unknown_name(kind, name, valid)
        check_look(self.look, network)
        if network.transform != AUTO:
            if not is_class_spec(network.transform) and network.transform not in TRANSFORMS:
                raise unknown_name("transform", network.transform, (*TRANSFORMS, AUTO, "their.module:Class"))
            require_options(network.transform, transform_settings(network))

    def build(self, shapes: NetworkShapes) -> Perceiver:
        """The Perceiver.

        Raises:
            UserError: An unknown name or an impossible size.
        """
        return Perceiver(
            self.network,
            grid=(shapes.num_frames, shapes.image_size, shapes.image_size),
            channels=shapes.channels,
            action_features=shapes.action_features,
            horizon=shapes.horizon,
            state_dim=shapes.state_dim,
            look=self.look,
        )


@dataclass(frozen=True, kw_only=True)
class ConvStemPerceiverConfig(PerceiverPolicyConfig):
    """A Perceiver with tokens from a convolutional stem, as is common practice."""

    kind: ClassVar[str] = "perceiver_conv_stem"
    network: PerceiverConfig = part(lambda: PerceiverConfig(transform="conv_stem"))
