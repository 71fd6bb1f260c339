"""Trains the seeds of one arm of the claims side by side, as one batched model, until each escapes or time is up.

    outcomes = train_side_by_side(LadderConfig(kind="one_token"), PerceiverConfig(), LadderTraining(),
                                  seeds=range(10), lrs=[1e-3] * 10)

Equal, up to rounding, to training each seed alone: a seed has its own data set, initial weights and learning rate. One
that has escaped or diverged leaves the batch, so that steps become cheaper.

Shape suffixes: S seeds, B batch, N pool, O output steps (1), A outputs, P weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from smidgen.policies.latent_start import PLAIN_LOOK, LookConfig
from smidgen.policies.perceiver import Perceiver, PerceiverConfig
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import finite_or_none
from smidgen.training.optimiser import constant
from smidgen.training.windows import EpochSampler
from studies.ladder.escape import CONFIRM_STEPS, EscapeWatch, Measures, RunRecord, SeedOutcome
from studies.ladder.ladder_measures import MAX_EXAMPLES, describe, preconditioned_sharpness, unexplained_variance
from studies.ladder.side_by_side_resume import load_state, save_state
from studies.ladder.stacked_data import Examples, StackedPool
from studies.ladder.stacked_network import StackedNetwork
from studies.ladder.stacked_optimiser import StackedOptimiser
from studies.synthetic import LadderConfig, LadderData, make_ladder, solvability_oracle

SAVE_EVERY_S = 60.0
SPARSE_STRIDE = 5


@dataclass(frozen=True)
class LadderTraining:
    """The training settings of an arm. The learning rate is constant after a linear warm-up."""

    optimiser: str = field(default="adam", metadata={"help": "adam, adamw or lamb"})
    betas: tuple[float, float] = field(default=(0.9, 0.999), metadata={"help": "decay of Adam's moments"})
    weight_decay: float = field(default=0.0, metadata={"help": "weight decay"})
    batch_size: int = field(default=4, metadata={"help": "examples per step; the whole pool if it is not larger"})
    warmup_steps: int = field(default=100, metadata={"help": "linear warm-up"})
    max_steps: int = field(default=10_000, metadata={"help": "a run that has not escaped by then is censored"})
    clip_norm: float = field(default=0.0, metadata={"help": "largest gradient norm; 0: no limit"})
    measure_every: int = field(default=10, metadata={"help": "steps between two measurements of R^2"})
    confirm_steps: int = field(default=CONFIRM_STEPS, metadata={"help": "steps that R^2 must stay above 0.5"})
    stop_at_escape: bool = field(default=True, metadata={"help": "whether an escape ends a run before max_steps"})
    settle_steps: int = field(
        default=0, metadata={"help": "steps above R^2 = 0.99 that end a run which an escape does not; 0: none do"}
    )
    sparse_after: int = field(
        default=0, metadata={"help": "step after which every fifth measurement is taken; 0: all are"}
    )

    def is_measured(self, step: int) -> bool:
        """Whether R^2 is measured before a step is taken."""
        stride = self.measure_every * (SPARSE_STRIDE if 0 < self.sparse_after < step else 1)
        return step % stride == 0 or step == self.max_steps


def train_side_by_side(
    data: LadderConfig,
    network: PerceiverConfig,
    training: LadderTraining,
    seeds: Sequence[int],
    lrs: Sequence[float],
    *,
    threads: int = 1,
    resume: Path | None = None,
    sharpness_iterations: int = 0,
) -> list[SeedOutcome]:
    """Trains one network per seed.

    Args:
        data: The data set; each seed draws its own.
        network: The architecture.
        training: The rest of the arm.
        seeds: One per run; one may occur several times, with several learning rates.
        lrs: Learning rate of each run.
        threads: CPU threads.
        resume: File to which the run's state is saved about once a minute; a killed run resumes from it to the same
            outcome. It stays when the run ends, for the caller to remove once the outcomes are safe.
        sharpness_iterations: For the preconditioned sharpness of the final networks; 0: it is not measured.

    Raises:
        UserError: If the arm cannot be trained, or ``resume`` holds another run's state.
    """
    if len(seeds) != len(lrs) or not seeds:
        raise UserError(f"expected one learning rate per seed, got {len(lrs)} for {len(seeds)} seeds")
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        run = SideBySide(data, network, training, seeds, lrs, sharpness_iterations=sharpness_iterations)
        if resume is not None:
            run.load(resume)
        run.train(resume)
        return run.outcomes()
    finally:
        torch.set_num_threads(threads_before)


class SideBySide:
    """Runs in progress; those still in the batch are its rows.

    Takes what :func:`train_side_by_side` takes, ``adapt``, which may change every initial network in place, and
    ``look``: where the latents of every network start looking.

    Attributes:
        step: Steps taken.
        rows: Which run each row of the batch is.
    """

    def __init__(
        self,
        data: LadderConfig,
        network: PerceiverConfig,
        training: LadderTraining,
        seeds: Sequence[int],
        lrs: Sequence[float],
        *,
        sharpness_iterations: int = 0,
        adapt: Callable[[Perceiver], None] | None = None,
        look: LookConfig = PLAIN_LOOK,
    ) -> None:
        self.training = training
        self.sharpness_iterations = sharpness_iterations
        self.seeds, self.lrs = list(seeds), [float(lr) for lr in lrs]
        configs = {"data": asdict(data), "network": asdict(network), "training": asdict(training)}
        # Runs that began before there was a choice can resume.
        chosen = {} if look == PLAIN_LOOK else {"look": asdict(look)}
        self.settings = {**configs, **chosen, "seeds": self.seeds, "lrs": self.lrs}
        sets = {seed: make_ladder(data, seed) for seed in dict.fromkeys(self.seeds)}
        own = [sets[seed] for seed in self.seeds]
        networks = [initial_network(network, data.grid, sets[seed], seed, look) for seed in self.seeds]
        if adapt is not None:
            for each in networks:
                adapt(each)
        self.network = StackedNetwork(networks)
        frames = [_frames(d.x_BNC, data.grid) for d in own]
        self.pool = StackedPool(networks, frames, [d.y_BA for d in own], [d.labels for d in own])
        # If nothing is random, the held-out examples are those of the pool.
        self.held_out = self.pool
        if data.is_random:
            frames = [_frames(d.x_held_out_BNC, data.grid) for d in own]
            targets, labels = [d.y_held_out_BA for d in own], [d.labels_held_out for d in own]
            self.held_out = StackedPool(networks, frames, targets, labels)
        self.optimiser = StackedOptimiser(
            training.optimiser,
            self.network.weights_SP,
            self.network.sizes,
            betas=training.betas,
            weight_decay=training.weight_decay,
        )
        self.samplers = [EpochSampler(self.pool.size, training.batch_size, seed) for seed in self.seeds]
        self.step = 0
        self.rows = list(range(len(self.seeds)))
        oracle = {seed: finite_or_none(solvability_oracle(ladder)) for seed, ladder in sets.items()}
        self.records = [RunRecord(EscapeWatch(training.confirm_steps), oracle[seed]) for seed in self.seeds]

    def train(self, resume: Path | None = None) -> None:
        """Trains until no run is left in the batch."""
        saved_at = time.monotonic()
        while self.rows:
            self._take_step()
            if resume is not None and time.monotonic() - saved_at > SAVE_EVERY_S:
                self.save(resume)
                saved_at = time.monotonic()

    def outcomes(self) -> list[SeedOutcome]:
        """The result of each run, in the order of the seeds."""
        return [record.outcome(seed, lr) for seed, lr, record in zip(self.seeds, self.lrs, self.records, strict=True)]

    def save(self, path: Path) -> None:
        """Writes everything needed to continue exactly."""
        tensors = {"weights": self.network.weights_SP, **self.optimiser.state()}
        memory = {"step": self.step, "rows": self.rows, "records": [asdict(record) for record in self.records]}
        save_state(path, self.settings, tensors, memory)

    def load(self, path: Path) -> None:
        """Resumes from the file of ``save``, if it exists.

        Raises:
            UserError: If it is damaged, or another run's.
        """
        state = load_state(path, self.settings)
        if state is None:
            return
        tensors, memory = state
        self._keep(memory["rows"])
        self.network.weights_SP = tensors.pop("weights")
        self.optimiser.load_state(tensors, memory["step"])
        self.step = memory["step"]
        self.records = [RunRecord.from_json(record) for record in memory["records"]]

    def _take_step(self) -> None:
        """Measures when due, removes finished runs from the batch, and takes a step with the others."""
        examples = self._examples()
        gradient_SP, predicted_SBOA = self.network.gradient(*examples)
        if self.training.is_measured(self.step):
            staying = self._measure(predicted_SBOA, examples.target_SBOA)
            if len(staying) < len(self.rows):
                gradient_SP = gradient_SP[staying]
                self._keep([self.rows[row] for row in staying])
            if not self.rows:
                return
        if self.training.clip_norm:
            norm_S1 = torch.linalg.vector_norm(gradient_SP, dim=1, keepdim=True)
            gradient_SP = gradient_SP * (self.training.clip_norm / (norm_S1 + 1e-6)).clamp(max=1.0)
        factor = constant(self.step, self.training.max_steps, self.training.warmup_steps)
        lr_S = torch.tensor([self.lrs[run] * factor for run in self.rows])
        self.optimiser.step(self.network.weights_SP, gradient_SP, lr_S)
        self.step += 1

    def _examples(self) -> Examples:
        """The next step's: the whole pool, or each run's own draw from it."""
        if self.training.batch_size >= self.pool.size:
            return self.pool.all()
        indices = [torch.from_numpy(self.samplers[run].indices(self.step)) for run in self.rows]
        return self.pool.batch(torch.stack(indices))

    def _measure(self, predicted_SBOA: Tensor, target_SBOA: Tensor) -> list[int]:
        """Records a measurement; returns the rows whose run continues."""
        losses = (predicted_SBOA - target_SBOA).square().mean((1, 2, 3)).tolist()
        if self.held_out is not self.pool or self.training.batch_size < self.pool.size:
            held_out = self.held_out.all()
            predicted_SBOA, target_SBOA = self.network.predict(held_out.inputs), held_out.target_SBOA
        r2s = (1 - unexplained_variance(predicted_SBOA, target_SBOA)).tolist()
        going_on = []
        for row, (run, loss, r2) in enumerate(zip(self.rows, losses, r2s, strict=True)):
            record = self.records[run]
            record.steps_run = self.step
            record.diverged = not math.isfinite(loss)
            record.watch.update(self.step, loss, r2)
            if self.step == 0:
                record.initial = self._describe(row)
            if record.diverged or self._has_ended(record.watch):
                record.final = {} if record.diverged else self._describe(row)
            else:
                going_on.append(row)
        return going_on

    def _has_ended(self, watch: EscapeWatch) -> bool:
        """Whether a run that has not diverged is finished."""
        is_out_of_time = self.step >= self.training.max_steps
        if not self.training.stop_at_escape:
            return is_out_of_time or watch.has_settled(self.training.settle_steps)
        # A run that is above one half at the last step continues until it is known whether it stays there.
        return watch.escaped or (is_out_of_time and watch.above_since is None)

    def _describe(self, row: int) -> Measures:
        """The measures of one row's network in its current state."""
        index = torch.tensor([row])
        network, pool = self.network.taken(index), self.pool.taken(index)
        measures = describe(network, pool, self.held_out.taken(index))
        if self.sharpness_iterations and self.step and self.training.optimiser != "lamb":
            examples = pool.batch(torch.arange(min(pool.size, MAX_EXAMPLES))[None])
            preconditioner_SP = self.optimiser.taken(index).preconditioner()
            sharpness = preconditioned_sharpness(network, examples, preconditioner_SP, self.sharpness_iterations)
            measures["preconditioned_sharpness"] = finite_or_none(sharpness)
        return measures

    def _keep(self, runs: list[int]) -> None:
        """Keeps only these runs in the batch."""
        index = torch.tensor([self.rows.index(run) for run in runs], dtype=torch.int64)
        is_same_pool = self.held_out is self.pool
        self.network, self.optimiser = self.network.taken(index), self.optimiser.taken(index)
        self.pool = self.pool.taken(index)
        self.held_out = self.pool if is_same_pool else self.held_out.taken(index)
        self.rows = runs


def initial_network(
    config: PerceiverConfig, grid: tuple[int, int, int], data: LadderData, seed: int, look: LookConfig = PLAIN_LOOK
) -> Perceiver:
    """A network with the seed's initial weights, its input fitted on the seed's pool.

    Args:
        config: The architecture.
        grid: Frames, rows and columns of the data.
        data: The seed's data set.
        seed: Of the initial weights.
        look: Where the latents start looking, and how often they look.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        channels, features = data.x_BNC.shape[2], data.y_BA.shape[1]
        network = Perceiver(config, grid=grid, channels=channels, action_features=features, look=look)
    network.fit_input(_frames(data.x_BNC, grid))
    return network


def _frames(x_BNC: Tensor, grid: tuple[int, int, int]) -> Tensor:
    return x_BNC.unflatten(1, grid)
