"""Every statement of docs/theory.md, through our own transforms in float64: ``test_t5_...`` checks statement T5."""

from __future__ import annotations

import cmath
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from smidgen.evaluation.collapse import cue_slope, explained_variance, r2_per_coordinate, skill
from smidgen.policies.attention import ByteCrossAttention
from smidgen.policies.choose_transform import ORIGINAL_RULE, InputChoice, choose_transform
from smidgen.policies.input_pipeline import InputPipeline
from smidgen.policies.perceiver import PerceiverConfig
from smidgen.policies.positions import PositionEncoding
from smidgen.policies.transforms import TRANSFORMS, build_transform

PAGE = Path(__file__).resolve().parent.parent / "docs" / "theory.md"
GRIDS = [(1, 16, 16), (3, 16, 16), (3, 32, 32), (3, 64, 64)]
every_grid = pytest.mark.parametrize("grid", GRIDS, ids=[str(math.prod(grid)) for grid in GRIDS])
ORTHONORMAL = [name for name, transform in TRANSFORMS.items() if transform.is_orthonormal and not transform.needs_fit]


def full_dft(x_BN: Tensor, grid: tuple[int, ...], scale: str = "none") -> np.ndarray:
    """Complex coefficients (B, N) of real tokens, by ``dft1d``."""
    z_BN2 = build_transform("dft1d", grid, channels=1, scale=scale, full=True)(x_BN[:, :, None])
    return torch.complex(z_BN2[:, :, 0], z_BN2[:, :, 1]).numpy()


def transform_of(name: str, grid: tuple[int, ...], **options):
    torch.manual_seed(0)
    return build_transform(name, grid, channels=1, **options).double().requires_grad_(False)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_statement_has_its_test_and_no_test_is_without():
    stated = re.findall(r"^\*\*T(\d+)\.\*\*", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(number) for number in stated] == list(range(1, len(stated) + 1))
    tested = {match[1] for name in globals() if (match := re.match(r"test_t(\d+)_", name))}
    assert tested == set(stated)


@every_grid
@pytest.mark.parametrize("place", [0, 1, 100])
def test_t1_one_token_reaches_every_coefficient_undiminished(grid, place):
    num_tokens = math.prod(grid)
    one, others = 0.9, 0.3
    x_N = torch.full((num_tokens,), others, dtype=torch.float64)
    x_N[place] = one
    coefficients = full_dft(x_N[None], grid)[0]
    phases = np.exp(-2j * np.pi * np.arange(num_tokens) * place / num_tokens)
    assert coefficients[0] == pytest.approx(one + (num_tokens - 1) * others)
    np.testing.assert_allclose(coefficients[1:], (one - others) * phases[1:], atol=1e-9)


@every_grid
def test_t2_the_geometric_sum_has_the_phase_of_its_own_terms(grid):
    num_tokens = math.prod(grid)
    x_N = torch.ones(num_tokens, dtype=torch.float64)
    x_N[0] = 0
    sums = full_dft(x_N[None], grid)[0]
    for f in (1, 2, 7, num_tokens // 2 - 1, num_tokens - 1):
        amplitude = math.sin(math.pi * f * (num_tokens - 1) / num_tokens) / math.sin(math.pi * f / num_tokens)
        assert sums[f] == pytest.approx(-1)
        assert cmath.exp(-1j * math.pi * f) * amplitude == pytest.approx(-1)
        slipped = cmath.exp(-1j * math.pi * f * (num_tokens - 1) / num_tokens) * amplitude
        assert abs(slipped) == pytest.approx(1)
        assert abs(slipped + 1) > 1e-5


@every_grid
def test_t3_centring_changes_dc_alone(grid):
    x_BN = torch.rand(2, math.prod(grid), generator=rng(), dtype=torch.float64)
    centred = full_dft(x_BN - x_BN.mean(1, keepdim=True), grid)
    plain = full_dft(x_BN, grid)
    np.testing.assert_allclose(centred[:, 1:], plain[:, 1:], atol=1e-9)
    np.testing.assert_allclose(centred[:, 0], 0, atol=1e-9)
    assert (abs(plain[:, 0]) > 1).all()


@pytest.mark.parametrize("grid", GRIDS[:2], ids=["256", "768"])
def test_t4_noise_reaches_every_coefficient(grid):
    num_tokens, s, num_examples = math.prod(grid), 0.3, 4000
    noise_BN = s * torch.randn(num_examples, num_tokens, generator=rng(), dtype=torch.float64)
    noise_BN[:, 0] = 0
    # The mean of 4,000 squares of complex Gaussians is within 10 % of theirs in every one of the coefficients.
    power = (abs(full_dft(noise_BN, grid)) ** 2).mean(0)
    np.testing.assert_allclose(power, (num_tokens - 1) * s**2, rtol=0.15)
    assert power.mean() == pytest.approx((num_tokens - 1) * s**2, rel=5e-3)


@every_grid
@pytest.mark.parametrize("name", ORTHONORMAL)
def test_t4_no_rotation_changes_the_ratio_of_signal_to_noise(grid, name):
    transform = transform_of(name, grid)
    num_tokens, s = math.prod(grid), 0.3
    change_N = torch.zeros(1, num_tokens, 1, dtype=torch.float64)
    change_N[0, 7] = 1.0
    assert transform(change_N).square().sum().item() == pytest.approx(1)
    # White noise has the same power through a transform that keeps inner products, draw by draw.
    noise_BN1 = s * torch.randn(4, num_tokens, 1, generator=rng(), dtype=torch.float64)
    assert transform(noise_BN1).square().sum().item() == pytest.approx(noise_BN1.square().sum().item())


def class_distance(transform: str, s: float, place: int, grid: tuple[int, ...], *, by_modulus: bool) -> float:
    """Squared distance of two standardised classes, by our pipeline.

    By the modulus: the real channels' deviations are replaced by the complex coefficient's, as one number.
    """
    num_tokens = math.prod(grid)
    num_examples = 2 if s == 0 else 4000
    class_B = torch.arange(num_examples) % 2
    x_BN1 = s * torch.randn(num_examples, num_tokens, 1, generator=rng(), dtype=torch.float64)
    x_BN1[:, place, 0] += class_B
    options = {"full": True} if transform == "dft1d" else {}
    pipeline = InputPipeline(transform_of(transform, grid, **options), after="token", floor_scale=1e-6).double()
    pipeline.fit(x_BN1)
    if by_modulus and transform == "dft1d":
        deviation_2N = pipeline.after.deviation
        deviation_2N.copy_(deviation_2N.square().sum(0).sqrt().expand_as(deviation_2N))
    z_BMD = pipeline(x_BN1)
    between_MD = z_BMD[class_B == 1].mean(0) - z_BMD[class_B == 0].mean(0)
    # What the classes' means differ by chance alone, of every channel: its variance within, in two halves.
    within_MD = z_BMD[class_B == 1].var(0, correction=0)
    return float((between_MD.square() - within_MD * (4 / num_examples)).sum())


@every_grid
def test_t5_the_gain_of_standardising_is_n_without_noise(grid):
    raw = class_distance("raw", 0.0, 5, grid, by_modulus=True)
    dft = class_distance("dft1d", 0.0, 5, grid, by_modulus=True)
    assert (raw, dft) == pytest.approx((4, 4 * math.prod(grid)), rel=1e-6)


@pytest.mark.parametrize("s", [0.01, 0.1, 0.5])
def test_t5_the_gain_is_gone_where_noise_is_larger(s):
    grid, num_tokens = GRIDS[0], 256
    raw = class_distance("raw", s, 5, grid, by_modulus=True)
    dft = class_distance("dft1d", s, 5, grid, by_modulus=True)
    assert raw == pytest.approx(4 / (1 + 4 * s**2), rel=0.1)
    assert dft == pytest.approx(4 * num_tokens / (1 + 4 * num_tokens * s**2), rel=0.1)


@every_grid
def test_t6_real_and_imaginary_parts_nearly_double_it_but_at_the_first_place(grid):
    num_tokens = math.prod(grid)
    ratios = [class_distance("dft1d", 0.0, place, grid, by_modulus=False) / (4 * num_tokens) for place in (0, 1, 5)]
    assert ratios[0] == pytest.approx(1, rel=1e-6)
    # All but the coefficients that are real or imaginary: f = 0 and N / 2, and where N / 4 is whole, two more.
    assert ratios[1:] == pytest.approx([2, 2], rel=5 / num_tokens)
    assert all(ratio < 2 for ratio in ratios[1:])


def visible(transform, a_M: Tensor) -> float:
    """Sum over all places of the squared change of the pattern's output, when a unit change stands there."""
    num_tokens = math.prod(transform.input_grid)
    total = 0.0
    for first in range(0, num_tokens, 256):
        units_BN1 = torch.eye(num_tokens, dtype=torch.float64)[first : first + 256, :, None]
        total += float(torch.einsum("m,bmd->bd", a_M, transform(units_BN1)).square().sum())
    return total


@pytest.mark.parametrize("grid", GRIDS[:2], ids=["256", "768"])
@pytest.mark.parametrize("name", ORTHONORMAL)
def test_t7_average_visibility_is_the_patterns_length_whatever_the_transform(grid, name):
    full = {"full": True} if name.startswith("dft") else {}
    transform = transform_of(name, grid, **full)
    a_M = torch.rand(transform.num_tokens, generator=rng(), dtype=torch.float64)
    assert visible(transform, a_M) == pytest.approx(a_M.square().sum().item())
    if full:
        half = transform_of(name, grid)
        a_M = torch.rand(half.num_tokens, generator=rng(), dtype=torch.float64)
        assert a_M.square().sum() < visible(half, a_M) < 2 * a_M.square().sum()


def test_t7_a_half_spectrum_weighs_the_pairs_twice():
    half = transform_of("dft1d", GRIDS[0])
    a_M = torch.rand(half.num_tokens, generator=rng(), dtype=torch.float64)
    weights_M = torch.full_like(a_M, 2.0)
    weights_M[[0, -1]] = 1.0
    assert visible(half, a_M) == pytest.approx((weights_M * a_M.square()).sum().item())


@every_grid
def test_t8_uniform_attention_over_a_full_dft_sees_the_first_token(grid):
    x_BN = torch.rand(3, math.prod(grid), generator=rng(), dtype=torch.float64)
    np.testing.assert_allclose(full_dft(x_BN, grid).mean(1), x_BN[:, 0].numpy(), atol=1e-9)


def both_variances(x_BN: Tensor, grid: tuple[int, ...], scale: str) -> tuple[float, float]:
    """What claim C7's rule reads of raw tokens and of their DFT."""
    candidates = [InputChoice("raw"), InputChoice("dft1d")]
    network = PerceiverConfig(transform_scale=scale)
    labels = torch.arange(len(x_BN), dtype=torch.float64)[:, None]
    raw, dft = choose_transform(ORIGINAL_RULE, x_BN[:, :, None], labels, candidates, grid=grid, network=network).scores
    return raw, dft


@every_grid
def test_t9_the_rule_reads_the_dc_level(grid):
    num_tokens = math.prod(grid)
    x_BN = torch.rand(4, num_tokens, generator=rng(), dtype=torch.float64)
    raw, dft = both_variances(x_BN, grid, "ortho")
    expected = (x_BN.mean(1).square() - x_BN[:, 0].square() / num_tokens).mean().item()
    assert dft - raw == pytest.approx(expected, rel=1e-9)
    raw, dft = both_variances(x_BN - x_BN.mean(1, keepdim=True), grid, "ortho")
    assert dft < raw


@every_grid
def test_t10_the_unnormalised_side_is_larger_by_scale_alone(grid):
    x_BN = torch.rand(2, math.prod(grid), generator=rng(), dtype=torch.float64)
    ratio = both_variances(x_BN, grid, "none")[1] / both_variances(x_BN, grid, "ortho")[1]
    assert ratio == pytest.approx(math.prod(grid))


@every_grid
@pytest.mark.parametrize("num_bands", [8, 16])
def test_t11_few_bands_repeat_whatever_the_length(grid, num_bands):
    num_tokens, period = math.prod(grid), 2 * (num_bands - 1)
    like = torch.zeros(1, dtype=torch.float64)
    features_NP = PositionEncoding("one_d", grid, num_bands).features(like)
    # Without the coordinate itself, which is one feature of many.
    waves_NP = features_NP[:, :-1]
    middle = num_tokens // 2
    similarity_N = waves_NP @ waves_NP[middle] / num_bands
    between_N = similarity_N[middle + 2 : middle + period - 1]
    assert between_N.abs().max() < 0.2
    assert similarity_N[middle + period] > (0.8 if num_tokens < 3000 else 0.99)


@every_grid
def test_t11_enough_bands_on_every_axis_tell_all_tokens_apart(grid):
    like = torch.zeros(1, dtype=torch.float64)
    features_NP = PositionEncoding("per_axis", grid).features(like)
    assert len(features_NP.mul(1e6).round().unique(dim=0)) == math.prod(grid)


@pytest.mark.parametrize(("beta", "threshold"), [(0.9, 38), (0.999, 3998)])
def test_t12_adams_edge_of_stability(beta, threshold):
    assert (2 + 2 * beta) / (1 - beta) == pytest.approx(threshold)
    for factor, is_stable in ((0.99, True), (1.01, False)):
        # lr 1: the preconditioned curvature itself stands against the threshold.
        curvature = factor * threshold
        roots = np.roots([1, -(1 + beta - (1 - beta) * curvature), beta])
        assert (abs(roots).max() < 1) == is_stable


def adam_path(beta: float, curvature: float, num_steps: int) -> list[float]:
    """Distances of PyTorch's Adam from the minimum of a quadratic, long after the start, at lr 1.

    An eps of 1 dwarfs the gradients of a tiny weight, so that the preconditioner is 1.
    """
    weight = torch.nn.Parameter(torch.tensor(1e-12, dtype=torch.float64))
    adam = torch.optim.Adam([weight], lr=1.0, betas=(beta, 0.999), eps=1.0)
    zero = torch.zeros_like(weight)
    adam.state[weight] = {"step": torch.tensor(1e6), "exp_avg": zero, "exp_avg_sq": zero.clone()}
    path = []
    for _ in range(num_steps):
        weight.grad = curvature * weight.detach()
        adam.step()
        path.append(abs(weight.item()))
        if path[-1] > 1e-6:
            break
    return path


@pytest.mark.parametrize(("beta", "threshold", "num_steps"), [(0.9, 38, 400), (0.999, 3998, 4000)])
def test_t12_pytorchs_adam_keeps_to_it(beta, threshold, num_steps):
    inside = adam_path(beta, 0.98 * threshold, num_steps)
    # Complex roots of modulus sqrt(beta): the amplitude falls so, step by step.
    half = num_steps // 2
    assert max(inside[half:]) < 2 * beta ** (half / 2) * max(inside[:half])
    assert max(inside) < 1e-9
    assert adam_path(beta, 1.02 * threshold, num_steps)[-1] > 1e-6


@every_grid
@pytest.mark.parametrize("name", ["dft1d", "dft2d", "dft3d"])
def test_t13_a_half_spectrum_keeps_lengths_by_the_weight_of_its_pairs(grid, name):
    half = transform_of(name, grid)
    x_BN1 = torch.randn(2, math.prod(grid), 1, generator=rng(), dtype=torch.float64)
    z_BMD = half(x_BN1)
    torch.testing.assert_close(z_BMD.square().sum((1, 2)), x_BN1.square().sum((1, 2)))
    unweighted = torch.fft.rfft(x_BN1[:, :, 0], norm="ortho").abs().square().sum(1)
    assert (unweighted < 0.6 * x_BN1.square().sum((1, 2))).all()


@every_grid
@pytest.mark.parametrize("channels", [1, 3])
def test_t14_half_of_the_tokens_hold_everything(grid, channels):
    num_tokens = math.prod(grid)
    half = build_transform("dft1d", grid, channels=channels)
    assert (half.num_tokens, half.channels) == (num_tokens // 2 + 1, 2 * channels)
    x_BNC = torch.rand(2, num_tokens, channels, generator=rng(), dtype=torch.float64)
    torch.testing.assert_close(half.inverse(half(x_BNC)), x_BNC)


def test_t15_lengths_that_are_no_power_of_two():
    num_tokens = 3 * 64 * 64
    assert num_tokens == 12_288 == 3 * 2**12
    assert 2 ** math.ceil(math.log2(num_tokens)) == 16_384
    hadamard = transform_of("hadamard", (3, 64, 64))
    assert hadamard.num_tokens == num_tokens
    unit_1N1 = torch.zeros(1, num_tokens, 1, dtype=torch.float64)
    unit_1N1[0, 5000] = 1
    z_1N1 = hadamard(unit_1N1)
    assert z_1N1.norm().item() == pytest.approx(1)
    assert (z_1N1.abs() > 1e-3).all()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_t15_half_precision_never_reaches_a_transform(name):
    torch.manual_seed(0)
    transform = build_transform(name, (3, 8, 8), channels=1)
    x_BN1 = torch.rand(4, 192, 1, generator=rng())
    if transform.needs_fit:
        transform.fit(x_BN1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z_BMD = transform(x_BN1)
    assert z_BMD.dtype == torch.float32
    torch.testing.assert_close(z_BMD, transform(x_BN1))


def test_t16_a_constant_bias_costs_r2_and_not_explained_variance():
    target = torch.randn(500, 2, generator=rng(), dtype=torch.float64)
    prediction = target + 0.5
    variance = target.var(0, correction=0)
    torch.testing.assert_close(1 - r2_per_coordinate(prediction, target), 0.25 / variance)
    torch.testing.assert_close(explained_variance(prediction, target), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("a", [0.0, 0.3, 1.0])
def test_t17_a_mixture_of_expert_and_mean_has_its_share_as_slope(a):
    target, moved = torch.randn(2, 300, 3, generator=rng(), dtype=torch.float64)
    mean = target.mean(0)
    mixture, mixture_moved = (a * each + (1 - a) * mean for each in (target, moved))
    assert cue_slope(mixture_moved - mixture, moved - target) == pytest.approx(a)
    # Against a twin that predicts the mean because it never saw the cue.
    assert skill(mixture, target, mean.expand_as(target)) == pytest.approx(1 - (1 - a) ** 2)


def uniform_weights(grid, transform: str, **options) -> np.ndarray:
    """What uniform attention over a transform's tokens makes of each input token, one row for each channel: (D, N)."""
    num_tokens = math.prod(grid)
    z_NMD = transform_of(transform, grid, **options)(torch.eye(num_tokens, dtype=torch.float64)[:, :, None])
    return z_NMD.mean(1).T.numpy()


@pytest.mark.parametrize("grid", [(1, 16, 16), (3, 16, 16), (1, 32, 32)])
def test_t18_uniform_attention_over_a_half_spectrum_sees_three_tokens(grid):
    num_tokens = math.prod(grid)
    num_coefficients = num_tokens // 2 + 1
    n = np.arange(num_tokens)
    real = np.where(n % 2 == 0, 2 - math.sqrt(2), 0.0)
    real[0] = 2 + math.sqrt(2) * (num_tokens / 2 - 1)
    imaginary = np.zeros(num_tokens)
    imaginary[1::2] = -math.sqrt(2) / np.tan(np.pi * n[1::2] / num_tokens)
    expected = np.stack([real, imaginary]) / (num_coefficients * math.sqrt(num_tokens))
    seen = uniform_weights(grid, "dft1d")
    np.testing.assert_allclose(seen, expected, atol=1e-9)
    power = (seen**2).sum(0)
    assert power[[0, 1, -1]].sum() / power.sum() == pytest.approx(0.5 + 4 / math.pi**2, abs=0.005)
    full = uniform_weights(grid, "dft1d", full=True)
    assert (full**2).sum(0)[0] / (full**2).sum() == pytest.approx(1)


@every_grid
@pytest.mark.parametrize("full", [True, False])
def test_t19_dc_draws_the_attention_before_a_changed_token_could(grid, full):
    num_tokens, mean, delta = math.prod(grid), 0.5, 0.5
    x_N = torch.full((num_tokens,), mean, dtype=torch.float64)
    x_N[num_tokens // 3] += delta
    z_M = transform_of("dft1d", grid, full=full)(x_N[None, :, None])[0, :, 0]
    dc = math.sqrt(num_tokens) * mean
    assert float(z_M[0]) == pytest.approx(dc, rel=2 / num_tokens)
    assert float(z_M[1:].abs().max()) <= math.sqrt(2) * delta / math.sqrt(num_tokens) + 1e-9
    threshold = math.log(num_tokens) / dc
    assert float(torch.softmax(threshold * z_M, 0)[0]) >= 0.499
    assert float(torch.softmax(threshold / 2 * z_M, 0)[0]) < 2 / math.sqrt(num_tokens)
    # The changed raw token, whose content stands out by delta alone, gets next to nothing at that scale...
    assert float(torch.softmax(threshold * x_N, 0).max()) < 2 / num_tokens
    # ...and half at its own.
    assert float(torch.softmax(math.log(num_tokens) / delta * x_N, 0).max()) == pytest.approx(0.5, abs=0.01)


def test_t19_the_sink_comes_nearer_with_length():
    thresholds = [math.log(n) / (math.sqrt(n) * 0.5) for n in (256, 3072, 12_288, 49_152)]
    assert thresholds == sorted(thresholds, reverse=True)
    assert [round(math.sqrt(n) * 0.5) for n in (3072, 12_288)] == [28, 55]


@every_grid
@pytest.mark.parametrize("name", ["raw", "dft1d", "dft3d", "hadamard"])
def test_t20_centred_the_class_is_all_that_uniform_attention_sees(grid, name):
    num_tokens, place = math.prod(grid), 0 if name != "raw" else math.prod(grid) // 3
    values_K = torch.tensor([0.0, 1 / 3, 2 / 3, 1.0], dtype=torch.float64)
    x_KN1 = torch.full((4, num_tokens, 1), 0.5, dtype=torch.float64)
    x_KN1[:, place, 0] = values_K
    pipelines = {
        after: InputPipeline(transform_of(name, grid), before="none", after=after).double()
        for after in ("none", "centre")
    }
    seen = {}
    for after, pipeline in pipelines.items():
        if pipeline.needs_fit:
            pipeline.fit([x_KN1])
        seen[after] = pipeline(x_KN1).mean(1)
    # Contrast: the classes' deviation over the root mean square of all that is seen.
    contrast = {
        after: float(z.std(0, correction=0).norm() / z.square().mean(0).sqrt().norm()) for after, z in seen.items()
    }
    assert contrast["centre"] == pytest.approx(1, abs=1e-6)
    if name == "raw":
        deviation = float(values_K.std(correction=0))
        standardised_K = (values_K - values_K.mean()) / deviation
        assert contrast["none"] == pytest.approx(deviation / (num_tokens * 0.5), rel=0.01)
        np.testing.assert_allclose(seen["centre"][:, 0], standardised_K / math.sqrt(num_tokens), rtol=1e-5)
        z_KN = pipelines["centre"](x_KN1)[:, :, 0]
        assert float(np.delete(z_KN.numpy(), place, axis=1).max()) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("encoding", "num_features", "shares"),
    [("per_axis", 133, (0.034, 0.043)), ("one_d", 12_289, (0.0004, 0.0005)), ("aliased", 33, (0.125, 0.154))],
)
def test_t21_shares_of_content_at_unit_size(encoding, num_features, shares):
    assert PositionEncoding(encoding, (3, 64, 64)).num_features == num_features
    found = content_shares(3, num_features, 1.0)
    digits = 4 if encoding == "one_d" else 3
    assert tuple(round(share, digits) for share in found) == shares


def test_t21_shares_at_a_gain_of_eight():
    assert content_shares(3, 133, 8.0) == pytest.approx((0.22, 0.74), abs=0.005)


def content_shares(channels, num_features, size):
    """By absolute values, and by squares."""
    return (
        channels * size / (channels * size + 2 * num_features / math.pi),
        channels * size**2 / (channels * size**2 + num_features / 2),
    )


def token_parts(attention, content_NC):
    """Normalised content and position features of every token."""
    positions = attention.positions.features(torch.zeros((), dtype=torch.float64))
    normalised_NF = attention.norm(torch.cat([content_NC, positions], 1)).detach()
    return normalised_NF[:, : attention.channels], normalised_NF[:, attention.channels :]


@pytest.mark.parametrize("gain", [1.0, 8.0])
@pytest.mark.parametrize(("encoding", "grid"), [("per_axis", (3, 64, 64)), ("one_d", (1, 8, 48))])
def test_t21_contents_share_of_adams_first_step(encoding, grid, gain):
    torch.manual_seed(0)
    positions = PositionEncoding(encoding, grid)
    attention = ByteCrossAttention(16, 3, positions, content_gain=gain).double()
    num_tokens = math.prod(grid)
    signs_NC = torch.randint(0, 2, (num_tokens, 3)).double() * 2 - 1
    token_NF = torch.cat(token_parts(attention, signs_NC), 1)[torch.randint(0, num_tokens, (200,))]
    shares = []
    for token_F in token_NF:
        weight = attention.to_key.weight.detach().clone().requires_grad_()
        optimiser = torch.optim.Adam([weight], lr=1e-3)
        (weight @ token_F).sum().backward()
        before = weight.detach().clone()
        optimiser.step()
        moved_F = ((weight.detach() - before) * token_F).sum(0).abs()
        shares.append(float(moved_F[:3].sum() / moved_F.sum()))
    assert np.mean(shares) == pytest.approx(content_shares(3, positions.num_features, gain)[0], rel=0.1)


@pytest.mark.parametrize("gain", [1.0, 8.0])
def test_t21_contents_share_of_a_keys_mean_square(gain):
    torch.manual_seed(0)
    positions = PositionEncoding("per_axis", (3, 64, 64))
    attention = ByteCrossAttention(256, 3, positions, content_gain=gain).double()
    content_NC, position_NP = token_parts(attention, torch.randn(3 * 64 * 64, 3, dtype=torch.float64))
    key_EF = attention.to_key.weight.detach()
    of_content = (content_NC @ key_EF[:, :3].T).square().mean()
    of_position = (position_NP @ key_EF[:, 3:].T).square().mean()
    share = float(of_content / (of_content + of_position))
    assert share == pytest.approx(content_shares(3, positions.num_features, gain)[1], rel=0.15)
