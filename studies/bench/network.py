"""Benchmarks of the network: training step, its memory and growth, the transforms' share, and latency."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable
from typing import Concatenate, ParamSpec

import torch

from smidgen.policies.learned_policy import one_thread
from smidgen.policies.perceiver import Perceiver
from smidgen.policies.standardise import STANDARDISERS
from smidgen.policies.transforms import TRANSFORMS
from studies.bench.config import BenchConfig
from studies.bench.peers import OURS, TrainingStep, absent, has_peer
from studies.bench.record import Measurement, make_measurement
from studies.bench.timing import alternate, call_ms, peak_above_idle_mb, percentile

Rest = ParamSpec("Rest")

STEP_PEERS = ("perceiver-pytorch", "transformers")
NO_GOALS = ("", "")
STEP_GOALS = {
    "perceiver-pytorch": ("ratio >= 6", "ratio >= 10"),
    "transformers": ("ratio >= 5", "ratio >= 8"),
}


def with_threads(
    function: Callable[Concatenate[BenchConfig, Rest], list[Measurement]],
) -> Callable[Concatenate[BenchConfig, Rest], list[Measurement]]:
    """Runs a benchmark on ``config.threads`` PyTorch threads and restores their number."""

    @functools.wraps(function)
    def measured(config: BenchConfig, *rest: Rest.args, **options: Rest.kwargs) -> list[Measurement]:
        before = torch.get_num_threads()
        torch.set_num_threads(config.threads)
        try:
            return function(config, *rest, **options)
        finally:
            torch.set_num_threads(before)

    return measured


@with_threads
def train_step(config: BenchConfig) -> list[Measurement]:
    """Forward, backward and Adam on one batch, on the CPU and, where there is one, on a GPU."""
    return [*_step_rows(config, "cpu"), _latent_stack_row(config), *_gpu_rows(config)]


def _step_rows(config: BenchConfig, device: str) -> list[Measurement]:
    names = [OURS, *(peer for peer in STEP_PEERS if has_peer(peer))]
    steps = {name: TrainingStep(name, config.batch_size, config.image_size, device=device) for name in names}
    seconds = alternate(steps, config.repeats, config.least_s)
    rows = []
    for peer, goals in STEP_GOALS.items():
        theirs = seconds[peer] * 1e3 if peer in seconds else None
        name = f"train_step: {device}, against {peer}"
        note = "" if peer in seconds else absent(peer)
        goals = goals if device == "cpu" else NO_GOALS
        rows.append(make_measurement(name, "ms", seconds[OURS] * 1e3, theirs, peer=peer, goals=goals, note=note))
    return rows


def _gpu_rows(config: BenchConfig) -> list[Measurement]:
    if not torch.cuda.is_available():
        note = "no CUDA device here; on a machine with one: make bench BENCH=train_step"
        return [make_measurement("train_step: cuda", "ms", None, peer="perceiver-pytorch", note=note)]
    return _step_rows(config, "cuda")


def _latent_stack_row(config: BenchConfig) -> Measurement:
    """Bytes to latents (the cross-attention and its MLP) against the latent layers and the decoder."""
    network = TrainingStep(OURS, config.batch_size, config.image_size).network
    assert isinstance(network, Perceiver)
    frames = torch.randint(0, 256, (config.batch_size, *network.frame_shape), dtype=torch.uint8)
    latents = torch.randn(config.batch_size, network.config.num_latents, network.config.latent_dim, requires_grad=True)

    def attend() -> None:
        network.encoder(network.input_pipeline(network.tokens(frames))).sum().backward()

    def think() -> None:
        inner = latents
        for layer in network.layers:
            inner = layer(inner)
        network.decoder(inner).sum().backward()

    seconds = alternate({"attend": attend, "think": think}, config.repeats, config.least_s)
    name = "train_step: cross-attention against our own latent stack"
    times = (seconds["attend"] * 1e3, seconds["think"] * 1e3)
    return make_measurement(
        name, "ms", *times, peer="latent layers and decoder", goals=("", "ratio >= 1"), note="forward and backward"
    )


def train_memory(config: BenchConfig) -> list[Measurement]:
    """Peak memory of a training step above the idle process, each in processes of its own."""
    sizes = (config.batch_size, config.image_size, config.threads)
    installed = [OURS, *(peer for peer in STEP_PEERS if has_peer(peer))]
    peaks: dict[str, list[float]] = {name: [] for name in installed}
    for _ in range(min(config.repeats, 3)):
        for name in installed:
            peaks[name].append(peak_above_idle_mb(name, *sizes))
    median = {name: statistics.median(values) for name, values in peaks.items()}
    rows = []
    for peer in STEP_PEERS:
        goals = ("ratio >= 4", "ratio >= 10") if peer == "perceiver-pytorch" else NO_GOALS
        note = "" if peer in median else absent(peer)
        name = f"train_memory: peak above idle, against {peer}"
        rows.append(make_measurement(name, "MB", median[OURS], median.get(peer), peer=peer, goals=goals, note=note))
    return rows


@with_threads
def growth(config: BenchConfig) -> list[Measurement]:
    """How the step's time grows with tokens (four times twice) and with bands (1 to 128 an axis)."""
    sides = [config.image_size // 2, config.image_size, config.image_size * 2]
    tokens = {side: TrainingStep(OURS, config.batch_size, side) for side in sides}
    by_side = alternate({str(side): step for side, step in tokens.items()}, config.repeats, config.least_s)
    del tokens
    bands = {count: TrainingStep(OURS, config.batch_size, config.image_size, count) for count in (1, 6, 16, 64, 128)}
    by_band = alternate({str(count): step for count, step in bands.items()}, config.repeats, config.least_s)
    del bands
    rows = [make_measurement(f"growth: {3 * side * side:,} tokens", "ms", by_side[str(side)] * 1e3) for side in sides]
    low, high = by_side[str(sides[0])], by_side[str(sides[2])]
    goals = ("ours <= 17.6", "")
    rows.append(make_measurement("growth: 16 times the tokens", "x time", high / low, goals=goals, note="linear: 16"))
    rows += [make_measurement(f"growth: {count} bands an axis", "ms", time * 1e3) for count, time in by_band.items()]
    return [*rows, *_band_growth_rows(config, by_band)]


def _band_growth_rows(config: BenchConfig, by_band: dict[str, float]) -> list[Measurement]:
    """Growth in bands as a factor; the peer at two points and on a quarter of the batch, because it takes gigabytes."""
    flat = make_measurement(
        "growth: 1 to 128 bands", "x time", by_band["128"] / by_band["1"], goals=("", "ours <= 1.1"), note="flat: 1"
    )
    ours = by_band["64"] / by_band["6"]
    peer, name, goals = "perceiver-pytorch", "growth: 6 to 64 bands", ("", "ours <= 1.1")
    if not has_peer(peer):
        return [flat, make_measurement(name, "x time", ours, peer=peer, goals=goals, note=absent(peer))]
    batch = max(1, config.batch_size // 4)
    steps = {str(bands): TrainingStep(peer, batch, config.image_size, bands) for bands in (6, 64)}
    seconds = alternate(steps, min(config.repeats, 3), config.least_s)
    theirs = seconds["64"] / seconds["6"]
    note = f"the peer on a batch of {batch}"
    return [flat, make_measurement(name, "x time", ours, theirs, peer=peer, goals=goals, note=note)]


@with_threads
def transforms(config: BenchConfig) -> list[Measurement]:
    """Each input transform's share of a training step, with every standardisation after it.

    Of its own step, or of the raw pixels' where that is longer: a transform that leaves few tokens shortens its own.
    """
    sizes = (config.batch_size, config.image_size)
    raw = {after: TrainingStep(OURS, *sizes, standardise_after=after) for after in STANDARDISERS}
    return [_transform_row(config, transform, after, step) for transform in TRANSFORMS for after, step in raw.items()]


def _transform_row(config: BenchConfig, transform: str, after: str, raw: TrainingStep) -> Measurement:
    sizes = (config.batch_size, config.image_size)
    own = TrainingStep(OURS, *sizes, transform=transform, standardise_after=after)
    network = own.network
    assert isinstance(network, Perceiver)
    tokens = network.tokens(own.frames)
    pipeline = network.input_pipeline

    gradient = torch.ones_like(pipeline(tokens).detach())

    def transformed() -> None:
        # Of a transform with parameters, training goes back through it as well.
        with torch.set_grad_enabled(pipeline.transform.is_learned):
            z = pipeline(tokens)
        if pipeline.transform.is_learned:
            z.backward(gradient)

    seconds = alternate({"raw": raw, "own": own, "pipeline": transformed}, config.repeats, config.least_s)
    step_s = max(seconds["raw"], seconds["own"])
    share_percent = 100.0 * seconds["pipeline"] / step_s
    name = f"transforms: {transform}, standardised after: {after}"
    note = f"of a step of {step_s * 1e3:.0f} ms" + (" (raw pixels)" if step_s > seconds["own"] else "")
    return make_measurement(name, "% of step", share_percent, goals=("ours <= 5", ""), note=note)


def latency(config: BenchConfig) -> list[Measurement]:
    """One observation through the network on one thread, median and 99th percentile."""
    peer = "perceiver-pytorch"
    names = [OURS, *([peer] if has_peer(peer) else [])]
    steps = {name: TrainingStep(name, 1, config.image_size) for name in names}
    for step in steps.values():
        step.network.eval()
    with one_thread(), torch.inference_mode():
        predictors = {name: step.predictor() for name, step in steps.items()}
        for predict in predictors.values():
            predict()
        times_ms: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(config.repeats):
            for name in names:
                times_ms[name] += [call_ms(predictors[name]) for _ in range(config.latency_calls)]
    note = "" if peer in predictors else absent(peer)
    rows = []
    for part, aim in ((50, ""), (99, "ours <= 25")):
        figures = [percentile(times_ms[name], part) for name in names]
        name = f"latency: one observation, one thread, p{part}"
        rows.append(make_measurement(name, "ms", *figures, peer=peer, goals=("ratio >= 5", aim), note=note))
    return rows
