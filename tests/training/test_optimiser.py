from __future__ import annotations

import pytest
import safetensors.torch
import torch

from smidgen.runtime.errors import UserError
from smidgen.training.optimiser import (
    OPTIMISERS,
    SCHEDULES,
    build_optimiser,
    load_optimiser_tensors,
    onecycle,
    optimiser_tensors,
    set_learning_rate,
)


@pytest.mark.parametrize("num_steps", [2, 10, 37, 1500])
def test_onecycle_equals_pytorchs_without_its_momentum_cycle(num_steps):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.Adam([parameter], lr=1e-3, betas=(0.999, 0.999))
    reference = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=num_steps, cycle_momentum=False)
    for step in range(num_steps):
        assert 1e-3 * onecycle(step, num_steps, 0) == pytest.approx(reference.get_last_lr()[0], rel=1e-9)
        optimiser.step()
        if step + 1 < num_steps:
            reference.step()


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("num_steps", [1, 2, 3, 4, 100])
@pytest.mark.parametrize("warmup_steps", [0, 1, 20])
def test_schedules_stay_between_0_and_1(schedule, num_steps, warmup_steps):
    factors = [SCHEDULES[schedule](step, num_steps, warmup_steps) for step in range(num_steps)]
    assert all(0 < factor <= 1 for factor in factors)


def test_constant_schedule_warms_up_and_stays():
    assert [SCHEDULES["constant"](step, 10, 3) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_restored_optimiser_goes_on_bit_for_bit(name):
    def run(split: bool):
        torch.manual_seed(0)
        network = torch.nn.Linear(3, 2)
        make = lambda: build_optimiser(name, network.parameters(), lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1)  # noqa: E731
        optimiser = make()
        for step in range(6):
            if split and step == 3:
                tensors = {key: value.clone() for key, value in optimiser_tensors(optimiser).items()}
                optimiser = make()
                load_optimiser_tensors(optimiser, tensors)
            set_learning_rate(optimiser, 1e-2 / (step + 1))
            optimiser.zero_grad()
            network(torch.randn(4, 3, generator=torch.Generator().manual_seed(step))).square().mean().backward()
            optimiser.step()
        return network.weight.detach().clone()

    assert torch.equal(run(split=False), run(split=True))


def test_unknown_optimiser_lists_the_valid_ones():
    with pytest.raises(UserError, match=r"adam, adamw, lamb"):
        build_optimiser("sgdd", [], lr=1.0, betas=(0.9, 0.9), weight_decay=0.0)


def test_lamb_is_the_papers():
    """x - lr phi(|x|) / |r + wd x| (r + wd x), r = m / (sqrt v + epsilon), phi(z) = min(z, 10), no bias correction."""
    parameter = torch.nn.Parameter(torch.randn(7, generator=torch.manual_seed(0), dtype=torch.float64))
    expected = parameter.detach().clone()
    optimiser = build_optimiser("lamb", [parameter], lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1)
    mean = square = torch.zeros(7, dtype=torch.float64)
    for step in range(5):
        parameter.grad = torch.sin(parameter.detach() + step)
        gradient = parameter.grad.clone()
        optimiser.step()
        mean, square = 0.9 * mean + 0.1 * gradient, 0.99 * square + 0.01 * gradient**2
        update = mean / (square.sqrt() + 1e-6) + 0.1 * expected
        expected = expected - 1e-2 * min(expected.norm().item(), 10.0) / update.norm() * update
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-5, atol=1e-7)


def test_optimiser_tensors_fit_in_a_file():
    layer = torch.nn.Linear(3, 2)
    for name in OPTIMISERS:
        optimiser = build_optimiser(name, layer.parameters(), lr=1e-2, betas=(0.9, 0.99), weight_decay=0.0)
        layer(torch.ones(1, 3)).sum().backward()
        optimiser.step()
        tensors = optimiser_tensors(optimiser)
        found = safetensors.torch.load(safetensors.torch.save(tensors))
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[key], tensors[key]) for key in tensors)
