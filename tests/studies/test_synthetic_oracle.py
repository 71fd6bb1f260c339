import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from smidgen.runtime.errors import UserError
from studies.synthetic import SOLVABLE_R2, LadderConfig, make_ladder, solvability_oracle
from studies.synthetic.config import KINDS
from studies.synthetic.oracle import (
    _RIDGES,
    PROBES,
    bayes_r2,
    interpolation_r2,
    linear_probe,
    matched_filter_r2,
    quadratic_probe,
    sparse_probe,
)


def noisy(kind="one_token", noise_sd=0.1, **fields):
    return LadderConfig(kind=kind, background="noise", noise_sd=noise_sd, **fields)


@pytest.mark.parametrize("kind", KINDS)
def test_every_rung_is_solvable_at_its_default(kind):
    data = make_ladder(LadderConfig(kind=kind), seed=0)
    r2 = solvability_oracle(data)
    assert r2 > (0.95 if kind == "frames" else 1 - 1e-6)
    assert r2 <= 1


@given(
    kind=st.sampled_from(["one_token", "moving_blob", "periodic", "texture"]),
    num_classes=st.integers(2, 6),
    seed=st.integers(0, 2**32),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
)
@settings(max_examples=40, deadline=None)
def test_constant_backgrounds_are_solved_by_the_linear_probe(kind, num_classes, seed, scale):
    config = LadderConfig(kind=kind, grid=(1, 12, 24), num_classes=num_classes, scale=scale)
    assert linear_probe(make_ladder(config, seed)) > 1 - 1e-5


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "frames"])
def test_every_rung_is_solvable_in_noise_of_a_tenth(kind):
    assert solvability_oracle(make_ladder(noisy(kind), seed=1)) > 0.9


def test_what_cannot_be_found_is_not_called_solvable():
    data = make_ladder(noisy(), seed=0)
    shuffled = dataclasses.replace(data, y_BA=data.y_BA[np.random.default_rng(0).permutation(256)])
    assert solvability_oracle(shuffled) < 0.1 < SOLVABLE_R2


def features_of(data, products):
    x, z = (part.flatten(1).double().numpy() for part in (data.x_BNC, data.x_held_out_BNC))
    x, z = x - x.mean(axis=0), z - x.mean(axis=0)
    if products:
        x, z = (np.einsum("bi,bj->bij", part, part).reshape(len(part), -1) for part in (x, z))
    return x, z


def ridge_by_hand(x, y, z, penalty):
    """The textbook's solution with one weight for each input, the intercept left out of the penalty."""
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    x = x - mean_x
    return mean_y + (z - mean_x) @ np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ (y - mean_y))


@pytest.mark.parametrize("products", [False, True])
def test_the_ridge_equals_leaving_one_out_by_hand(products):
    config = noisy("periodic", noise_sd=0.08, grid=(1, 1, 8), num_train=24, num_held_out=40)
    data = make_ladder(config, seed=2)
    (x, z), y = features_of(data, products), data.y_BA.double().numpy()
    centred = x - x.mean(axis=0)
    penalties = _RIDGES * np.linalg.eigvalsh(centred @ centred.T)[-1]

    def error(penalty):
        kept = [np.arange(24) != left_out for left_out in range(24)]
        return sum(float(((ridge_by_hand(x[k], y[k], x[~k], penalty) - y[~k]) ** 2).sum()) for k in kept)

    # Below, the solution by hand loses its digits.
    penalties = penalties[_RIDGES > 1e-7]
    answers = ridge_by_hand(x, y, z, min(penalties, key=error))
    truth = data.y_held_out_BA.double().numpy()
    expected = 1 - ((truth - answers) ** 2).sum() / ((truth - truth.mean(axis=0)) ** 2).sum()
    probe = quadratic_probe if products else linear_probe
    assert probe(data) == pytest.approx(expected, abs=1e-6)
    assert expected > 0.2


def test_only_products_tell_gratings_of_random_phase():
    data = make_ladder(LadderConfig(kind="periodic", random_phase=True), seed=0)
    readings = {name: probe(data) for name, probe in PROBES.items()}
    assert readings["quadratic"] > 0.99
    assert max(readings["linear"], readings["sparse"]) < 0.1
    assert solvability_oracle(data) == readings["quadratic"]


def test_the_sparse_probe_finds_the_token_that_a_linear_one_loses():
    config = noisy(grid=(3, 64, 64), num_held_out=256)
    data = make_ladder(config, seed=4)
    assert linear_probe(data) == pytest.approx(interpolation_r2(config), abs=0.05)
    assert linear_probe(data) < 0.5
    assert sparse_probe(data) == pytest.approx(matched_filter_r2(config), abs=0.05)


@pytest.mark.parametrize("k", [1, 8])
@pytest.mark.parametrize("noise_sd", [0.05, 0.2])
def test_the_linear_probe_gets_what_is_predicted(k, noise_sd):
    config = noisy("k_tokens", noise_sd, num_changed=k, num_train=64, num_held_out=512)
    measured = np.mean([linear_probe(make_ladder(config, seed)) for seed in range(3)])
    assert measured == pytest.approx(interpolation_r2(config), abs=0.03)


@pytest.mark.parametrize(("k", "num_classes"), [(1, 2), (3, 4), (2, 7)])
def test_the_matched_filter_equals_its_simulation(k, num_classes):
    config = noisy("k_tokens", 0.3, num_changed=k, num_classes=num_classes, grid=(1, 1, 8), position="first")
    config = dataclasses.replace(config, num_held_out=7 * 3000)
    data = make_ladder(config, seed=0)
    filtered, y = data.x_held_out_BNC[:, :k, 0].mean(dim=1).double().numpy(), data.y_held_out_BA[:, 0].numpy()
    assert np.corrcoef(filtered, y)[0, 1] ** 2 == pytest.approx(matched_filter_r2(config), abs=0.02)


def test_the_bayes_rule_equals_its_integral_for_two_classes():
    """With targets of 1 and -1 half of delta away from the middle, the posterior's mean is tanh(delta t / (2 s^2))."""
    noise_sd = 0.5
    config = noisy("one_token", noise_sd, num_classes=2, grid=(1, 4, 4), num_held_out=20_000)

    def squared_error(t):
        return (1 - np.tanh(t / (2 * noise_sd**2))) ** 2 * stats.norm.pdf(t, 0.5, noise_sd)

    loss, _ = integrate.quad(squared_error, -5, 6)
    assert bayes_r2(config, seed=0) == pytest.approx(1 - loss, abs=0.01)
    assert bayes_r2(dataclasses.replace(config, scale=7.0), seed=0) == pytest.approx(1 - loss, abs=0.01)


@pytest.mark.parametrize("kind", ["one_token", "moving_blob", "periodic", "texture"])
def test_no_probe_beats_the_bayes_rule(kind):
    config = noisy(kind, 0.3, grid=(1, 32, 32), num_held_out=512)
    data = make_ladder(config, seed=3)
    best = bayes_r2(config, seed=3)
    assert 0.5 < best <= 1
    assert solvability_oracle(data) < best + 0.01


def test_closed_forms_refuse_what_they_do_not_cover():
    with pytest.raises(UserError, match="hold for one_token and k_tokens, not for texture"):
        matched_filter_r2(LadderConfig(kind="texture"))
    with pytest.raises(UserError, match="needs background=noise"):
        interpolation_r2(LadderConfig(kind="one_token"))
    for config in (LadderConfig(kind="one_token"), noisy("frames"), noisy("periodic", random_phase=True)):
        with pytest.raises(UserError, match="fixed classes in noise"):
            bayes_r2(config, 0)
