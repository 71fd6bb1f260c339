from typing import Any

import numpy as np
import pytest
from fake_lift import (
    AlreadySolved,
    Crasher,
    Diverging,
    Exploding,
    FakeLift,
    Hold,
    LetGo,
    NotANumber,
    ScriptedPolicy,
    SeesCube,
    WrongShape,
)

from smidgen.evaluation.expert_policy import ExpertPolicy
from smidgen.evaluation.protocol import HOLD_STEPS
from smidgen.evaluation.rollout import rollout
from smidgen.runtime.errors import UserError


def test_expert_succeeds_and_stops_once_success_has_held() -> None:
    result = rollout(FakeLift(), ExpertPolicy("lift"), seed=3_000_000)
    assert (result.row["success"], result.row["success_once"], result.row["success_at_reset"], result.row["label"]) == (
        True,
        True,
        False,
        "success",
    )
    assert result.row["num_steps"] == result.row["first_success_step"] + HOLD_STEPS - 1
    assert result.row["return"] == HOLD_STEPS
    assert result.path_S3.shape == (result.row["num_steps"] + 1, 3)


def test_horizon_ends_an_episode() -> None:
    env = FakeLift()
    result = rollout(env, ScriptedPolicy(), seed=1)
    assert (result.row["num_steps"], result.row["success"], result.row["first_success_step"]) == (
        env.task.horizon,
        False,
        None,
    )


def test_success_at_reset_is_recorded_and_must_still_be_held() -> None:
    held = rollout(AlreadySolved(), Hold(), seed=1)
    assert (held.row["success"], held.row["success_at_reset"], held.row["first_success_step"]) == (True, True, 0)
    assert held.row["num_steps"] == HOLD_STEPS
    dropped = rollout(AlreadySolved(), LetGo(), seed=1)
    assert (dropped.row["success"], dropped.row["success_once"], dropped.row["success_at_reset"]) == (False, True, True)
    assert dropped.row["label"] == "dropped"


def test_simulator_failure_counts_and_says_so() -> None:
    broken = rollout(Exploding(), ScriptedPolicy(), seed=1)
    assert (broken.row["success"], broken.row["label"], broken.row["num_steps"]) == (False, "simulator_error", 3)
    assert "unstable simulation" in broken.error
    assert rollout(Exploding(), ScriptedPolicy(), seed=2).error == ""


def test_state_that_is_not_finite_is_a_simulator_failure() -> None:
    result = rollout(Diverging(), ScriptedPolicy(), seed=1)
    assert (result.row["label"], result.row["success"]) == ("simulator_error", False)
    assert np.isfinite(result.path_S3).all()


@pytest.mark.parametrize(
    ("policy", "message"),
    [(Crasher(), "by design"), (NotANumber(), "not finite"), (WrongShape(), r"shape (1, 4), got (1, 3)")],
)
def test_policy_failure_counts_and_says_so(policy: ScriptedPolicy, message: str) -> None:
    result = rollout(FakeLift(), policy, seed=2)
    assert (result.row["success"], result.row["label"]) == (False, "policy_error")
    assert message in result.error


def test_users_mistakes_are_not_counted_but_raised() -> None:
    class Misused(ScriptedPolicy):
        def command(self, observations: dict[str, Any]) -> np.ndarray:
            raise UserError("wrong task")

    with pytest.raises(UserError, match="wrong task"):
        rollout(FakeLift(), Misused(), seed=0)


@pytest.mark.parametrize("observes", [(), ("eef_state",), ("frames",), ("frames", "eef_state"), ("privileged",)])
def test_a_policy_sees_what_it_observes_and_nothing_else(observes: tuple[str, ...]) -> None:
    class Curious(ScriptedPolicy):
        def command(self, observations: dict[str, Any]) -> np.ndarray:
            assert set(observations) == set(self.observes)
            for value in observations.values():
                assert all(len(part) == 1 for part in (value.values() if isinstance(value, dict) else [value]))
            return super().command(observations)

    env, policy = FakeLift(), Curious()
    policy.observes = observes
    result = rollout(env, policy, seed=0)
    assert result.error == ""
    assert (env.num_frames_drawn > 0) == ("frames" in observes)


def test_frames_arrive_as_a_batch_of_one() -> None:
    shapes = []

    class Looks(SeesCube):
        def command(self, observations: dict[str, Any]) -> np.ndarray:
            shapes.append((observations["frames"].shape, observations["frames"].dtype))
            return super().command(observations)

    rollout(FakeLift(cameras=("front", "side")), Looks(), seed=0)
    assert set(shapes) == {((1, 2, 16, 16, 3), np.dtype(np.uint8))}


def test_policies_are_reset_with_the_episodes_seed() -> None:
    policy = ScriptedPolicy()
    rollout(FakeLift(), policy, seed=123)
    assert (policy.seed, policy.num_episodes) == (123, 1)


def test_same_seed_same_episode_whatever_ran_before() -> None:
    env, expert = FakeLift(), ExpertPolicy("lift")
    first = rollout(env, expert, seed=7)
    rollout(env, expert, seed=8)
    again = rollout(env, expert, seed=7)
    assert np.array_equal(first.path_S3, again.path_S3)


def test_experts_side_by_side_act_as_each_alone() -> None:
    states = [FakeLift().privileged() for _ in range(2)]
    states[1]["object_position_m"] = states[1]["object_position_m"] + 0.05
    stacked = {name: np.stack([one[name] for one in states]) for name in states[0]}
    together = ExpertPolicy("lift")
    together.reset(num_episodes=2, seed=5)
    actions = together.act({"privileged": stacked})
    for row in range(2):
        alone = ExpertPolicy("lift")
        alone.reset(num_episodes=1, seed=5 + row)
        expected = alone.act({"privileged": {name: value[None] for name, value in states[row].items()}})
        assert np.array_equal(actions[row], expected[0])


def test_expert_of_an_unknown_task_lists_the_known() -> None:
    with pytest.raises(UserError, match=r"unknown task with an expert 'nope'.*lift"):
        ExpertPolicy("nope")
