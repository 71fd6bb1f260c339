"""The input transforms by name: ours, and a class of yours as ``their.module:Class``."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from smidgen.policies.transforms.base import InputTransform, Raw
from smidgen.policies.transforms.fitted import PCA, ZCA
from smidgen.policies.transforms.fourier import DFT1D, DFT2D, DFT3D, Hartley
from smidgen.policies.transforms.learned import ConvStem, LearnedOrthogonal, Patches
from smidgen.policies.transforms.per_axis import DCT, Hadamard
from smidgen.policies.transforms.random_orthogonal import RandomOrthogonal
from smidgen.policies.transforms.wavelets import Daubechies, Haar
from smidgen.runtime.errors import UserError, unknown_name
from smidgen.runtime.user_code import fresh_import
from smidgen.runtime.user_modules import is_class_spec, load_class, user_code_errors

TRANSFORMS: dict[str, type[InputTransform]] = {
    "raw": Raw,
    "dft1d": DFT1D,
    "dft2d": DFT2D,
    "dft3d": DFT3D,
    "dct": DCT,
    "hartley": Hartley,
    "hadamard": Hadamard,
    "haar": Haar,
    "daubechies": Daubechies,
    "random_orthogonal": RandomOrthogonal,
    "pca": PCA,
    "zca": ZCA,
    "learned_orthogonal": LearnedOrthogonal,
    "conv_stem": ConvStem,
    "patches": Patches,
}


def find_transform(name: str) -> type[InputTransform]:
    """Looks up a transform; a module is imported only if it is named here.

    Args:
        name: One of ``TRANSFORMS``, or ``their.module:Class``.

    Raises:
        UserError: If there is no such transform, or the class is not an ``InputTransform``.
    """
    if name in TRANSFORMS:
        return TRANSFORMS[name]
    if not is_class_spec(name):
        raise unknown_name("transform", name, (*TRANSFORMS, "their.module:Class"))
    with fresh_import(name.partition(":")[0]):
        found = load_class(name, "transform")
    if not issubclass(found, InputTransform):
        raise UserError(f"transform {name!r:.200}: expected a subclass of smidgen.InputTransform, got {found.__name__}")
    return found


def transform_options(name: str) -> list[str]:
    """Names of a transform's options.

    Raises:
        UserError: Unknown transform.
    """
    parameters = inspect.signature(find_transform(name)).parameters
    return [key for key, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY]


def require_options(name: str, options: Iterable[str]) -> None:
    """Refuses options that a transform does not have.

    Raises:
        UserError: Unknown transform or option.
    """
    valid = transform_options(name)
    for key in options:
        if key not in valid:
            raise unknown_name(f"option of transform {name!r}", key, valid)


def build_transform(name: str, grid: tuple[int, ...], channels: int, **options: Any) -> InputTransform:
    """Builds an input transform by name.

    Args:
        name: One of ``TRANSFORMS``, or ``their.module:Class``.
        grid: Axis lengths of the input's grid: (T, H, W), (T, H, W, 3) for tokens of single bytes, or any other.
        channels: Number of channels of a token.
        **options: The transform's options, such as ``scale="none"`` or ``full=True``.

    Raises:
        UserError: Unknown name or option, an empty grid, or one that the transform does not support.
    """
    require_options(name, options)
    kind = find_transform(name)
    if name in TRANSFORMS:
        return kind(tuple(grid), channels, **options)
    with user_code_errors("transform", name, "constructing it"):
        return kind(tuple(grid), channels, **options)
