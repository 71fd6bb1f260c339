import io
import zipfile

import numpy as np
import pytest
from collection_fakes import fake_config, open_fake_collector
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from smidgen.data_collection.collect import collect
from smidgen.data_collection.store import EpisodeStore
from smidgen.runtime.errors import UserError
from studies.synthetic import LadderConfig, make_ladder
from studies.synthetic.frames import extract_pictures, main
from studies.synthetic.pictures import LIFT_PICTURES, RobotPictures, read_pictures

MAX_COMMITTED_BYTES = 600_000


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory):
    directory = tmp_path_factory.mktemp("frames") / "set"
    collect(fake_config(directory, episodes=12), open_fake_collector)
    return EpisodeStore.open(directory)


def some_pictures(num_episodes=6, grid=(3, 8, 8)):
    rng = np.random.default_rng(0)
    windows = rng.integers(0, 256, (num_episodes, 2, *grid), dtype=np.uint8)
    return RobotPictures(windows, rng.normal(size=(num_episodes, 2, 2)), {"task": "none"})


@pytest.fixture
def picture_file(tmp_path):
    path = tmp_path / "pictures.npz"
    some_pictures().write(path)
    return path


def test_pictures_come_from_each_episodes_last_pair(demonstrations):
    pictures = extract_pictures(demonstrations, num_episodes=4, history=3)
    assert pictures.pictures_EVTHW.shape == (4, 2, 3, 8, 8)
    assert pictures.provenance["data_set_sha256"] == demonstrations.sha256
    seeds = pictures.provenance["seeds"]
    assert seeds == list(demonstrations.training_seeds[:4])
    for index, seed in enumerate(seeds):
        pairs = demonstrations.counterfactuals([seed])
        last = int(np.argmax(pairs["step"]))
        assert pictures.provenance["steps"][index] == pairs["step"][last]
        for view, suffix in enumerate(("", "_moved")):
            np.testing.assert_array_equal(pictures.cue_m_EVA[index, view], pairs[f"cue_pose{suffix}"][last, :2])
            for time in range(3):
                frame = Image.fromarray(pairs[f"frames{suffix}"][last, time - 3, 0]).convert("L")
                grey = pictures.pictures_EVTHW[index, view, time].astype(int)
                assert np.abs(grey - np.asarray(frame)).max() <= 1


def test_the_command_writes_a_file_that_makes_a_ladder(demonstrations, tmp_path, capsys):
    paths = [tmp_path / "one.npz", tmp_path / "two.npz"]
    for path in paths:
        assert main([f"demos={demonstrations.directory}", f"out={path}", "episodes=5", "history=2"]) == 0
    assert "5 x 2 x 2 x 8 x 8 pictures" in capsys.readouterr().out
    assert paths[0].read_bytes() == paths[1].read_bytes()
    config = LadderConfig(kind="frames", frames=str(paths[0]), grid=(2, 4, 4), num_train=6, num_held_out=4)
    data = make_ladder(config, seed=0)
    assert data.x_BNC.shape == (6, 32, 1)
    assert data.y_held_out_BA.shape == (4, 2)
    assert not data.held_out_is_pool


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "missing demos="),
        (["demos=nowhere"], "nowhere does not exist"),
        (
            ["demos={set}", "episodes=99"],
            "successful episodes with counterfactual pairs of 4 frames; expected 99",
        ),
        (["demos={set}", "episodes=2", "history=5"], "expected 2 and 5"),
        (["demos={set}", "episodes=0"], "episodes and history should be at least 1"),
    ],
)
def test_the_command_says_what_is_wrong(demonstrations, capsys, arguments, message):
    assert main([argument.format(set=demonstrations.directory) for argument in arguments]) == 2
    assert message in capsys.readouterr().err


def test_help_names_every_key(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {key}=" in shown for key in ("demos", "out", "episodes", "history"))


@given(seed=st.integers(0, 2**32), num_train=st.integers(2, 8), num_held_out=st.integers(1, 4))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pool_and_held_out_share_no_episode(picture_file, seed, num_train, num_held_out):
    pictures = read_pictures(picture_file)
    config = LadderConfig(
        kind="frames", frames=str(picture_file), grid=(2, 4, 2), num_train=num_train, num_held_out=num_held_out
    )
    data = make_ladder(config, seed)
    train, held_out = data.labels.numpy(), data.labels_held_out.numpy()
    assert len(set(train)) == num_train
    assert len(set(held_out)) == num_held_out
    assert not set(train // 2) & set(held_out // 2)
    # The pool's own mean and deviation are the units; both of one arm stand side by side.
    np.testing.assert_allclose(data.y_BA.mean(dim=0), 0, atol=1e-6)
    np.testing.assert_allclose(data.y_BA.std(dim=0, correction=0), 1, rtol=1e-5)
    cue_BA = pictures.cue_m_EVA.reshape(-1, 2)
    expected = (cue_BA[held_out] - cue_BA[train].mean(axis=0)) / cue_BA[train].std(axis=0)
    np.testing.assert_allclose(data.y_held_out_BA, expected, atol=1e-5)
    for x_N, label in zip(data.x_BNC[:, :, 0].numpy(), train, strict=True):
        window = pictures.pictures_EVTHW.reshape(-1, 3, 8, 8)[label, 1:]
        reduced = [np.asarray(Image.fromarray(frame.astype(np.float32)).reduce((4, 2))) for frame in window]
        np.testing.assert_allclose(x_N.reshape(2, 4, 2), np.stack(reduced) / 255, atol=1e-5)


def test_the_committed_pictures_are_small_and_say_where_they_come_from():
    assert LIFT_PICTURES.stat().st_size <= MAX_COMMITTED_BYTES
    pictures = read_pictures(LIFT_PICTURES)
    assert pictures.provenance["task"] == "lift"
    assert len(pictures.provenance["data_set_sha256"]) == 64
    assert pictures.pictures_EVTHW.shape[2:] == (3, 64, 64)
    data = make_ladder(LadderConfig(kind="frames"), seed=0)
    assert (len(data.labels), len(data.labels_held_out)) == (256, 64)
    # Both pictures of an arm differ at the cube alone.
    changed = (data.x_BNC[0::2] - data.x_BNC[1::2]).abs() > 0.02
    assert 0 < changed.float().mean() < 0.05


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frames": "nowhere.npz"}, "nowhere.npz does not exist; python -m .*frames"),
        ({"grid": (4, 8, 8)}, "windows of 3 x 8 x 8: the grid should have no more frames"),
        ({"grid": (3, 3, 8)}, "rows and columns that divide these"),
        ({"num_train": 9, "num_held_out": 4}, "holds 6 episodes of 2 pictures; .* need 7"),
    ],
)
def test_a_config_that_does_not_fit_the_file_says_so(picture_file, fields, message):
    fitting = {"frames": str(picture_file), "grid": (3, 8, 8), "num_train": 8, "num_held_out": 4}
    with pytest.raises(UserError, match=message):
        make_ladder(LadderConfig(kind="frames", **fitting | fields), 0)


@given(cut=st.floats(0, 0.999))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_truncated_file_is_refused(picture_file, tmp_path, cut):
    content = picture_file.read_bytes()
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(content[: int(cut * len(content))])
    with pytest.raises(UserError, match=r"damaged\.npz is not a file of robot pictures"):
        read_pictures(damaged)


def write_zip(path, **arrays):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            archive.writestr(f"{name}.npy", content.getvalue())


@pytest.mark.parametrize(
    "spoiled",
    [
        {"cue_m": None},
        {"extra": np.zeros(1)},
        {"pictures": np.zeros((2, 2, 3, 8, 8), np.float32)},
        {"pictures": np.zeros((3, 2, 3, 8, 8), np.uint8)},
        {"pictures": np.zeros((2, 2, 8, 8), np.uint8)},
        {"pictures": np.zeros((2, 2, 3, 2400, 2400), np.uint8)},
        {"cue_m": np.full((2, 2, 2), np.nan)},
        {"cue_m": np.zeros((2, 2, 2), object)},
        {"provenance": np.frombuffer(b"{", np.uint8)},
        {"provenance": np.frombuffer(b"[1]", np.uint8)},
    ],
)
def test_a_file_that_holds_something_else_is_refused(tmp_path, spoiled):
    good = {
        "pictures": np.zeros((2, 2, 3, 8, 8), np.uint8),
        "cue_m": np.zeros((2, 2, 2)),
        "provenance": np.frombuffer(b"{}", np.uint8),
    }
    path = tmp_path / "pictures.npz"
    write_zip(path, **good)
    read_pictures(path)
    write_zip(path, **{name: array for name, array in (good | spoiled).items() if array is not None})
    with pytest.raises(UserError, match="is not a file of robot pictures"):
        read_pictures(path)
