from __future__ import annotations

import dataclasses
import functools
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from smidgen.policies import folded_attention
from smidgen.policies.perceiver import Perceiver, PerceiverConfig
from smidgen.runtime.errors import UserError
from smidgen.training.optimiser import build_optimiser, constant, set_learning_rate
from smidgen.training.windows import EpochSampler
from studies.ladder import side_by_side
from studies.ladder.escape import SeedOutcome
from studies.ladder.side_by_side import LadderTraining, SideBySide, train_side_by_side
from studies.synthetic import LadderConfig, make_ladder

DATA = LadderConfig(kind="one_token", grid=(2, 4, 4))
NOISY = LadderConfig(kind="one_token", grid=(2, 4, 4), background="noise", noise_sd=0.1, num_train=6, num_held_out=8)
NETWORK = PerceiverConfig(num_latents=3, latent_dim=8, num_layers=1, num_heads=2, mlp_ratio=2)
TRAINING = LadderTraining(warmup_steps=5, measure_every=2)
SEEDS, LRS = [3, 4, 5], [1e-3, 1e-2, 3e-3]
NUM_STEPS = 10


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def in_float64():
    """Rounding shall not hide behind Adam's first steps, which have full length however small a gradient is."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def train_alone(
    data: LadderConfig, network: PerceiverConfig, training: LadderTraining, seed: int, lr: float
) -> tuple[Tensor, list[float]]:
    """A plain loop over a plain Perceiver: weights after the steps, and the losses."""
    ladder = make_ladder(data, seed)
    frames = ladder.x_BNC.unflatten(1, data.grid)
    torch.manual_seed(seed)
    channels, outputs = ladder.x_BNC.shape[2], ladder.y_BA.shape[1]
    perceiver = Perceiver(network, grid=data.grid, channels=channels, action_features=outputs)
    perceiver.fit_input(frames)
    parameters = list(perceiver.parameters())
    optimiser = build_optimiser(
        training.optimiser, parameters, lr=lr, betas=training.betas, weight_decay=training.weight_decay
    )
    sampler = EpochSampler(len(frames), training.batch_size, seed)
    losses = []
    for step in range(NUM_STEPS):
        batch = torch.arange(len(frames))
        if training.batch_size < len(frames):
            batch = torch.from_numpy(sampler.indices(step))
        loss = functional.mse_loss(perceiver(frames[batch])[:, 0], ladder.y_BA[batch].to(parameters[0].dtype))
        optimiser.zero_grad()
        loss.backward()
        if training.clip_norm:
            torch.nn.utils.clip_grad_norm_(parameters, training.clip_norm)
        set_learning_rate(optimiser, lr * constant(step, NUM_STEPS, training.warmup_steps))
        optimiser.step()
        losses.append(loss.item())
    return torch.cat([parameter.detach().flatten() for parameter in parameters]), losses


def train_together(
    data: LadderConfig, network: PerceiverConfig, training: LadderTraining
) -> tuple[Tensor, list[list[float]]]:
    run = SideBySide(data, network, dataclasses.replace(training, measure_every=1, confirm_steps=10**6), SEEDS, LRS)
    while run.step < NUM_STEPS:
        run._take_step()
    return run.network.weights_SP, [[loss for _, loss, _ in record.watch.curve] for record in run.records]


def assert_equal_to_alone(
    data: LadderConfig, network: PerceiverConfig, training: LadderTraining, tolerance: float
) -> None:
    weights_SP, losses = train_together(data, network, training)
    for row, (seed, lr) in enumerate(zip(SEEDS, LRS, strict=True)):
        alone_P, losses_alone = train_alone(data, network, training, seed, lr)
        assert (weights_SP[row] - alone_P).abs().max() < tolerance
        assert losses[row] == pytest.approx(losses_alone, rel=tolerance)
        # What is compared must have moved.
        assert losses_alone[-1] != pytest.approx(losses_alone[0], rel=1e-3)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("position_encoding", ["per_axis", "one_d"])
@pytest.mark.parametrize("input_layer_norm", [True, False])
@pytest.mark.parametrize("transform", ["raw", "dft1d", "dft3d"])
def test_equals_each_seed_alone(transform: str, input_layer_norm: bool, position_encoding: str) -> None:
    network = dataclasses.replace(
        NETWORK,
        transform=transform,
        input_layer_norm=input_layer_norm,
        position_encoding=position_encoding,
        standardise_after="token",
    )
    assert_equal_to_alone(DATA, network, TRAINING, 1e-9)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("transform", ["conv_stem", "patches", "learned_orthogonal"])
def test_equals_each_seed_alone_where_the_input_is_learned(transform: str) -> None:
    network = dataclasses.replace(NETWORK, transform=transform, standardise_before="centre", standardise_after="global")
    data = dataclasses.replace(DATA, grid=(2, 8, 8))
    assert_equal_to_alone(data, network, TRAINING, 1e-8)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(
    "changes",
    [
        {"optimiser": "adam", "betas": (0.999, 0.999)},
        {"optimiser": "adam", "betas": (0.99, 0.999), "weight_decay": 0.1},
        {"optimiser": "adamw", "weight_decay": 0.1},
        {"optimiser": "lamb"},
        {"optimiser": "lamb", "weight_decay": 0.1},
        {"clip_norm": 0.1},
    ],
)
def test_every_optimiser_equals_the_plain_one_on_batches_of_a_pool(changes: dict[str, object]) -> None:
    network = dataclasses.replace(NETWORK, position_encoding="permuted")
    assert_equal_to_alone(NOISY, network, dataclasses.replace(TRAINING, **changes), 1e-9)


def test_positions_projected_by_fft_equal_each_seed_alone() -> None:
    network = dataclasses.replace(NETWORK, position_encoding="one_d", num_latents=2)
    data = dataclasses.replace(DATA, grid=(1, 32, 33))
    weights_SP, losses = train_together(data, network, TRAINING)
    perceiver = SideBySide(data, network, TRAINING, [0], [1.0]).network.network.perceiver
    assert perceiver.encoder.attention.positions.axes[0].uses_fft
    for row, (seed, lr) in enumerate(zip(SEEDS, LRS, strict=True)):
        assert losses[row] == pytest.approx(train_alone(data, network, TRAINING, seed, lr)[1], rel=2e-3)
    assert weights_SP.isfinite().all()


def test_several_small_blocks_of_scores_equal_one(monkeypatch: pytest.MonkeyPatch) -> None:
    _, whole = train_together(NOISY, NETWORK, TRAINING)
    for block_scores in (1, 2 * 3 * 32 * TRAINING.batch_size):
        monkeypatch.setattr(folded_attention, "CPU_BLOCK_SCORES", block_scores)
        _, parts = train_together(NOISY, NETWORK, TRAINING)
        torch.testing.assert_close(torch.tensor(parts), torch.tensor(whole), rtol=1e-3, atol=0.0)


@functools.cache
def escaping() -> tuple[tuple[object, ...], list[SeedOutcome]]:
    """Runs of which some escape, one diverges and one stays."""
    network = dataclasses.replace(NETWORK, standardise_before="token")
    training = dataclasses.replace(TRAINING, max_steps=100, confirm_steps=10)
    arm = (DATA, network, training, [0, 1, 1, 2], [1e-2, 1e-2, 1e-9, 1e18])
    return arm, train_side_by_side(*arm)


def test_escaped_and_diverged_runs_leave_and_others_are_censored() -> None:
    arm, outcomes = escaping()
    first, second, still, diverged = outcomes
    for outcome in (first, second):
        assert outcome.escape_step is not None
        assert outcome.steps_run == outcome.escape_step + 10 < 100
        assert all(r2 > 0.5 for step, _, r2 in outcome.curve if step >= outcome.escape_step)
        assert outcome.final["fvu_held_out"] < 0.5 < outcome.initial["fvu_held_out"]
    assert (still.escape_step, still.steps_run, still.diverged) == (None, 100, False)
    assert (diverged.escape_step, diverged.diverged, diverged.final) == (None, True, {})
    assert diverged.steps_run < 100
    assert diverged.final_loss is None
    assert [outcome.lr for outcome in outcomes] == arm[4]
    assert [outcome.oracle_r2 for outcome in outcomes] == pytest.approx([1.0] * 4)


def test_the_outcome_is_the_same_from_run_to_run_and_as_json() -> None:
    arm, outcomes = escaping()
    again = train_side_by_side(*arm)
    assert again == outcomes
    assert [SeedOutcome.from_json(outcome.as_json()) for outcome in again] == outcomes


class Killed(Exception):
    pass


@pytest.mark.parametrize("at_step", [0, 40])
def test_a_killed_run_goes_on_to_the_same_outcome(at_step: int, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    arm, outcomes = escaping()
    take_step = SideBySide._take_step

    def killed_later(run: SideBySide) -> None:
        if run.step == at_step:
            raise Killed
        take_step(run)

    monkeypatch.setattr(side_by_side, "SAVE_EVERY_S", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(SideBySide, "_take_step", killed_later)
        with pytest.raises(Killed):
            train_side_by_side(*arm, resume=tmp_path / "run")
    steps = []
    monkeypatch.setattr(SideBySide, "_take_step", lambda run: (steps.append(run.step), take_step(run)))
    assert train_side_by_side(*arm, resume=tmp_path / "run") == outcomes
    assert steps[0] == at_step


def test_a_state_of_other_settings_or_none_at_all_is_refused(tmp_path) -> None:
    arm, _ = escaping()
    run = SideBySide(*arm)
    run.save(tmp_path / "run")
    with pytest.raises(UserError, match="other settings"):
        SideBySide(*arm[:4], [1.0] * 4).load(tmp_path / "run")
    (tmp_path / "run").write_bytes(b"damaged")
    with pytest.raises(UserError, match="is not a run's state"):
        run.load(tmp_path / "run")


def test_a_run_above_one_half_at_the_last_step_goes_on_until_it_is_known_whether_it_stays() -> None:
    arm, outcomes = escaping()
    escape_step = outcomes[0].escape_step
    training = dataclasses.replace(arm[2], max_steps=escape_step + 2)
    again = train_side_by_side(*arm[:2], training, *arm[3:])[0]
    assert (again.escape_step, again.steps_run) == (escape_step, escape_step + 10)


def test_noisy_backgrounds_are_measured_on_held_out_examples() -> None:
    training = dataclasses.replace(TRAINING, max_steps=4)
    run = SideBySide(NOISY, NETWORK, training, [0, 1], [1e-3, 1e-3])
    ladder = make_ladder(NOISY, 1)
    network = run.network.network.perceiver
    with torch.no_grad():
        for name, parameter in run.network.by_parameter(run.network.weights_SP).items():
            network.get_parameter(name.removeprefix("perceiver.")).copy_(parameter[1])
        predicted = network(ladder.x_held_out_BNC.unflatten(1, NOISY.grid))[:, 0]
    error = (predicted - ladder.y_held_out_BA).square().sum()
    total = (ladder.y_held_out_BA - ladder.y_held_out_BA.mean(0)).square().sum()
    outcome = train_side_by_side(NOISY, NETWORK, training, [0, 1], [1e-3, 1e-3])[1]
    assert outcome.curve[0][2] == pytest.approx(float(1 - error / total), abs=1e-5)
    assert outcome.initial["fvu_held_out"] == pytest.approx(float(error / total), abs=1e-5)
    assert outcome.initial["separation_ratio"] > 0
    assert math.isfinite(outcome.initial["gradient_snr"])


def test_a_rate_for_every_seed_is_required() -> None:
    with pytest.raises(UserError, match="one learning rate per seed"):
        train_side_by_side(DATA, NETWORK, TRAINING, SEEDS, [1.0])


def test_unknown_optimiser_lists_the_valid_ones() -> None:
    with pytest.raises(UserError, match="adam, adamw, lamb"):
        SideBySide(DATA, NETWORK, dataclasses.replace(TRAINING, optimiser="sgdd"), SEEDS, LRS)
