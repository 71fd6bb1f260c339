from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import linalg, stats
from torch import Tensor

from smidgen.evaluation.collapse import r2_per_coordinate
from smidgen.policies.perceiver import PerceiverConfig
from studies.ladder.ladder_measures import (
    gradient_snr,
    latent_contrast,
    preconditioned_sharpness,
    relative_entropy,
    separation_ratio,
    unexplained_variance,
)
from studies.ladder.side_by_side import LadderTraining, SideBySide, train_side_by_side
from studies.synthetic import LadderConfig

DATA = LadderConfig(kind="one_token", grid=(1, 3, 4))
NETWORK = PerceiverConfig(num_latents=2, latent_dim=4, num_layers=1, num_heads=1, mlp_ratio=1)
LABELS = torch.tensor([0, 0, 1, 1, 2, 2])


def test_unexplained_variance_of_one_column_is_one_minus_r2() -> None:
    predicted, target = torch.randn(2, 3, 5, 1, 1, generator=torch.manual_seed(0))
    got = unexplained_variance(predicted, target)
    for row in range(3):
        assert got[row].item() == pytest.approx(1 - r2_per_coordinate(predicted[row], target[row]).item())


def test_separation_ratio_is_the_root_of_the_anova_f_up_to_degrees_of_freedom() -> None:
    latents = torch.randn(6, 1, generator=torch.manual_seed(0))
    f = stats.f_oneway(*(latents[label == LABELS, 0].double().numpy() for label in range(3))).statistic
    # F = (between / (classes - 1)) / (within / (examples - classes)), with sums where the ratio has means.
    assert separation_ratio(latents, LABELS) == pytest.approx(math.sqrt(f * (3 - 1) / (6 - 3)), rel=1e-5)


def test_separation_ratio_is_undefined_without_a_spread_within_classes() -> None:
    assert math.isnan(separation_ratio(torch.randn(3, 4), torch.arange(3)))


def test_latents_that_do_not_see_the_class_have_no_contrast() -> None:
    blind = torch.randn(1, 5).repeat(6, 1)
    assert latent_contrast(blind, LABELS) == 0.0
    opposite = torch.tensor([[1.0], [-1.0]])
    assert latent_contrast(opposite, torch.arange(2)) == pytest.approx(1.0)
    assert latent_contrast(7 * opposite, torch.arange(2)) == pytest.approx(1.0)


def test_relative_entropy_equals_scipys() -> None:
    weights = torch.softmax(torch.randn(2, 3, 7, generator=torch.manual_seed(0), dtype=torch.float64), -1)
    expected = stats.entropy(weights.numpy(), axis=-1).mean() / math.log(7)
    assert relative_entropy(weights) == pytest.approx(expected)
    assert relative_entropy(torch.full((4, 9), 1 / 9)) == pytest.approx(1.0)
    assert relative_entropy(torch.eye(5)) == 0.0


@pytest.fixture
def trained() -> SideBySide:
    """Two runs after a few steps."""
    run = SideBySide(DATA, NETWORK, LadderTraining(measure_every=100, warmup_steps=0), [0, 1], [1e-2, 1e-2])
    for _ in range(5):
        run._take_step()
    return run


def test_gradient_snr_equals_that_of_single_examples_gradients(trained: SideBySide) -> None:
    index = torch.tensor([1])
    network, pool = trained.network.taken(index), trained.pool.taken(index)
    rows = [network.gradient(*pool.batch(torch.tensor([[k]])))[0][0] for k in range(pool.size)]
    gradients = torch.stack(rows).double().numpy()
    mean = gradients.mean(0)
    whole, _ = network.gradient(*pool.all())
    np.testing.assert_allclose(whole[0].numpy(), mean, rtol=1e-3, atol=1e-6)
    expected = np.linalg.norm(mean) / math.sqrt(((gradients - mean) ** 2).sum(1).mean())
    assert gradient_snr(network, pool) == pytest.approx(expected, rel=1e-4)


def test_preconditioned_sharpness_is_the_largest_eigenvalue_of_the_whole_matrix(trained: SideBySide) -> None:
    index = torch.tensor([0])
    network, examples = trained.network.taken(index), trained.pool.taken(index).all()
    preconditioner = trained.optimiser.taken(index).preconditioner()
    hessian = plain_hessian(network.by_parameter(network.weights_SP), trained, examples.target_SBOA[0])
    largest = linalg.eigh(hessian, np.diag(preconditioner[0].double().numpy()), eigvals_only=True)[-1]
    got = preconditioned_sharpness(network, examples, preconditioner, num_iterations=60)
    assert got == pytest.approx(largest, rel=1e-2)


def plain_hessian(parameters: dict[str, Tensor], trained: SideBySide, target: Tensor) -> np.ndarray:
    """The Hessian by autograd twice, with the attention written out, in float64."""
    perceiver = trained.network.network.perceiver.double()
    names, sizes = list(parameters), trained.network.sizes
    tokens = trained.pool.inputs[0].double()

    def loss(flat: Tensor) -> Tensor:
        parts = dict(zip(names, flat.split(sizes), strict=True))
        own = {k.removeprefix("perceiver."): part.view(parameters[k].shape[1:]) for k, part in parts.items()}
        return (torch.func.functional_call(WrittenOut(perceiver), prefixed(own), (tokens,)) - target).square().mean()

    flat = torch.cat([part[0].double().flatten() for part in parameters.values()])
    return torch.autograd.functional.hessian(loss, flat).numpy()


def prefixed(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"perceiver.{name}": value for name, value in parameters.items()}


class WrittenOut(torch.nn.Module):
    """A Perceiver whose cross-attention is softmax over an explicit map, times explicit values."""

    def __init__(self, perceiver: torch.nn.Module) -> None:
        super().__init__()
        self.perceiver = perceiver

    def forward(self, tokens: Tensor) -> Tensor:
        encoder = self.perceiver.encoder
        attention, queries = encoder.attention, encoder.query_norm(encoder.latents)
        features = attention.positions.features(tokens).expand(len(tokens), -1, -1)
        values = attention.to_value(attention.norm(torch.cat([tokens, features], -1)))
        mixed = attention.to_output(attention.attention_map(queries, tokens)[:, 0] @ values)
        latents = encoder.mlp(encoder.latents + mixed)
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            for layer in self.perceiver.layers:
                latents = layer(latents)
            return self.perceiver.decoder(latents)


def test_sharpness_is_measured_at_the_end_where_asked_for() -> None:
    training = LadderTraining(max_steps=4, measure_every=2, warmup_steps=0)
    (plain,) = train_side_by_side(DATA, NETWORK, training, [0], [1e-3])
    (measured,) = train_side_by_side(DATA, NETWORK, training, [0], [1e-3], sharpness_iterations=3)
    assert measured.final["preconditioned_sharpness"] > 0
    assert "preconditioned_sharpness" not in plain.final | measured.initial
    lamb = dataclasses.replace(training, optimiser="lamb")
    (without,) = train_side_by_side(DATA, NETWORK, lamb, [0], [1e-3], sharpness_iterations=3)
    assert "preconditioned_sharpness" not in without.final
