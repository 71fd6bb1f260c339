"""Can a data set be solved at all? Closed-form probes, fitted only on its pool, tell stuck from impossible.

- ``linear``: ridge regression on the raw tokens, through the Gram matrix.
- ``sparse``: ridge regression on the few tokens that go best with a target, for a change that hides among many tokens:
  ridge regression on all of them loses it once the noise of N tokens in B examples, ``s^2 N / B``, exceeds it.
- ``quadratic``: ridge regression on all products of two tokens, for a target that no single token goes with (gratings
  of random phase); their inner products are the squares of the Gram matrix's entries.

Beside them, for a noisy background: what to expect of the linear probe (:func:`interpolation_r2`), and what the very
best rules get, :func:`matched_filter_r2` in closed form and :func:`bayes_r2` on the held-out examples themselves.

Axes: B examples of the pool, D held out, N tokens, C channels, F = N C inputs, A target coordinates, K classes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import linalg, special

from smidgen.runtime.errors import UserError
from studies.synthetic.config import LadderConfig
from studies.synthetic.ladder import LadderData, make_ladder, make_rung, standardised_values
from studies.synthetic.rungs import DELTA, Array

# A policy has escaped when its R^2 is above 0.5; a data set counts as solvable with room to spare above that.
SOLVABLE_R2 = 0.75

# Multiples of the Gram matrix's largest eigenvalue.
_RIDGES = np.logspace(-12, 2, 57)
_SPARSE_COUNTS = (1, 2, 4, 8, 16, 32, 64)
_BLOCK = 4096


def solvability_oracle(data: LadderData) -> float:
    """R^2 on the held-out examples of the best of :data:`PROBES`; a data set is solvable above ``SOLVABLE_R2``."""
    return max(probe(data) for probe in PROBES.values())


def linear_probe(data: LadderData) -> float:
    """R^2 on the held-out examples of ridge regression on the raw tokens, the ridge chosen by leave-one-out."""
    x_BF, x_DF, y_BA, y_DA = _arrays(data)
    return _ridge_r2(_inner(x_BF, x_BF), _inner(x_DF, x_BF), y_BA, y_DA, _ridges(data))


def quadratic_probe(data: LadderData) -> float:
    """R^2 on the held-out examples of ridge regression on all products of two tokens (about the pool's mean)."""
    x_BF, x_DF, y_BA, y_DA = _arrays(data)
    return _ridge_r2(_inner(x_BF, x_BF) ** 2, _inner(x_DF, x_BF) ** 2, y_BA, y_DA, _ridges(data))


def sparse_probe(data: LadderData) -> float:
    """R^2 on the held-out examples of ridge regression on the tokens that correlate best with a target.

    Their number is the one whose choice and fit on one half of the pool serve the other half best; a pool of one
    example a class cannot be halved, and takes the largest number.
    """
    x_BF, x_DF, y_BA, y_DA = _arrays(data)
    ranked = _most_correlated(x_BF, y_BA)
    counts = [count for count in _SPARSE_COUNTS if count <= len(ranked)]
    if data.held_out_is_pool:
        return _sparse_r2(x_BF, y_BA, x_DF, y_DA, ranked[: counts[-1]], _ridges(data))
    half = len(x_BF) // 2
    scores = dict.fromkeys(counts, 0.0)
    for fitted, other in ((slice(half), slice(half, None)), (slice(half, None), slice(half))):
        ranked_in_half = _most_correlated(x_BF[fitted], y_BA[fitted])
        for count in counts:
            chosen = ranked_in_half[:count]
            scores[count] += _sparse_r2(x_BF[fitted], y_BA[fitted], x_BF[other], y_BA[other], chosen, _RIDGES)
    return _sparse_r2(x_BF, y_BA, x_DF, y_DA, ranked[: max(counts, key=scores.__getitem__)], _RIDGES)


PROBES: dict[str, Callable[[LadderData], float]] = {
    "linear": linear_probe,
    "sparse": sparse_probe,
    "quadratic": quadratic_probe,
}


def matched_filter_r2(config: LadderConfig) -> float:
    """R^2 of the best linear rule that knows which tokens change: ``v / (v + s^2 / k)``.

    Here v is the variance of the K values, ``DELTA^2 (K + 1) / (12 (K - 1))``, s the noise's deviation and k the number
    of tokens that change; the number of tokens does not matter.

    Raises:
        UserError: If the rung is neither ``one_token`` nor ``k_tokens``.
    """
    variance = _value_variance(config)
    return variance / (variance + config.noise_sd**2 / config.num_changed)


def interpolation_r2(config: LadderConfig) -> float:
    """R^2 to expect of the linear rule of least length that meets B examples of N tokens, many more than B.

    In the Gram matrix noise is ``s^2 N`` times the identity, the signal ``v k B`` along the targets; so the rule keeps
    the share ``a = v k B / (v k B + s^2 N)`` of the signal, with the noise of the changed tokens, ``a^2 s^2 / (v k)``,
    and of all others, ``(1 - a)^2 B / N``, on top: ``R^2 = 1 - (1 - a)^2 (1 + B / N) - a^2 s^2 / (v k)``.

    Raises:
        UserError: If the rung is neither ``one_token`` nor ``k_tokens``, or there is no noise.
    """
    if config.background != "noise":
        raise UserError("what a linear rule loses to noise needs background=noise")
    signal, noise = _value_variance(config) * config.num_changed, config.noise_sd**2
    tokens_per_example = config.num_tokens / config.pool_sizes[0]
    kept = signal / (signal + noise * tokens_per_example)
    return 1 - (1 - kept) ** 2 * (1 + 1 / tokens_per_example) - kept**2 * noise / signal


def _value_variance(config: LadderConfig) -> float:
    if config.kind not in ("one_token", "k_tokens"):
        raise UserError(f"the closed forms hold for one_token and k_tokens, not for {config.kind}")
    return DELTA**2 * (config.num_classes + 1) / (12 * (config.num_classes - 1))


def bayes_r2(config: LadderConfig, seed: int) -> float:
    """R^2 on a seed's held-out examples of the optimal rule, which knows every class's tokens and the noise.

    It answers with the mean of the targets under the posterior over classes,
    ``p(c | x) ~ exp(-|x - x_c|^2 / (2 s^2))``.

    Raises:
        UserError: If there is no noise, or examples of a class differ in more than noise.
    """
    if config.background != "noise" or config.random_phase or config.kind == "frames":
        raise UserError("the Bayes rule is known only for fixed classes in noise: set background=noise")
    data, rung = make_ladder(config, seed), make_rung(config, seed)
    classes_K = np.arange(config.num_classes)
    x_KF = config.scale * rung.draw(classes_K, np.random.default_rng()).reshape(config.num_classes, -1)
    x_DF = data.x_held_out_BNC.flatten(1).numpy()
    distances_DK = np.stack([((x_DF - x_F) ** 2).sum(axis=1, dtype=np.float64) for x_F in x_KF], axis=1)
    posterior_DK = special.softmax(-distances_DK / (2 * (config.scale * config.noise_sd) ** 2), axis=1)
    answers_DA = posterior_DK @ standardised_values(rung.values_KA, classes_K)
    return _r2(data.y_held_out_BA.numpy().astype(np.float64), answers_DA)


def _arrays(data: LadderData) -> tuple[Array, Array, Array, Array]:
    """Tokens of pool and held-out about the pool's mean, and the targets of both."""
    x_BF, x_DF = data.x_BNC.flatten(1).numpy(), data.x_held_out_BNC.flatten(1).numpy()
    mean_F = x_BF.mean(axis=0, dtype=np.float64).astype(np.float32)
    y_BA, y_DA = (y.numpy().astype(np.float64) for y in (data.y_BA, data.y_held_out_BA))
    return x_BF - mean_F, x_DF - mean_F, y_BA, y_DA


def _ridges(data: LadderData) -> Array:
    """Leaving out the only example of a class cannot rank the ridges; the smallest is taken then."""
    return _RIDGES[:1] if data.held_out_is_pool else _RIDGES


def _inner(x_DF: Array, x_BF: Array) -> Array:
    """Inner products in float64, without a float64 copy of all tokens."""
    starts = range(0, x_BF.shape[1], _BLOCK)
    blocks = ((x_DF[:, i : i + _BLOCK].astype(np.float64), x_BF[:, i : i + _BLOCK].astype(np.float64)) for i in starts)
    return sum((left @ right.T for left, right in blocks), np.zeros((len(x_DF), len(x_BF))))


def _most_correlated(x_BF: Array, y_BA: Array) -> Array:
    """Inputs in falling order of their best correlation with a target, as many as the sparse probe can use."""
    covariance_FA = np.abs(x_BF.T @ (y_BA - y_BA.mean(axis=0)).astype(np.float32))
    deviation_F = x_BF.std(axis=0)
    correlation_F = covariance_FA.max(axis=1) / np.where(deviation_F > 0, deviation_F, np.inf)
    return np.argsort(-correlation_F, kind="stable")[: _SPARSE_COUNTS[-1]]


def _sparse_r2(x_BF: Array, y_BA: Array, x_DF: Array, y_DA: Array, chosen: Array, ridges: Array) -> float:
    x_BF, x_DF = x_BF[:, chosen], x_DF[:, chosen]
    return _ridge_r2(_inner(x_BF, x_BF), _inner(x_DF, x_BF), y_BA, y_DA, ridges)


def _ridge_r2(gram_BB: Array, gram_DB: Array, y_BA: Array, y_DA: Array, ridges: Array) -> float:
    """Kernel ridge regression with an intercept; leave-one-out residuals are ``(y - H y) / (1 - diag H)``.

    All is done in the space of vectors that sum to 0, where the intercept is out of the way and ``I - H`` is a sum of
    positive terms: with a small ridge both sides of the quotient are tiny.

    Source: T. Hastie, R. Tibshirani, J. Friedman, The Elements of Statistical Learning, section 7.10.
    """
    basis_BE = linalg.helmert(len(y_BA)).T
    eigenvalues_E, rotation_EE = linalg.eigh(basis_BE.T @ gram_BB @ basis_BE)
    vectors_BE = basis_BE @ rotation_EE
    eigenvalues_E = eigenvalues_E.clip(min=0)
    ridges = ridges * max(eigenvalues_E[-1], np.finfo(np.float64).tiny)
    coordinates_EA = vectors_BE.T @ y_BA

    def leave_one_out_error(ridge: float) -> float:
        lost_E = ridge / (eigenvalues_E + ridge)
        residual_BA = vectors_BE @ (lost_E[:, None] * coordinates_EA)
        return float(((residual_BA / (vectors_BE**2 @ lost_E)[:, None]) ** 2).sum())

    best = min(ridges, key=leave_one_out_error)
    weights_BA = vectors_BE @ (coordinates_EA / (eigenvalues_E + best)[:, None])
    return _r2(y_DA, y_BA.mean(axis=0) + (gram_DB - gram_BB.mean(axis=0)) @ weights_BA)


def _r2(y_DA: Array, answers_DA: Array) -> float:
    return 1 - float(((y_DA - answers_DA) ** 2).sum() / ((y_DA - y_DA.mean(axis=0)) ** 2).sum())
