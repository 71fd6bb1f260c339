"""smidgen-check control: the blind arm of a policy, on the fake Lift."""

import pytest
from check_policies import Lifts
from fake_lift import FakeLift, open_fake_collector

from smidgen.data_collection.collect import collect
from smidgen.data_collection.config import CollectConfig
from smidgen.evaluation.check.blind_arms import BlindArm, FirstFrame, RecordedFrames
from smidgen.evaluation.check.command import main
from smidgen.evaluation.check.compare import in_words
from smidgen.evaluation.check.control import ControlConfig, control
from smidgen.evaluation.statistics import paired_difference
from smidgen.policies.policy_calls import PolicyCalls

SIZE, NUM_EPISODES = 64, 8


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    directory = tmp_path_factory.mktemp("control") / "lift"
    collect(CollectConfig(task="lift", out=str(directory), episodes=3, workers=0, image_size=SIZE), open_fake_collector)
    return directory


def run(control_name, data, policy="check_policies:Lifts"):
    config = ControlConfig(policy=policy, control=control_name, data=str(data), task="lift", episodes=NUM_EPISODES)
    return control(config, FakeLift)


def test_frames_of_other_episodes_and_the_average_trajectory_lift_nothing(data):
    for name in ("shuffled", "time_mean"):
        found = run(name, data)
        assert found.first.num_successes == NUM_EPISODES
        assert found.second.num_successes <= 2
        assert (
            found.difference[0] == found.first.num_successes / NUM_EPISODES - found.second.num_successes / NUM_EPISODES
        )
        assert found.p_value == pytest.approx(2 * 0.5 ** (found.only_first), rel=1e-9)


def test_the_first_frame_is_enough_where_the_cue_stays(data):
    found = run("frozen", data)
    assert (found.first.num_successes, found.second.num_successes) == (NUM_EPISODES, NUM_EPISODES)
    assert any("does not show that they are equal" in line for line in in_words(found))


def test_what_each_arm_is_shown(data):
    from smidgen.data_collection.store import EpisodeStore

    store = EpisodeStore.open(data)
    recorded = RecordedFrames(store)
    true = [store.episode(store.training_seeds[0]).frames[step][None] for step in (0, 5)]
    other = store.episode(store.training_seeds[7 % 3]).frames
    assert (recorded(true[0], 7, 5)[0] == other[5]).all()
    assert (recorded(true[0], 7, 10_000)[0] == other[-1]).all()
    first = FirstFrame()
    assert (first(true[0], 7, 0) == true[0]).all()
    assert (first(true[1], 7, 1) == true[0]).all()
    arm = BlindArm(PolicyCalls(Lifts()), 4, FirstFrame())
    assert (arm.name, arm.observes) == ("lifts-blind", ("frames", "eef_state"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["policy=noop", "control=frozen"], "observes no frames"),
        (["policy=check_policies:Lifts", "control=blinking"], "'blinking'"),
        (["policy=check_policies:Lifts", "control=shuffled"], "add data=DIR"),
        (["policy=check_policies:Nobody", "control=frozen"], "Nobody"),
    ],
    ids=["blind already", "unknown", "no data", "no policy"],
)
def test_bad_input_ends_in_one_line(settings, words, capsys):
    assert main(["control", *settings]) == 2
    errors = capsys.readouterr().err
    assert words in errors.splitlines()[-1]


def test_a_paired_difference_with_its_interval():
    value, low, high = paired_difference(12, 3, 40)
    assert value == pytest.approx(9 / 40)
    assert low < value < high
    # Agresti and Min, 2005: half a seed in each cell; by hand for b = 12, c = 3, n = 40.
    centre, variance = 9 / 42, (12.5 + 3.5 - 81 / 42) / 42**2
    assert (low, high) == pytest.approx(
        (centre - 1.959964 * variance**0.5, centre + 1.959964 * variance**0.5), rel=1e-5
    )
    assert paired_difference(0, 0, 5)[0] == 0
    assert paired_difference(5, 0, 5)[2] <= 1
    with pytest.raises(ValueError, match="expected counts"):
        paired_difference(4, 4, 5)
