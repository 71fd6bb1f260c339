"""Can a data set be solved at all? Probes in closed form, fitted on its pool alone: stuck must not mean impossible.

- ``linear``: ridge regression on the raw tokens, through the Gram matrix.
- ``sparse``: ridge regression on the few tokens that go best with a target, for a change that hides among many tokens:
  the ridge on all of them needs a signal of about ``noise_sd^2 sqrt(N / B)``, far more than whoever knows that few
  tokens matter.
- ``quadratic``: ridge regression on all products of two tokens, for a target that no single token goes with (gratings
  of random phase); their inner products are the squares of the Gram matrix's entries.

Beside them, what the very best rule gets on a noisy background: :func:`matched_filter_r2` in closed form and
:func:`bayes_r2` on the held-out examples themselves.

Axes: B examples of the pool, D held out, N tokens, C channels, F = N C inputs, A target coordinates, K classes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import special

from smidgen.data_collection.synthetic.config import LadderConfig
from smidgen.data_collection.synthetic.ladder import LadderData, make_ladder, make_rung, standardised_values
from smidgen.data_collection.synthetic.rungs import DELTA, Array
from smidgen.runtime.errors import UserError

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
    half = len(x_BF) // 2
    counts = [count for count in _SPARSE_COUNTS if count <= x_BF.shape[1]]
    if data.held_out_is_pool:
        counts = counts[-1:]
    halves = (slice(None, half), slice(half, None))

    def score(count: int) -> float:
        return sum(
            _sparse_r2(x_BF[fitted], y_BA[fitted], x_BF[other], y_BA[other], count, _RIDGES)
            for fitted, other in (halves, halves[::-1])
        )

    best = max(counts, key=score) if len(counts) > 1 else counts[0]
    return _sparse_r2(x_BF, y_BA, x_DF, y_DA, best, _ridges(data))


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
    if config.kind not in ("one_token", "k_tokens"):
        raise UserError(f"the matched filter has a closed form for one_token and k_tokens, not for {config.kind}")
    variance = DELTA**2 * (config.num_classes + 1) / (12 * (config.num_classes - 1))
    return variance / (variance + config.noise_sd**2 / config.num_changed)


def bayes_r2(config: LadderConfig, seed: int) -> float:
    """R^2 on a seed's held-out examples of the best rule of all, which knows every class's tokens and the noise.

    It answers with the mean of the targets under the posterior over classes,
    ``p(c | x) ~ exp(-|x - x_c|^2 / (2 s^2))``.

    Raises:
        UserError: If there is no noise, or examples of a class differ in more than noise.
    """
    if config.background != "noise" or config.random_phase or config.kind == "frames":
        raise UserError("the Bayes rule is known where fixed classes stand in noise: set background=noise")
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
    """Leaving out the one example of a class leaves nothing to judge a ridge by: there the smallest is taken."""
    return _RIDGES[:1] if data.held_out_is_pool else _RIDGES


def _inner(x_DF: Array, x_BF: Array) -> Array:
    """Inner products in float64, without a float64 copy of all tokens."""
    starts = range(0, x_BF.shape[1], _BLOCK)
    blocks = ((x_DF[:, i : i + _BLOCK].astype(np.float64), x_BF[:, i : i + _BLOCK].astype(np.float64)) for i in starts)
    return sum((left @ right.T for left, right in blocks), np.zeros((len(x_DF), len(x_BF))))


def _sparse_r2(x_BF: Array, y_BA: Array, x_DF: Array, y_DA: Array, count: int, ridges: Array) -> float:
    covariance_FA = np.abs(x_BF.T @ (y_BA - y_BA.mean(axis=0)).astype(np.float32))
    deviation_F = x_BF.std(axis=0)
    correlation_F = covariance_FA.max(axis=1) / np.where(deviation_F > 0, deviation_F, np.inf)
    chosen = np.argsort(-correlation_F, kind="stable")[:count]
    x_BF, x_DF = x_BF[:, chosen], x_DF[:, chosen]
    return _ridge_r2(_inner(x_BF, x_BF), _inner(x_DF, x_BF), y_BA, y_DA, ridges)


def _ridge_r2(gram_BB: Array, gram_DB: Array, y_BA: Array, y_DA: Array, ridges: Array) -> float:
    """Kernel ridge regression with an intercept; leave-one-out residuals are ``(y - H y) / (1 - diag H)``.

    Source: T. Hastie, R. Tibshirani, J. Friedman, The Elements of Statistical Learning, section 7.10.
    """
    column_mean_B = gram_BB.mean(axis=0)
    centred_BB = gram_BB - column_mean_B - column_mean_B[:, None] + gram_BB.mean()
    centred_DB = gram_DB - column_mean_B - gram_DB.mean(axis=1, keepdims=True) + gram_BB.mean()
    eigenvalues_B, vectors_BB = np.linalg.eigh(centred_BB)
    eigenvalues_B = eigenvalues_B.clip(min=0)
    ridges = ridges * max(eigenvalues_B[-1], np.finfo(np.float64).tiny)
    mean_A = y_BA.mean(axis=0)
    coordinates_BA = vectors_BB.T @ (y_BA - mean_A)

    def leave_one_out_error(ridge: float) -> float:
        kept_B = eigenvalues_B / (eigenvalues_B + ridge)
        leverage_B = (vectors_BB**2) @ kept_B + 1 / len(y_BA)
        residual_BA = y_BA - mean_A - vectors_BB @ (kept_B[:, None] * coordinates_BA)
        return float(((residual_BA / (1 - leverage_B).clip(min=1e-9)[:, None]) ** 2).sum())

    best = min(ridges, key=leave_one_out_error)
    weights_BA = vectors_BB @ (coordinates_BA / (eigenvalues_B + best)[:, None])
    return _r2(y_DA, mean_A + centred_DB @ weights_BA)


def _r2(y_DA: Array, answers_DA: Array) -> float:
    return 1 - float(((y_DA - answers_DA) ** 2).sum() / ((y_DA - y_DA.mean(axis=0)) ** 2).sum())
