"""Every transform by one contract: shapes, inverse, lengths, gradients, scale, precision, and its class attributes.

Comparisons with independent references are in ``test_transform_references.py``.
"""

from __future__ import annotations

import copy
import inspect
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call, vmap

from smidgen.policies.transforms import TRANSFORMS, InputTransform, build_transform, transform_options
from smidgen.runtime.errors import UserError

Options = dict[str, object]

WAVELETS = ("haar", "daubechies")
LEARNED = ("learned_orthogonal", "conv_stem", "patches")
ANY_GRID = [(1, 1, 1), (3, 8, 8), (2, 5, 7), (3, 6, 5, 3), (12,), (9,), (4, 3), (1, 2, 2, 1)]
GRIDS = dict.fromkeys(TRANSFORMS, ANY_GRID)
GRIDS |= {name: [(1, 8, 8), (3, 12, 6), (2, 6, 10, 3), (12,), (6, 8)] for name in WAVELETS}
GRIDS |= {"patches": [(1, 4, 4), (3, 8, 12), (2, 4, 8, 3), (12,), (4, 8)]}
GRIDS |= {"conv_stem": [grid for grid in ANY_GRID if len(grid) > 1]}
VARIANTS: list[tuple[str, Options]] = [(name, {}) for name in TRANSFORMS]
VARIANTS += [(name, {"full": True}) for name in ("dft1d", "dft2d", "dft3d")]
VARIANTS += [("random_orthogonal", {"seed": 3}), ("learned_orthogonal", {"seed": 3})]
every_variant = pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
every_grid = pytest.mark.parametrize(
    ("name", "options", "grid"), [(*variant, grid) for variant in VARIANTS for grid in GRIDS[variant[0]]], ids=str
)
with_drop_dc = pytest.mark.parametrize("name", [name for name in TRANSFORMS if "drop_dc" in transform_options(name)])


def tokens(grid: tuple[int, ...], channels: int = 2, batch: int = 3, seed: int = 0) -> torch.Tensor:
    x = torch.rand(batch, math.prod(grid), channels, generator=torch.manual_seed(seed), dtype=torch.float64)
    # Not white, so that principal axes are no matter of rounding.
    return x * torch.linspace(0.5, 1.5, x.shape[1], dtype=torch.float64)[:, None]


def build(name: str, grid: tuple[int, ...], channels: int = 2, **options: object) -> InputTransform:
    """A transform in float64, fitted where it wants to be."""
    torch.manual_seed(0)
    transform = build_transform(name, grid=grid, channels=channels, **options).double()
    transform.floor = 1e-3
    transform.fit(tokens(grid, channels, batch=12, seed=1))
    return transform


def scales(name: str) -> list[str]:
    return ["ortho"] if name in ("conv_stem", "patches") else ["ortho", "none"]


@every_grid
def test_contract(name: str, options: Options, grid: tuple[int, ...]) -> None:
    x = tokens(grid)
    strided = x.transpose(0, 1).contiguous().transpose(0, 1)
    for scale in scales(name):
        transform = build(name, grid, scale=scale, **options)
        z = transform(x)
        assert z.shape == (3, transform.num_tokens, transform.channels)
        assert transform.num_tokens == math.prod(transform.grid)
        assert transform.axes == transform.grid
        assert torch.equal(transform(x), z)
        torch.testing.assert_close(transform(strided), z)
        single = copy.deepcopy(transform).float()
        assert single(x.float()).dtype == torch.float32
        torch.testing.assert_close(single(x.float()).double(), z, rtol=1e-4, atol=1e-4)
        if transform.is_bijection:
            torch.testing.assert_close(transform.inverse(z), x, rtol=0, atol=1e-11)
            torch.testing.assert_close(single.inverse(single(x.float())), x.float(), rtol=0, atol=1e-5)


@every_variant
def test_a_whole_stack_of_frames_comes_back(name: str, options: Options) -> None:
    transform = build(name, (3, 64, 64), 3, **options).float()
    x = tokens((3, 64, 64), 3, 2).float()
    z = transform(x)
    assert z.shape == (2, transform.num_tokens, transform.channels)
    if transform.is_bijection:
        torch.testing.assert_close(transform.inverse(z), x, rtol=0, atol=1e-5)
    if transform.is_orthonormal:
        torch.testing.assert_close(z.norm(), x.norm(), rtol=1e-5, atol=0)


def test_what_is_no_bijection_has_no_inverse() -> None:
    for name, kind in TRANSFORMS.items():
        if not kind.is_bijection:
            transform = build(name, (1, 8, 8))
            z = transform(tokens((1, 8, 8)))
            with pytest.raises(UserError, match="no inverse"):
                transform.inverse(z)
    assert [name for name, kind in TRANSFORMS.items() if not kind.is_bijection] == ["conv_stem"]


@settings(deadline=None, max_examples=80)
@given(
    st.sampled_from([variant for variant in VARIANTS if TRANSFORMS[variant[0]].is_orthonormal]),
    st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple),
    st.integers(1, 3),
)
def test_ortho_is_a_linear_isometry(variant: tuple[str, Options], grid: tuple[int, ...], channels: int) -> None:
    name, options = variant
    if name in WAVELETS:
        grid = tuple(2 * max(3, length) for length in grid)[:3]
    transform = build(name, grid, channels, **options)
    x, y = tokens(grid, channels, 2).split(1)
    torch.testing.assert_close(transform(x).norm(), x.norm())
    torch.testing.assert_close((transform(x) * transform(y)).sum(), (x * y).sum())
    torch.testing.assert_close(transform(x - 2 * y), transform(x) - 2 * transform(y))


@every_variant
def test_gradients_of_input_and_parameters(name: str, options: Options) -> None:
    grid = (2, 8, 8)
    transform = build(name, grid, 1, **options)
    names, values = zip(*transform.named_parameters(), strict=True) if transform.is_learned else ((), ())

    def forward(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        return functional_call(transform, dict(zip(names, parameters, strict=True)), (x,))

    x = (tokens(grid, 1, 2) - 0.5).requires_grad_()
    assert torch.autograd.gradcheck(forward, (x, *values), fast_mode=True)


@every_variant
def test_gain_is_what_happens_to_white_noise(name: str, options: Options) -> None:
    grid = (3, 16, 16)
    noise = torch.randn(64, math.prod(grid), 2, generator=torch.manual_seed(0), dtype=torch.float64)
    for scale in scales(name):
        transform = build(name, grid, scale=scale, **options)
        power = transform(noise).detach().square().sum() / noise.square().sum()
        if name != "conv_stem":
            assert math.sqrt(power) == pytest.approx(transform.gain, rel=1e-2 if name == "zca" else 1e-4)


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if name != "raw" and len(scales(name)) > 1])
def test_scale_none_differs_by_the_root_of_the_number_mixed(name: str) -> None:
    x = tokens((3, 6, 8))
    ortho, none = (build(name, (3, 6, 8), scale=scale)(x) for scale in ("ortho", "none"))
    num_mixed = 48 if name in ("dft2d", *WAVELETS) else 144
    torch.testing.assert_close(none, ortho * math.sqrt(num_mixed))


@with_drop_dc
@pytest.mark.parametrize("grid", [(3, 8, 8), (2, 5, 6, 3), (4, 6), (12,)], ids=str)
def test_drop_dc_is_the_transform_of_the_input_less_its_mean(name: str, grid: tuple[int, ...]) -> None:
    x = tokens(grid)
    on_grid = x.unflatten(1, grid)
    mixed = {"dft1d": tuple(range(len(grid))), "dft2d": (1, 2) if len(grid) > 2 else tuple(range(len(grid)))}
    axes = [axis + 1 for axis in mixed.get(name, tuple(range(min(3, len(grid)))))]
    centred = (on_grid - on_grid.mean(axes, keepdim=True)).flatten(1, -2)
    full = [{}, {"full": True}] if "full" in transform_options(name) else [{}]
    for options in full:
        plain, dropped = build(name, grid, **options), build(name, grid, drop_dc=True, **options)
        torch.testing.assert_close(dropped(x), plain(centred))
        torch.testing.assert_close(dropped.inverse(dropped(x)), centred)
        num_zero = (dropped(x) == 0).all(0).sum() - (plain(x) == 0).all(0).sum()
        assert num_zero == plain.input_channels * (
            on_grid[0, ..., 0].numel() / math.prod(on_grid.shape[a] for a in axes)
        )
        assert dropped.grid == plain.grid


@every_variant
def test_runs_in_float32_under_autocast_and_on_half_precision(name: str, options: Options) -> None:
    transform = build(name, (3, 8, 12), **options).float()
    x = tokens((3, 8, 12)).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(transform(x), transform(x).float())
        if transform.is_bijection:
            torch.testing.assert_close(transform.inverse(transform(x)), x, rtol=0, atol=1e-5)
    torch.testing.assert_close(transform(x.half()).float(), transform(x), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_class_says_what_it_holds(name: str) -> None:
    transform = build_transform(name, grid=(3, 8, 8), channels=3)
    assert transform.is_learned == bool(list(transform.parameters())) == (name in LEARNED)
    before = copy.deepcopy(transform.state_dict())
    transform.fit(tokens((3, 8, 8), 3, 10).float())
    changed = any(not torch.equal(value, before[key]) for key, value in transform.state_dict().items())
    assert transform.needs_fit == changed == (name in ("pca", "zca"))
    has_state = name == "random_orthogonal" or transform.needs_fit or transform.is_learned
    assert bool(transform.state_dict()) == has_state


@every_variant
def test_a_copy_with_the_same_state_gives_the_same_bits(name: str, options: Options) -> None:
    transform = build(name, (3, 8, 8), **options).float()
    twin = build_transform(name, grid=(3, 8, 8), channels=2, **options)
    twin.load_state_dict(transform.state_dict())
    x = tokens((3, 8, 8)).float()
    assert torch.equal(transform(x), twin(x))
    assert transform.gain == twin.gain
    with torch.device("meta"):
        shapes = build_transform(name, grid=(3, 8, 8), channels=2, **options).state_dict()
    assert {key: value.shape for key, value in shapes.items()} == {
        key: value.shape for key, value in transform.state_dict().items()
    }


@pytest.mark.parametrize("name", LEARNED)
def test_learned_transforms_run_side_by_side(name: str) -> None:
    transform = build(name, (2, 8, 8))
    stacked = {key: torch.stack([value, value + 0.1]) for key, value in transform.named_parameters()}
    x = tokens((2, 8, 8))
    together = vmap(lambda parameters: functional_call(transform, parameters, (x,)))(stacked)
    for index in range(2):
        alone = functional_call(transform, {key: value[index] for key, value in stacked.items()}, (x,))
        torch.testing.assert_close(together[index], alone)


def test_options_are_keywords_of_the_class() -> None:
    assert transform_options("raw") == ["scale"]
    assert transform_options("dft1d") == ["scale", "full", "drop_dc"]
    assert transform_options("random_orthogonal") == ["scale", "seed"]
    for name, kind in TRANSFORMS.items():
        for option in transform_options(name):
            assert f"{option}:" in (inspect.getdoc(kind) or ""), f"{name} documents {option}"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: build_transform("dft4d", grid=(3, 4, 4), channels=3),
            "unknown transform 'dft4d'.*dft1d, dft2d, dft3d",
        ),
        (lambda: transform_options("wavelet"), "unknown transform 'wavelet'"),
        (lambda: build_transform("raw", grid=(3, 4, 4), channels=3, full=True), "option of transform 'raw'.*scale"),
        (
            lambda: build_transform("haar", grid=(3, 4, 4), channels=3, drop_dc=True),
            "option of transform 'haar'.*scale",
        ),
        (lambda: build_transform("dft3d", grid=(3, 4, 4), channels=3, scale="unit"), "scale 'unit'.*none, ortho"),
        (lambda: build_transform("dft3d", grid=(3, 0, 4), channels=3), "at least 1; got grid"),
        (lambda: build_transform("raw", grid=(), channels=3), "at least one axis"),
        (lambda: build_transform("raw", grid=(3, 4, 4), channels=0), "0 channels"),
        (lambda: build_transform("haar", grid=(3, 4, 7), channels=3), "even sides of 2 to 4096.*side of 7"),
        (lambda: build_transform("daubechies", grid=(3, 8, 4), channels=3), "even sides of 6 to 4096.*side of 4"),
        (lambda: build_transform("patches", grid=(3, 8, 6), channels=3), "multiples of the patches' 4 pixels.*6"),
        (lambda: build_transform("patches", grid=(3, 8, 8), channels=3, scale="none"), "expected scale 'ortho'"),
        (lambda: build_transform("conv_stem", grid=(64,), channels=3), "needs rows and columns"),
        (lambda: build_transform("pca", grid=(12288,), channels=3), "axes of at most 4096.*12288"),
        (lambda: build_transform("zca", grid=(2, 2), channels=1).fit(iter([torch.zeros(1, 4, 1)])), "2 passes"),
        (lambda: build_transform("pca", grid=(2, 2), channels=1).fit(torch.zeros(1, 5, 1)), "shape .batch, 4, 1."),
        (lambda: build_transform("pca", grid=(2, 2), channels=1).fit([]), "got none"),
    ],
)
def test_mistakes_are_named(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["pca", "zca"])
def test_what_was_not_fitted_says_so(name: str) -> None:
    with pytest.raises(RuntimeError, match="call fit"):
        build_transform(name, grid=(2, 3), channels=1)(torch.zeros(1, 6, 1))
