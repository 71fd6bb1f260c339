from __future__ import annotations

import pytest
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
    with pytest.raises(UserError, match=r"adam, adamw"):
        build_optimiser("sgdd", [], lr=1.0, betas=(0.9, 0.9), weight_decay=0.0)
