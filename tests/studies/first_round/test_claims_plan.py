"""The suite's plan: what is written down before the runs."""

import dataclasses
import json
import math

import pytest

from smidgen.policies.perceiver import Perceiver, PerceiverConfig
from smidgen.runtime.errors import UserError
from studies.first_round.arms import Arm, ArmBook, flat_fields
from studies.first_round.forms import FORMS, Form, build_form
from studies.first_round.jobs import best_lr
from studies.first_round.plan import COMPARISON_KINDS, Plan
from studies.first_round.records import TuningRun
from studies.ladder.side_by_side import LadderTraining
from studies.synthetic.config import LadderConfig
from studies.synthetic.ladder import make_ladder


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Form:
    return build_form(request.param)


def test_plan_survives_json(form: Form) -> None:
    assert Plan.from_json(json.loads(json.dumps(form.plan.to_json()))) == form.plan


def test_every_arm_has_a_content_of_its_own(form: Form) -> None:
    contents = [json.dumps(dataclasses.asdict(arm), sort_keys=True) for arm in form.arms.values()]
    assert len(set(contents)) == len(contents)


def test_the_plan_writes_down_all_that_an_arm_fixes(form: Form) -> None:
    for name, arm in form.arms.items():
        planned = form.plan.arms[name]
        written = {**planned.data, **planned.network, "lr_scale": 1.0, **planned.training}
        # A rung has one target, and frames are all that is seen.
        fixed = {**flat_fields(arm), "horizon": 1, "state_dim": 0}
        assert json.dumps(written, sort_keys=True) == json.dumps(fixed, sort_keys=True)


def test_every_arm_can_be_built(form: Form) -> None:
    for arm in form.arms.values():
        if arm.data.num_tokens <= 3072 and arm.data.kind != "frames":
            Perceiver(arm.network, grid=arm.data.grid, channels=1, action_features=1)


def test_positions_tell_all_tokens_apart_unless_an_arm_says_otherwise(form: Form) -> None:
    """Fewer bands than half an axis would make the encoding a confound; only the aliased arms may have that."""
    assert all(arm.network.num_bands is None for arm in form.arms.values())


def test_full_form_covers_every_hypothesis_and_claim() -> None:
    plan = build_form("full").plan
    assert {f"H{k}" for k in range(1, 12)} <= set(plan.hypotheses)
    assert set(plan.claims) == {f"C{k}" for k in range(1, 8)}
    assert len(plan.seeds) >= 10
    assert plan.max_steps >= 10_000


def test_smoke_form_has_every_kind_of_comparison() -> None:
    comparisons = [c for hypothesis in build_form("smoke").plan.hypotheses.values() for c in hypothesis.comparisons]
    assert {comparison.kind for comparison in comparisons} == set(COMPARISON_KINDS)


def test_arms_that_are_compared_differ_in_nothing_but_what_the_names_say() -> None:
    """The name is the list of changes: two arms with the same changes are one arm."""
    book = ArmBook(Arm(data=LadderConfig(kind="one_token"), network=PerceiverConfig(), training=LadderTraining()))
    name = book.add("dft1d", "token", noise_sd=0.1, background="noise")
    assert book.add("dft1d", "token", background="noise", noise_sd=0.1) == name
    assert list(book.arms) == [name]
    assert book.add() == "raw"
    changed = {field for field, value in flat_fields(book.arms[name]).items() if value != flat_fields(book.base)[field]}
    assert changed == {"transform", "standardise_after", "noise_sd", "background"}


def test_a_change_that_no_part_has_is_refused() -> None:
    book = ArmBook(Arm(data=LadderConfig(kind="one_token"), network=PerceiverConfig(), training=LadderTraining()))
    with pytest.raises(AssertionError, match="colour"):
        book.add(colour="red")


def test_scaled_raw_has_the_energy_of_the_unnormalised_transform() -> None:
    arms = build_form("full").arms
    (name,) = [name for name, arm in arms.items() if arm.data.scale != 1.0 and arm.network.input_layer_norm]
    x_BNC = make_ladder(arms["raw"].data, 0).x_BNC
    spectrum = x_BNC[..., 0].double().numpy()
    scaled = make_ladder(arms[name].data, 0).x_BNC.double()
    import numpy as np

    assert float(scaled.square().sum()) == pytest.approx(float((abs(np.fft.fft(spectrum)) ** 2).sum()), rel=1e-5)


def test_unknown_form_lists_the_valid_ones() -> None:
    with pytest.raises(UserError, match="full, smoke"):
        build_form("ful")


def run(lr: float, seed: int, escape_step: int | None, final_loss: float | None = 1.0) -> TuningRun:
    return TuningRun(lr=lr, seed=seed, escape_step=escape_step, final_loss=final_loss)


def test_best_rate_escapes_first_on_average() -> None:
    runs = (run(1e-3, 0, 100), run(1e-3, 1, None), run(1e-2, 0, 300), run(1e-2, 1, 400))
    assert best_lr(runs, 1000) == 1e-2
    assert best_lr(runs, 450) == 1e-3


def test_where_none_escapes_the_lower_loss_decides_and_divergence_loses() -> None:
    runs = (run(1e-3, 0, None, 0.9), run(3e-3, 0, None, 0.8), run(1e-2, 0, None, None))
    assert best_lr(runs, 1000) == 3e-3
    assert best_lr((run(1e-2, 0, None, None), run(1e-3, 0, None, math.inf)), 1000) == 1e-3
