"""smidgen-check on a set of somebody else's, asked of policies whose truth follows from how they are made."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from check_policies import Sees
from check_sets import CAMERAS, NUM_STEPS, episode, write_set

from smidgen.data_collection.formats.reader import open_reader
from smidgen.evaluation.check.answers import common_steps, neighbours
from smidgen.evaluation.check.command import main
from smidgen.evaluation.check.probes import DELAY, Moment, probes
from smidgen.evaluation.check.subject import Means


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("check") / "theirs.hdf5")


@pytest.fixture(scope="module")
def found():
    """What was found before: the same check gives the same report, and most tests look at one of a few."""
    return {}


@pytest.fixture
def check(data, found, tmp_path, capsys):
    """Runs the command; returns exit code, report, and what was printed."""

    def run(*settings, path=data):
        if (settings, path) not in found:
            code = main([f"data={path}", f"out={tmp_path / 'out'}", *settings])
            printed, report = capsys.readouterr(), tmp_path / "out" / "check.json"
            found[settings, path] = code, report.read_text() if report.exists() else "{}", printed.out, printed.err
        code, report, out, err = found[settings, path]
        return code, json.loads(report), out, err

    return run


@pytest.mark.parametrize(
    ("policy", "code", "label", "reason"),
    [
        ("Sees", 0, "sees", "frames_slope"),
        ("SeesBoth", 0, "sees", "frames_slope"),
        ("SeesByChunk", 0, "sees", "frames_slope"),
        ("Draws", 0, "sees", "frames_slope"),
        ("SeesOnlyItsArm", 3, "blind", "frames_slope"),
        ("FollowsState", 3, "blind", "same_answer"),
        ("Wavers", 3, "blind", "frames_slope"),
    ],
)
def test_a_policy_of_known_truth_is_called_so(check, policy, code, label, reason):
    exit_code, report, printed, _ = check(f"policy=check_policies:{policy}")
    assert (exit_code, report["decision"]["label"], report["decision"]["reason"]) == (code, label, reason)
    assert printed.startswith(report["in_words"][0])


@pytest.mark.parametrize("policy", ["time_mean", "mean_action", "random"])
def test_a_baseline_is_blind(check, policy):
    code, report, printed, _ = check(f"policy={policy}")
    assert (code, report["decision"]["reason"]) == (3, "observes_no_frames")
    assert "does not use its cameras" in printed


def test_the_cameras_that_are_used_are_named(check):
    _, report, printed, _ = check("policy=check_policies:Sees")
    assert report["decision"]["cameras"] == {"front": "used", "wrist": "ignored"}
    assert "Ignored: wrist." in printed
    assert check("policy=check_policies:SeesBoth")[1]["decision"]["cameras"] == {"front": "used", "wrist": "used"}


def test_what_it_follows_where_frames_and_state_disagree(check):
    report = check("policy=check_policies:Sees")[1]["following"]
    assert report["frames"]["value"] == pytest.approx(1, abs=0.1)
    assert check("policy=check_policies:FollowsState")[1]["following"]["frames"]["value"] == 0
    arm = check("policy=check_policies:SeesOnlyItsArm")[1]["following"]
    assert abs(arm["frames"]["value"]) < 0.1 < arm["frames_whole"]["value"]


def test_a_policy_that_draws_is_said_to(check):
    _, report, _, _ = check("policy=check_policies:Draws")
    assert 0.05 < report["habits"]["noise"]["value"] < 0.5
    assert check("policy=check_policies:Sees")[1]["habits"]["noise"]["value"] == 0


def test_the_pages_say_what_each_probe_means(data, tmp_path):
    main([f"data={data}", f"out={tmp_path / 'out'}", "policy=check_policies:Draws"])
    page = (tmp_path / "out" / "check.md").read_text()
    assert page.startswith("# draws uses its cameras to decide what to do\n")
    assert "It is not deterministic" in page
    for title in ("another episode's frames", "grey frames", "frames shifted by one pixel", "grey frames from wrist"):
        assert f"| {title} |" in page


def test_the_same_check_gives_the_same_bytes(data, tmp_path):
    for name in ("one", "two"):
        main([f"data={data}", f"out={tmp_path / name}", "policy=check_policies:Sees"])
    for file in ("check.json", "check.md"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_few_episodes_are_not_enough(check, tmp_path):
    few = write_set(tmp_path / "few.hdf5", num_demos=4)
    code, report, printed, _ = check("policy=check_policies:Sees", path=few)
    assert (code, report["decision"]["label"], report["decision"]["reason"]) == (4, "undecided", "few_episodes")
    assert "needs 10" in printed


def predictions(path, data, answer, steps=range(NUM_STEPS), dtype=np.float32):
    """A table of what a function of frames and state answers."""
    reader = open_reader(data)
    rows = [(each, step) for each in reader.episodes(range(reader.num_episodes)) for step in steps]
    predicted = [answer(each.frames[step], each.eef_state[step], each.actions[step]) for each, step in rows]
    columns = {"episode": [each.seed for each, _ in rows], "step": [step for _, step in rows]}
    np.savez(path, prediction=np.array(predicted, dtype), **columns)
    return path


def test_predictions_alone_are_measured_but_cannot_tell(check, data, tmp_path):
    path = predictions(tmp_path / "mine.npz", data, lambda frames, state, action: action)
    code, report, printed, _ = check(f"predictions={path}")
    assert (code, report["decision"]["reason"]) == (4, "only_predictions")
    assert report["accuracy"]["skill"]["time_mean"]["value"] == pytest.approx(1)
    assert report["following"]["both"]["value"] == pytest.approx(1, abs=1e-6)
    assert list(report["responses"]) == ["as_recorded"]
    assert "policy=module:Class" in printed


def test_predictions_alone_can_show_blindness(check, data, tmp_path):
    path = predictions(tmp_path / "mean.npz", data, lambda frames, state, action: 0.1 * state + 0.45)
    code, report, printed, _ = check(f"predictions={path}")
    assert (code, report["decision"]["label"], report["decision"]["reason"]) == (3, "blind", "episode_slope")
    assert "whatever it looks at" in printed


def test_where_the_arm_gives_everything_away_it_cannot_tell(check, tmp_path):
    path = write_set(tmp_path / "closed.hdf5", goes_to=lambda state, cue: 2 * state)
    code, report, printed, _ = check("policy=check_policies:Sees", path=path)
    assert (code, report["decision"]["reason"]) == (4, "state_tells_all")
    assert "the arm gives away what is done next" in printed


def test_predictions_equal_to_the_policys_give_the_same_figures(check, data, tmp_path):
    def answer(frames, state, action):
        return Sees().act({"frames": frames[None], "eef_state": state[None]})[0]

    path = predictions(tmp_path / "mine.npz", data, answer, dtype=np.float64)
    asked, told = check("policy=check_policies:Sees")[1], check(f"predictions={path}")[1]
    for part in ("accuracy", "habits"):
        asked[part].pop("noise", None), told[part].pop("noise", None)
        assert told[part] == asked[part]


BAD = [
    (["policy=check_policies:AnswersNan"], "not finite"),
    (["policy=check_policies:WantsLargerFrames"], "expected actions of shape"),
    (["policy=check_policies:Privileged"], "observes privileged state"),
    (["policy=check_policies:Sees", "cameras=[roof]"], "has no camera 'roof'"),
    (["policy=check_policies:Nobody"], "Nobody"),
    (["policy=noop", "predictions=x.npz"], "either policy=... or predictions="),
    ([], "either policy=... or predictions="),
    (["policy=noop", "episodes=1"], "expected episodes >= 2"),
    (["predictions=none.npz"], "is missing"),
]


@pytest.mark.parametrize(("settings", "words"), BAD, ids=[words for _, words in BAD])
def test_bad_input_ends_in_one_line(check, settings, words):
    code, _, _, errors = check(*settings)
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert (code, len(lines)) == (2, 1)
    assert words in lines[0]


def test_bad_sets_end_in_one_line(check, tmp_path):
    import h5py

    with h5py.File(tmp_path / "empty.hdf5", "w") as file:
        file.create_group("data")
    cases = {
        tmp_path / "empty.hdf5": "demo_0",
        write_set(tmp_path / "one.hdf5", num_demos=1): "at least two",
        write_set(tmp_path / "still.hdf5", actions=[0.5, 0.5]): "nothing to follow",
        write_set(tmp_path / "nan.hdf5", actions=[np.nan, 0.5]): "finite",
        tmp_path / "gone": "does not exist",
    }
    for path, words in cases.items():
        code, _, _, errors = check("policy=check_policies:Sees", path=path)
        assert code == 2
        assert words in errors.splitlines()[-1]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"prediction": np.zeros((2, 3))}, "expected prediction of shape (2, 2) or (2, H, 2)"),
        ({"prediction": np.full((2, 2), np.nan)}, "in row 0"),
        ({"episode": np.array([0, 99])}, "has no episode 99"),
        ({"step": np.array([0, 77])}, "expected each at most once"),
        ({"step": np.array([0.0, 1.0])}, "as whole numbers"),
        ({"more": np.zeros(1)}, "no others"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_predictions_end_in_one_line(check, tmp_path, columns, words):
    table = {"episode": np.array([0, 1]), "step": np.array([0, 0]), "prediction": np.zeros((2, 2)), **columns}
    np.savez(tmp_path / "bad.npz", **table)
    code, _, _, errors = check(f"predictions={tmp_path / 'bad.npz'}")
    assert code == 2
    assert words in errors


def moment():
    rng = np.random.default_rng(3)

    class Stub:
        def __init__(self, num_steps):
            self.frames = rng.integers(0, 256, (num_steps, 2, 4, 4, 3), dtype=np.uint8)
            self.eef_state, self.num_steps, self.seed = rng.normal(size=(num_steps, 2)), num_steps, 5

    return Moment(Stub(9), Stub(4))


def test_every_probe_shows_what_it_says():
    shown, steps = moment(), np.arange(9)
    own, other = shown.own.frames, shown.other.frames
    by_key = {probe.key: probe.frames(shown, steps) for probe in probes(CAMERAS)}
    assert (by_key["frames_swapped"] == other[np.minimum(steps, 3)]).all()
    assert (by_key["frames_frozen"] == own[0]).all()
    assert (by_key["frames_blanked"] == 128).all()
    assert (by_key["frames_delayed"] == own[np.maximum(steps - DELAY, 0)]).all()
    assert (by_key["frames_shifted"][..., 1:, :] == own[..., :-1, :]).all()
    assert np.abs(by_key["frames_jittered"].astype(int) - own).max() == 1
    assert (by_key["camera_swapped:wrist"][:, 0] == own[:, 0]).all()
    assert (by_key["camera_swapped:wrist"][:, 1] == other[np.minimum(steps, 3), 1]).all()
    assert (by_key["camera_blanked:front"][:, 0] == 128).all()
    swapped = next(probe for probe in probes(CAMERAS) if probe.key == "state_swapped")
    assert (swapped.state(shown, steps) == shown.other.eef_state[np.minimum(steps, 3)]).all()
    assert (swapped.frames(shown, steps) == own).all()


def test_one_camera_is_not_taken_away_twice():
    assert {probe.camera for probe in probes(["front"])} == {None}


def test_means_leave_out_the_episode_itself():
    rng = np.random.default_rng(1)
    actions = [rng.normal(size=(length, 2)) for length in (3, 7, 5)]
    found = Means.of(iter(actions)).without(actions[1])
    padded = np.stack([np.pad(each, ((0, 7 - len(each)), (0, 0)), mode="edge") for each in (actions[0], actions[2])])
    np.testing.assert_allclose(found.time_mean_SA, padded.mean(axis=0))
    np.testing.assert_allclose(found.mean_action, np.concatenate([actions[0], actions[2]]).mean(axis=0))


def test_every_episode_is_confused_with_the_next_and_the_last_with_the_first():
    assert [(each.own, each.other) for each in neighbours(iter([1, 2, 3]))] == [(1, 2), (2, 3), (3, 1)]
    assert list(neighbours(iter([1]))) == []


def test_steps_are_spread_and_about_as_many_as_asked_for():
    steps = common_steps([100] * 10, 200)
    assert (steps[0], steps[-1], len(steps)) == (0, 99, 20)
    assert list(common_steps([4, 2], 1000)) == [0, 1, 2, 3]


def test_a_set_is_read_where_it_is(data):
    reader = open_reader(data, cameras=("wrist",), image_size=8)
    chosen = list(reader.episodes([2, 5]))
    assert [each.seed for each in chosen] == [2, 5]
    assert chosen[0].frames.shape == (NUM_STEPS, 1, 8, 8, 3)
    rng = np.random.default_rng(0)
    recorded = [episode(rng) for _ in range(6)]
    np.testing.assert_array_equal(chosen[1].actions, recorded[5][1])


SERVED = """
import importlib.util
import os
import sys

import numpy as np

spec = importlib.util.spec_from_file_location("serve_policy", sys.argv[1])
serve_policy = importlib.util.module_from_spec(spec)
spec.loader.exec_module(serve_policy)
sys.path[:0] = [sys.argv[2]]
from check_policies import Sees


class Policy(Sees):
    name, observes, num_frames, files = "served", ["frames", "eef_state"], 1, {}

    def __init__(self, task, action):
        assert len(action["names"]) == 2

    def act(self, frames, eef_state):
        return super().act({"frames": frames, "eef_state": eef_state})


serve_policy.Policy = Policy
stream = serve_policy.socket.socket(fileno=int(os.environ["SMIDGEN_POLICY_FD"])).makefile("rwb")
serve_policy.serve(stream, {})
"""


def test_a_policy_in_another_process_is_asked_the_same(check, tmp_path):
    here = Path(__file__).parent
    (tmp_path / "serve.py").write_text(SERVED)
    example = here.parent.parent / "examples" / "serve_policy.py"
    code, report, _, errors = check(f"policy=process:{sys.executable} {tmp_path / 'serve.py'} {example} {here}")
    assert code == 0, errors
    asked = check("policy=check_policies:Sees")[1]
    assert report["following"] == asked["following"]
    assert report["accuracy"] == asked["accuracy"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Three data sets of one tiny task, and a checkpoint for the first."""
    from smidgen.policies.checkpoint import save_checkpoint
    from tests.fuzz.data_readers import write_data_set
    from tests.fuzz.policy_readers import build_policy

    folder = tmp_path_factory.mktemp("trained")
    write_data_set(folder / "data")
    save_checkpoint(folder / "checkpoint", build_policy(), {"step": 0, "data_set_seeds": [0, 1]})
    return folder


def test_a_checkpoint_is_asked_about_the_data_that_it_was_trained_for(check, trained):
    code, report, _, errors = check(f"policy={trained / 'checkpoint'}", path=trained / "data")
    assert (code, report["decision"]["reason"]) == (4, "few_episodes"), errors
    assert report["horizon"] == 2
    assert any("trained on some of these episodes" in note for note in report["notes"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["cameras=[front]"], "has no camera 'front'"),
        (["image_size=16"], "expected frames of 16 x 16"),
        ([], "has no camera"),
    ],
    ids=["cameras", "size", "theirs"],
)
def test_a_checkpoint_on_other_data_ends_in_one_line(check, trained, data, settings, words):
    path = trained / "data" if settings else data
    code, _, _, errors = check(f"policy={trained / 'checkpoint'}", *settings, path=path)
    assert code == 2
    assert words in errors or "no frames of camera" in errors
    assert errors.splitlines()[-1].startswith("error: ")
