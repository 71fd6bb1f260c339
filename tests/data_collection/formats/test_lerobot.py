"""LeRobot's layout, read by plain pyarrow and Pillow, and back into the store that it came from."""

import io
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from foreign_sets import imported, robomimic_demo, write_demos, write_foreign_lerobot, write_foreign_robomimic
from PIL import Image

from smidgen.data_collection.data import main
from smidgen.data_collection.formats import clip
from smidgen.data_collection.formats.pictures import squares
from smidgen.data_collection.formats.reader import open_reader
from smidgen.data_collection.store import EpisodeStore

INFO = "meta/info.json"
STEPS = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"


@pytest.fixture(scope="module")
def exported(finished_set, tmp_path_factory):
    out = tmp_path_factory.mktemp("lerobot") / "out"
    assert main(["export", str(finished_set), "format=lerobot", f"out={out}"]) == 0
    return out


def pictures(table, key):
    return np.stack([np.asarray(Image.open(io.BytesIO(row["bytes"]))) for row in table[key].to_pylist()])


def test_the_steps_are_where_lerobot_looks(finished_set, exported):
    store = EpisodeStore.open(finished_set)
    attempts = [row for row in store.manifest["episodes"] if row["num_steps"]]
    episodes = [store.episode(row["seed"]) for row in attempts]
    file = pq.ParquetFile(exported / "demonstrations" / STEPS)
    table = file.read()
    assert file.num_row_groups == len(attempts)
    np.testing.assert_array_equal(
        pictures(table, "observation.images.agentview"), np.concatenate([each.frames[:, 0] for each in episodes])
    )
    actions = np.concatenate([each.actions for each in episodes])
    np.testing.assert_array_equal(np.array(table["action"].to_pylist(), np.float32), actions.astype(np.float32))
    np.testing.assert_array_equal(np.array(table["smidgen.action"].to_pylist()), actions)
    assert table.schema.field("action").type == pa.list_(pa.float32(), 4)
    assert table.schema.field("next.success").type == pa.bool_()
    assert table["index"].to_pylist() == list(range(len(actions)))
    lengths = [each.num_steps for each in episodes]
    assert table["frame_index"].to_pylist() == [step for length in lengths for step in range(length)]
    np.testing.assert_allclose(table["timestamp"].to_numpy(), table["frame_index"].to_numpy() / 20)
    rows = pq.read_table(exported / "demonstrations" / EPISODES).to_pylist()
    assert [(row["length"], row["seed"], row["success"]) for row in rows] == [
        (row["num_steps"], row["seed"], row["success"]) for row in attempts
    ]
    assert [row["dataset_to_index"] for row in rows] == np.cumsum(lengths).tolist()


def test_the_metadata_describe_the_columns(exported):
    info = json.loads((exported / "demonstrations" / INFO).read_text())
    schema = pq.read_schema(exported / "demonstrations" / STEPS)
    assert set(info["features"]) == set(schema.names)
    assert info["features"]["action"] == {"dtype": "float32", "shape": [4], "names": ["x_m", "y_m", "z_m", "gripper"]}
    tasks = pq.read_schema(exported / "demonstrations" / "meta/tasks.parquet")
    assert json.loads(tasks.metadata[b"pandas"])["index_columns"] == ["task"]


def test_the_statistics_are_those_of_all_steps(finished_set, exported):
    store = EpisodeStore.open(finished_set)
    episodes = [store.episode(row["seed"]) for row in store.manifest["episodes"] if row["num_steps"]]
    found = json.loads((exported / "demonstrations" / "meta/stats.json").read_text())
    pixels = np.concatenate([each.frames[:, 0] for each in episodes]) / 255
    actions = np.concatenate([each.actions for each in episodes]).astype(np.float32).astype(np.float64)
    camera = found["observation.images.agentview"]
    assert np.shape(camera["mean"]) == (3, 1, 1)
    for name, compute in {"min": np.min, "max": np.max, "mean": np.mean, "std": np.std}.items():
        np.testing.assert_allclose(np.ravel(camera[name]), compute(pixels, axis=(0, 1, 2)))
        np.testing.assert_allclose(found["action"][name], compute(actions, axis=0))
    np.testing.assert_allclose(found["action"]["q10"], np.quantile(actions, 0.1, axis=0))
    lower = np.quantile(pixels, 0.99, axis=(0, 1, 2), method="inverted_cdf")
    np.testing.assert_allclose(np.ravel(camera["q99"]), lower)


def test_it_comes_back_to_the_byte(finished_set, exported, tmp_path):
    assert imported(exported, tmp_path).sha256 == EpisodeStore.open(finished_set).sha256


def test_an_altered_export_says_so(exported, tmp_path, capsys):
    steps = exported / "demonstrations" / STEPS
    table = pq.read_table(steps)
    moved = table.set_column(
        table.schema.get_field_index("smidgen.action"),
        "smidgen.action",
        pa.array(
            [[value + 1 for value in row] for row in table["smidgen.action"].to_pylist()], pa.list_(pa.float64(), 4)
        ),
    )
    before = steps.read_bytes()
    try:
        pq.write_table(moved, steps)
        imported(exported, tmp_path)
        assert "8 of 10 episodes differ" in capsys.readouterr().out
    finally:
        steps.write_bytes(before)


def lacks(store):
    return "; ".join(store.manifest["config"]["lacks"])


def test_what_an_import_does_not_take_is_named(tmp_path):
    root = tmp_path / "theirs"
    write_foreign_lerobot(root)
    more = {
        "observation.tactile": {"dtype": "float32", "shape": [4, 4], "names": None},
        "observation.f16": {"dtype": "float16", "shape": [2], "names": None},
        "observation.images.depth": {"dtype": "image", "shape": [32, 32, 1], "names": ["height", "width", "channels"]},
        "reward": {"dtype": "float32", "shape": [1], "names": None},
    }
    _change_info(lambda info: info["features"].update(more))(root)
    store = imported(root, tmp_path)
    assert "left out: observation.f16, observation.images.depth, observation.tactile, reward" in lacks(store)


def test_cameras_that_would_be_called_alike_keep_their_names(tmp_path):
    root = tmp_path / "theirs"
    write_foreign_lerobot(root)
    _change_info(lambda info: info["features"].update({"observation.top": info["features"][CAMERA]}))(root)
    _replace_column("observation.top", lambda table: table[CAMERA].to_pylist())(root)
    assert imported(root, tmp_path).manifest["cameras"] == [CAMERA, "observation.top"]


def test_a_video_of_a_camera_that_is_not_chosen_need_not_be_there(tmp_path):
    root = tmp_path / "theirs"
    write_foreign_lerobot(root, video=True)
    wrist = "observation.images.wrist"
    _change_info(lambda info: info["features"].update({wrist: info["features"][CAMERA]}))(root)
    assert imported(root, tmp_path, "cameras=[top]").manifest["cameras"] == ["top"]


@pytest.mark.parametrize("video", [False, True])
def test_the_limit_is_on_what_is_kept(video, tmp_path, capsys, monkeypatch):
    root = tmp_path / "theirs"
    frames, _ = write_foreign_lerobot(root, video)
    monkeypatch.setattr(clip, "MAX_CLIP_BYTES", 3 * 16 * 16 * 3)
    assert main(["import", str(root), f"out={tmp_path / 'store'}"]) == 2
    assert "more than an episode may have" in capsys.readouterr().err
    shown = imported(root, tmp_path, "image_size=16").episode(0).frames[:, 0]
    np.testing.assert_array_equal(shown, squares(frames[0], 16))


def test_the_first_task_is_the_one_of_the_lowest_index(tmp_path):
    root = tmp_path / "theirs"
    write_foreign_lerobot(root)
    pq.write_table(pa.table({"task_index": [1, 0], "task": ["second", "first"]}), root / "meta/tasks.parquet")
    assert imported(root, tmp_path).manifest["task"] == "first"


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list])
def test_lists_of_any_kind_are_numbers(kind, tmp_path):
    root = tmp_path / "theirs"
    _, actions = write_foreign_lerobot(root)
    _replace_column("action", lambda table: table["action"].combine_chunks().cast(kind(pa.float32())))(root)
    np.testing.assert_array_equal(imported(root, tmp_path).episode(1).actions, actions[1].astype(np.float64))


def test_flags_of_two_columns_are_none(tmp_path):
    root = tmp_path / "theirs"
    write_foreign_lerobot(root)
    _change_info(lambda info: info["features"].update({"next.success": {"dtype": "bool", "shape": [2]}}))(root)
    _replace_column("next.success", lambda table: [[True, False]] * 6)(root)
    assert "success of 2 of 2 episodes" in lacks(imported(root, tmp_path))


def test_a_failed_attempt_that_touched_success_is_a_failure(tmp_path, touched_set):
    assert main(["export", str(touched_set), "format=lerobot", f"out={tmp_path / 'out'}"]) == 0
    reader = open_reader(tmp_path / "out")
    assert [episode.success for episode in reader.episodes([0, 1])] == [True]
    (tmp_path / "out/demonstrations/meta/smidgen.json").unlink()
    shutil.rmtree(tmp_path / "out/pairs", ignore_errors=True)
    assert [row["success"] for row in imported(tmp_path / "out", tmp_path).manifest["episodes"]] == [False, True]


@pytest.mark.parametrize(("control_hz", "fps"), [(12.5, 12), (0.4, 1)])
def test_times_are_those_of_the_rounded_rate(control_hz, fps, tmp_path):
    write_foreign_robomimic(tmp_path / "theirs.hdf5", num_demos=1)
    imported(tmp_path / "theirs.hdf5", tmp_path, f"control_hz={control_hz}")
    assert main(["export", str(tmp_path / "store"), "format=lerobot", f"out={tmp_path / 'out'}"]) == 0
    assert json.loads((tmp_path / "out/demonstrations" / INFO).read_text())["fps"] == fps
    table = pq.read_table(tmp_path / "out/demonstrations" / STEPS)
    np.testing.assert_allclose(table["timestamp"].to_numpy(), np.arange(3) / fps, rtol=1e-6)


def test_a_state_of_one_coordinate_comes_back(tmp_path):
    write_demos(tmp_path / "theirs.hdf5", robomimic_demo(obs__joint_pos=np.arange(3.0), states=np.ones((3, 1))))
    imported(tmp_path / "theirs.hdf5", tmp_path)
    assert main(["export", str(tmp_path / "store"), "format=lerobot", f"out={tmp_path / 'out'}"]) == 0
    assert main(["import", str(tmp_path / "out"), f"out={tmp_path / 'again'}"]) == 0
    assert EpisodeStore.open(tmp_path / "again").sha256 == EpisodeStore.open(tmp_path / "store").sha256


@pytest.mark.parametrize("video", [False, True])
def test_a_foreign_set_keeps_joint_names_and_frames(video, tmp_path, capsys):
    frames, actions = write_foreign_lerobot(tmp_path / "theirs", video)
    store = imported(tmp_path / "theirs", tmp_path, "seed_start=100")
    assert "success of 2 of 2 episodes, which count as successful" in capsys.readouterr().out
    assert store.training_seeds == (100, 101)
    assert store.manifest["action_spec"]["names"] == [f"motor_{n}" for n in range(7)]
    assert (store.manifest["control_hz"], store.manifest["cameras"]) == (10, ["top"])
    for index in range(2):
        episode = store.episode(100 + index)
        np.testing.assert_array_equal(episode.frames[:, 0], frames[index])
        np.testing.assert_array_equal(episode.actions, actions[index].astype(np.float64))
        np.testing.assert_array_equal(episode.eef_state, actions[index].astype(np.float64))


def _change_info(change):
    def spoil(root):
        info = json.loads((root / INFO).read_text())
        change(info)
        (root / INFO).write_text(json.dumps(info))

    return spoil


def _replace_column(name, values):
    def spoil(root):
        table = pq.read_table(root / STEPS)
        index = table.schema.get_field_index(name)
        column = pa.array(values(table))
        changed = table.append_column(name, column) if index < 0 else table.set_column(index, name, column)
        pq.write_table(changed, root / STEPS)

    return spoil


CAMERA = "observation.images.top"
PNG_OF_ANOTHER_SIZE = io.BytesIO()
Image.new("RGB", (9, 9)).save(PNG_OF_ANOTHER_SIZE, "PNG")


PNG_OF_16_BITS = io.BytesIO()
Image.fromarray(np.full((32, 32), 999, np.uint16)).save(PNG_OF_16_BITS, "PNG")


def _claim_episodes(root):
    pq.write_table(pa.table({"episode_index": range(200), "length": [3] * 200}), root / EPISODES)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_change_info(lambda info: info.update(codebase_version="v2.1")), "version v3.0"),
        (_change_info(lambda info: info["features"].pop("action")), "no feature 'action'"),
        (
            _change_info(lambda info: info["features"].update({"../../x": {"dtype": "video", "shape": [3, 4, 4]}})),
            "plain",
        ),
        (_change_info(lambda info: info["features"][CAMERA].update(shape=[3, 10**6, 10**6])), "expected pictures"),
        (_change_info(lambda info: info["features"]["action"].update(shape=[8])), "expected 8 numbers"),
        (_replace_column("episode_index", lambda table: [0] * 2 + [1] * 4), "is shorter than its length"),
        (
            _replace_column("action", lambda table: [[1.0] * length for length in (7, 6, 8, 7, 7, 7)]),
            "expected 7 numbers in every row",
        ),
        (lambda root: _claim_episodes(root), "64 episodes of 192 steps and more, but the data files have 6 rows"),
        (_replace_column(CAMERA, lambda table: [PNG_OF_16_BITS.getvalue()] * 6), "more than 8 bits per channel"),
        (_replace_column(CAMERA, lambda table: ["/etc/passwd"] * 6), "whole files as bytes"),
        (_replace_column(CAMERA, lambda table: [b"\x89PNG\r\n\x1a\n"] * 6), "cannot be decoded"),
        (_replace_column(CAMERA, lambda table: [PNG_OF_ANOTHER_SIZE.getvalue()] * 6), "9 x 9 pixels"),
        (lambda root: (root / STEPS).write_bytes((root / STEPS).read_bytes()[:-9]), "not a readable Parquet file"),
    ],
)
def test_a_set_that_cannot_be_read_safely_is_refused_by_name(spoil, message, tmp_path, capsys):
    root = tmp_path / "theirs"
    write_foreign_lerobot(root)
    spoil(root)
    assert main(["import", str(root), f"out={tmp_path / 'store'}"]) == 2
    error = capsys.readouterr().err
    assert str(root) in error
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "store").exists()


def test_a_video_that_is_none_is_refused_by_name(tmp_path, capsys):
    root = tmp_path / "theirs"
    write_foreign_lerobot(root, video=True)
    video = root / f"videos/{CAMERA}/chunk-000/file-000.mp4"
    video.write_bytes(b"#EXTM3U\nfile:///etc/passwd\n")
    assert main(["import", str(root), f"out={tmp_path / 'store'}"]) == 2
    assert f"{video} is not a readable MP4" in capsys.readouterr().err
