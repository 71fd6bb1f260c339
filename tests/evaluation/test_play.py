"""The loop that experts and policies share."""

import numpy as np
from fake_lift import FakeLift

from smidgen.data_collection.experts import EXPERTS
from smidgen.envs.play import Moment, play

HOLD = np.array([0.0, 0.0, 0.9, -1.0])


def test_the_first_moment_is_the_reset_and_the_last_one_ends_the_episode() -> None:
    env = FakeLift()
    moments = list(play(env, 3, lambda: HOLD))
    assert len(moments) == env.task.horizon + 1
    assert [moment.truncated for moment in moments] == [False] * env.task.horizon + [True]
    assert (moments[0].reward, moments[0].is_success, moments[-1].terminated) == (0.0, False, False)


def test_an_action_is_asked_for_once_a_step_in_the_state_that_was_yielded_last() -> None:
    env, expert = FakeLift(), EXPERTS["lift"](FakeLift().task.action)
    asked: list[int] = []

    def act() -> np.ndarray:
        asked.append(env.steps)
        return expert.act(env.privileged())

    expert.reset(0)
    moments: list[Moment] = list(play(env, 0, act))
    assert asked == list(range(len(moments) - 1))
    assert moments[-1].terminated
    assert sum(moment.reward for moment in moments) == env.task.hold_steps


def test_who_stops_asking_ends_the_episode() -> None:
    env = FakeLift()
    next(episode := play(env, 0, lambda: HOLD))
    next(episode)
    episode.close()
    assert env.steps == 1
