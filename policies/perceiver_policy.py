"""The Perceiver as a policy: what sets it apart from other learned policies is its network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from smidgen.policies.choose_transform import AUTO
from smidgen.policies.frame_network import NetworkShapes
from smidgen.policies.learned_policy import LearnedPolicyConfig
from smidgen.policies.perceiver import Perceiver, PerceiverConfig, transform_settings
from smidgen.policies.positions import POSITION_ENCODINGS
from smidgen.policies.standardise import STANDARDISERS
from smidgen.policies.transforms import SCALES, TRANSFORMS, require_options
from smidgen.runtime.errors import unknown_name
from smidgen.runtime.flat_config import part
from smidgen.runtime.user_modules import is_class_spec


@dataclass(frozen=True, kw_only=True)
class PerceiverPolicyConfig(LearnedPolicyConfig):
    """A Perceiver's choices beside what every learned policy has."""

    kind: ClassVar[str] = "perceiver"
    network: PerceiverConfig = part(PerceiverConfig)

    @property
    def label(self) -> str:
        """The transform's name is the row's; of a user's transform the class alone, because files are named so."""
        return f"perceiver-{self.network.transform.rpartition(':')[2]}" + ("+eef_state" if self.use_eef_state else "")

    def check(self) -> None:
        """As every policy's, and the names that the network goes by; ``auto`` stands for a transform yet to be chosen.

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
        )


@dataclass(frozen=True, kw_only=True)
class ConvStemPerceiverConfig(PerceiverPolicyConfig):
    """A Perceiver whose tokens a convolution makes, as practitioners do."""

    kind: ClassVar[str] = "perceiver_conv_stem"
    network: PerceiverConfig = part(lambda: PerceiverConfig(transform="conv_stem"))
