from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import f_oneway, linregress

from smidgen.policies.choose_transform import (
    ORIGINAL_RULE,
    OUR_RULE,
    RULES,
    Choice,
    InputChoice,
    centred_alignment,
    choose_transform,
    effective_number,
    label_relevant_variance,
    token_alignments,
)
from smidgen.policies.perceiver import PerceiverConfig
from smidgen.policies.standardise import STANDARDISERS
from smidgen.policies.transforms import TRANSFORMS
from smidgen.runtime.errors import UserError

GRID = (1, 8, 8)
NUM_TOKENS = math.prod(GRID)
SMALL = PerceiverConfig(num_latents=2, latent_dim=8, num_heads=1, num_layers=0)
RAW_OR_DFT = [InputChoice("raw"), InputChoice("dft1d")]


def classes(num_examples: int, noise: float = 0.0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Generator]:
    """A grey background, the class of each example (of 4), its standardised label."""
    rng = torch.Generator().manual_seed(seed)
    x_BNC = 0.5 + noise * torch.randn(num_examples, NUM_TOKENS, 1, generator=rng)
    class_B = torch.arange(num_examples) % 4
    return x_BNC, class_B, rng


def label(class_B: torch.Tensor) -> torch.Tensor:
    return (class_B.float()[:, None] - 1.5) / math.sqrt(1.25)


def one_token(num_examples: int = 64, noise: float = 0.01, place: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    x_BNC, class_B, _ = classes(num_examples, noise)
    x_BNC[:, place, 0] += class_B / 3 - 0.5
    return x_BNC, label(class_B)


def choose(rule: str, data: tuple[torch.Tensor, torch.Tensor], candidates: list[InputChoice], **changes) -> Choice:
    return choose_transform(rule, *data, candidates, grid=GRID, network=dataclasses.replace(SMALL, **changes))


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_a_function_of_its_arguments_alone(rule):
    candidates = [InputChoice(name, "token") for name in TRANSFORMS]
    data = one_token(16)
    before = torch.random.get_rng_state()
    first = choose(rule, data, candidates)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(5)
    assert choose(rule, data, candidates) == first
    assert all(math.isfinite(value) for figures in first.figures for value in figures.values())
    assert first.scores[first.index] == pytest.approx(max(first.scores), rel=1e-8)
    assert first.chosen == candidates[first.index]
    # JSON, and back without loss.
    assert json.loads(json.dumps(first.to_json())) == first.to_json()


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_examples_and_the_unit_of_labels_do_not_matter(rule):
    x_BNC, y_BA = one_token(32)
    order = torch.randperm(32, generator=torch.Generator().manual_seed(1))
    scores = choose(rule, (x_BNC, y_BA), RAW_OR_DFT).scores
    assert choose(rule, (x_BNC[order], y_BA[order]), RAW_OR_DFT).scores == pytest.approx(scores, rel=1e-4)
    assert choose(rule, (x_BNC, 7 * y_BA + 3), RAW_OR_DFT).scores == pytest.approx(scores, rel=1e-4)


def test_of_equal_scores_the_first_candidate_wins():
    twice = [InputChoice("dft1d"), InputChoice("dft1d")]
    assert choose(ORIGINAL_RULE, one_token(), twice).index == 0
    # Equal by Parseval, and unequal in the last bits.
    equal = [InputChoice(name) for name in ("dft3d", "dft1d", "dft2d")]
    for order in (equal, equal[::-1]):
        scores = choose(ORIGINAL_RULE, one_token(), order).scores
        assert scores == pytest.approx([scores[0]] * 3, rel=1e-9)
        assert choose(ORIGINAL_RULE, one_token(), order).index == 0


# The originator's rule


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.sampled_from([(1, 8, 8), (3, 4, 5)]), st.integers(1, 3))
def test_the_originators_rule_equals_numpys_mean_and_variance(seed, grid, channels):
    rng = np.random.default_rng(seed)
    x_BNC = rng.random((3, math.prod(grid), channels))
    data = torch.from_numpy(x_BNC), torch.from_numpy(rng.random((3, 1)))
    choice = choose_transform(ORIGINAL_RULE, *data, RAW_OR_DFT, grid=grid)
    spectrum_BNC = np.fft.fft(x_BNC, axis=1, norm="ortho")
    for figures, inputs in zip(choice.figures, (x_BNC, spectrum_BNC), strict=True):
        assert figures["variance"] == pytest.approx(inputs.var(axis=1).mean())
        assert figures["mean"] == pytest.approx(math.sqrt((np.abs(inputs.mean(axis=1)) ** 2).mean()))
        assert figures["score"] == figures["variance"]
    # What it reads, taken literally: the DC level.
    difference = (x_BNC.mean(axis=1) ** 2 - x_BNC[:, 0] ** 2 / x_BNC.shape[1]).mean()
    assert choice.scores[1] - choice.scores[0] == pytest.approx(difference, abs=1e-12)


def test_the_originators_rule_reads_scale_and_neither_labels_nor_what_comes_after():
    x_BNC, y_BA = one_token()
    ortho = choose(ORIGINAL_RULE, (x_BNC, y_BA), RAW_OR_DFT).scores
    none = choose(ORIGINAL_RULE, (x_BNC, y_BA), RAW_OR_DFT, transform_scale="none").scores
    assert none == pytest.approx([ortho[0], NUM_TOKENS * ortho[1]])
    standardised = [InputChoice(candidate.transform, "token") for candidate in RAW_OR_DFT]
    assert choose(ORIGINAL_RULE, (x_BNC, y_BA.flip(0)), standardised).scores == ortho
    dark = x_BNC - x_BNC.mean(1, keepdim=True)
    assert choose(ORIGINAL_RULE, (dark, y_BA), RAW_OR_DFT).index == 0


# What the other rules are made of


def test_label_relevant_variance_of_classes_is_the_analysis_of_variance():
    x_BNC, y_BA = one_token(40, noise=0.3)
    groups = [x_BNC[y_BA[:, 0] == value, 9, 0].double().numpy() for value in y_BA[:, 0].unique()]
    num_examples, num_groups = 40, 4
    f = f_oneway(*groups).statistic
    between_over_within = f * (num_groups - 1) / (num_examples - num_groups)
    total = x_BNC[:, 9, 0].double().var(correction=0).item()
    explained = total * between_over_within / (1 + between_over_within)
    by_chance = (total - explained) * (num_groups - 1) / (num_examples - num_groups)
    assert label_relevant_variance(x_BNC, y_BA)[9, 0].item() == pytest.approx(explained - by_chance)


def test_label_relevant_variance_of_distinct_labels_is_a_regression():
    rng = np.random.default_rng(0)
    y_B = rng.normal(size=50)
    z_B = 2 * y_B + rng.normal(size=50)
    r2 = linregress(y_B, z_B).rvalue ** 2
    expected = z_B.var() * (r2 - (1 - r2) / 48)
    got = label_relevant_variance(torch.from_numpy(z_B)[:, None, None], torch.from_numpy(y_B)[:, None])
    assert got.item() == pytest.approx(expected)


def test_noise_is_hardly_relevant_to_any_label():
    x_BNC, class_B, _ = classes(2000, noise=1.0)
    relevant_MD = label_relevant_variance(x_BNC, label(class_B))
    assert relevant_MD.mean() < 2e-3
    assert (relevant_MD >= 0).all()


def test_effective_number_counts_equal_shares():
    assert effective_number(torch.tensor([0.0, 2.0, 2.0, 0.0])) == pytest.approx(2)
    assert effective_number(torch.zeros(3)) == 0


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31))
def test_centred_alignment_of_single_features_is_the_squared_correlation(seed):
    z_B, y_B = np.random.default_rng(seed).normal(size=(2, 12))
    got = centred_alignment(torch.from_numpy(z_B)[:, None], torch.from_numpy(y_B)[:, None])
    assert got == pytest.approx(np.corrcoef(z_B, y_B)[0, 1] ** 2, abs=1e-12)


@pytest.mark.parametrize("after", STANDARDISERS)
@pytest.mark.parametrize("name", ["raw", "dft1d", "haar"])
def test_alignments_are_shares(name, after):
    network = InputChoice(name, after).applied_to(SMALL)
    for part in token_alignments(*one_token(), GRID, network):
        assert (part >= 0).all()
        assert (part <= 1 + 1e-9).all()


def test_a_token_that_tells_the_class_alone_has_alignment_one():
    x_BNC, y_BA = one_token(4, noise=0.0)
    linear_MD, _ = token_alignments(x_BNC, y_BA, GRID, InputChoice("raw", "token").applied_to(SMALL))
    assert linear_MD[9, 0].item() == pytest.approx(1)
    assert linear_MD.sum().item() == pytest.approx(1)
    # With the common grey level in its mean square it tells little.
    linear_MD, _ = token_alignments(x_BNC, y_BA, GRID, InputChoice("raw").applied_to(SMALL))
    assert linear_MD.sum().item() < 0.5


@pytest.mark.parametrize(("noise", "rel"), [(0.0, 1e-6), (0.02, 0.15), (0.2, 0.15)])
def test_class_distance_of_two_classes_is_the_theorys(noise, rel):
    """(1/4) of 4 / (1 + 4 s^2) and of 4 N / (1 + 4 N s^2), for a change of 1 in one token of noise s."""
    rng = torch.Generator().manual_seed(0)
    num_examples = 4000 if noise else 2
    class_B = torch.arange(num_examples) % 2
    x_BNC = noise * torch.randn(num_examples, NUM_TOKENS, 1, generator=rng).double()
    x_BNC[:, 0, 0] += class_B
    data = x_BNC, class_B.double()[:, None]
    candidates = [InputChoice("raw", "token"), InputChoice("dft1d", "token")]
    # In the place 0 all coefficients are real, so that no imaginary part counts a second time.
    raw, dft = choose("class_distance", data, candidates, full_spectrum=True, floor_scale=1e-6).scores
    assert raw == pytest.approx(1 / (1 + 4 * noise**2), rel=rel)
    real_parts = NUM_TOKENS / (1 + 2 * NUM_TOKENS * noise**2)
    assert dft == pytest.approx(real_parts, rel=rel)


# What the rules choose


def test_our_rule_sees_one_token_better_through_a_standardised_dft():
    candidates = [InputChoice("raw", "token"), InputChoice("dft1d", "token")]
    assert choose(OUR_RULE, one_token(), candidates).chosen.transform == "dft1d"


def test_our_rule_stays_with_tokens_that_each_tell_the_label():
    """64 places, each example bright in one: the classes differ in single tokens, and every token has its class."""
    class_B = torch.arange(NUM_TOKENS).repeat(8)
    rng = torch.Generator().manual_seed(0)
    x_BNC = 0.5 + 0.05 * torch.randn(len(class_B), NUM_TOKENS, 1, generator=rng)
    x_BNC[torch.arange(len(class_B)), class_B, 0] += 0.5
    rows_columns_BA = torch.stack([class_B // 8, class_B % 8], 1).double()
    candidates = [InputChoice("dft1d", "token"), InputChoice("raw", "token")]
    assert choose(OUR_RULE, (x_BNC, rows_columns_BA), candidates).chosen.transform == "raw"


def test_our_rule_sees_a_grating_of_changing_phase_through_its_spectrum():
    """No token's value says anything about the frequency; the spectrum's power does."""
    _, class_B, rng = classes(256)
    phase_B1 = 2 * math.pi * torch.rand(256, 1, generator=rng)
    n_N = torch.arange(NUM_TOKENS)
    x_BN = 0.5 + 0.4 * torch.cos(2 * math.pi * (12 + class_B[:, None]) * n_N / NUM_TOKENS + phase_B1)
    data = x_BN[:, :, None], label(class_B)
    choice = choose(OUR_RULE, data, RAW_OR_DFT)
    assert choice.chosen.transform == "dft1d"
    assert choice.scores[1] > 3 * choice.scores[0]


def test_participation_spreads_from_one_token_to_all():
    raw, dft = choose("participation_ratio", one_token(noise=0.001), RAW_OR_DFT).figures
    assert raw["participation_ratio"] == pytest.approx(1, rel=0.01)
    assert dft["score"] > 0.9


@pytest.mark.parametrize("byte_tokens", [False, True])
def test_kernel_alignment_works_on_bytes_and_pixels(byte_tokens):
    x_BNC, y_BA = one_token(16)
    grid, x_BNC = ((*GRID, 3), x_BNC.repeat(1, 3, 1)) if byte_tokens else (GRID, x_BNC.repeat(1, 1, 3))
    network = dataclasses.replace(SMALL, byte_tokens=byte_tokens)
    choice = choose_transform("kernel_alignment", x_BNC, y_BA, RAW_OR_DFT, grid=grid, network=network)
    for figures in choice.figures:
        assert 0 < figures["smallest_draw"] <= figures["score"] <= figures["largest_draw"] <= 1


# Candidates and mistakes


def test_a_candidate_reads_its_own_name():
    assert InputChoice.parse("dft1d", "centre") == InputChoice("dft1d", "centre")
    for candidate in (InputChoice(name, after) for name in TRANSFORMS for after in STANDARDISERS):
        assert InputChoice.parse(candidate.name) == candidate


def test_options_of_other_transforms_are_left_behind():
    network = dataclasses.replace(SMALL, full_spectrum=True, num_latents=7, transform="dft3d")
    assert InputChoice("dft1d", "token").applied_to(network).full_spectrum
    raw = InputChoice("raw", "token").applied_to(network)
    assert (raw.transform, raw.standardise_after, raw.full_spectrum, raw.num_latents) == ("raw", "token", False, 7)
    scores = choose(OUR_RULE, one_token(), RAW_OR_DFT, full_spectrum=True).scores
    assert scores[0] == choose(OUR_RULE, one_token(), RAW_OR_DFT).scores[0]


def test_the_table_marks_the_choice():
    choice = choose(ORIGINAL_RULE, one_token(), RAW_OR_DFT)
    head, *rows = choice.table().splitlines()
    assert head.split() == ["auto", "by", ORIGINAL_RULE, "score", "mean", "variance"]
    assert [row.split()[0] for row in rows] == ["raw/none", "dft1d/none"]
    assert [row.endswith("<- chosen") for row in rows] == [False, True]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: choose("variance", one_token(), RAW_OR_DFT), "unknown rule 'variance'.*between_token_variance"),
        (lambda: choose(OUR_RULE, one_token(), []), "at least one candidate"),
        (lambda: InputChoice("dft"), "unknown transform 'dft'"),
        (lambda: InputChoice.parse("raw/tokens"), "unknown standardisation 'tokens'.*did you mean 'token'"),
        (lambda: choose(OUR_RULE, (one_token()[0], one_token()[1][:5]), RAW_OR_DFT), "tokens and labels"),
        (lambda: choose(OUR_RULE, (one_token()[0][:1], one_token()[1][:1]), RAW_OR_DFT), "2 or more examples"),
        (lambda: choose_transform(OUR_RULE, *one_token(), RAW_OR_DFT, grid=(1, 8, 9)), "72 tokens"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
