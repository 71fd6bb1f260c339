"""Input transforms: maps of the byte array that a Perceiver reads, one class per transform, one registry of names."""

from smidgen.policies.transforms.base import SCALES, InputTransform, Raw
from smidgen.policies.transforms.fitted import PCA, ZCA
from smidgen.policies.transforms.fourier import DFT1D, DFT2D, DFT3D, Hartley
from smidgen.policies.transforms.learned import ConvStem, LearnedOrthogonal, Patches
from smidgen.policies.transforms.per_axis import DCT, Hadamard
from smidgen.policies.transforms.random_orthogonal import RandomOrthogonal
from smidgen.policies.transforms.registry import (
    TRANSFORMS,
    build_transform,
    find_transform,
    require_options,
    transform_options,
)
from smidgen.policies.transforms.wavelets import Daubechies, Haar

__all__ = [
    "DCT",
    "DFT1D",
    "DFT2D",
    "DFT3D",
    "PCA",
    "SCALES",
    "TRANSFORMS",
    "ZCA",
    "ConvStem",
    "Daubechies",
    "Haar",
    "Hadamard",
    "Hartley",
    "InputTransform",
    "LearnedOrthogonal",
    "Patches",
    "RandomOrthogonal",
    "Raw",
    "build_transform",
    "find_transform",
    "require_options",
    "transform_options",
]
