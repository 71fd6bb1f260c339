"""What every format shares: settings, names, places, and our own exports coming back."""

import errno

import h5py
import numpy as np
import pytest
from foreign_sets import robomimic_demo, write_demos

from smidgen.data_collection import array_files
from smidgen.data_collection.data import main
from smidgen.data_collection.formats.reader import open_reader
from smidgen.data_collection.store import EpisodeStore
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import disk_errors


@pytest.fixture(scope="module")
def exported(finished_set, tmp_path_factory):
    out = tmp_path_factory.mktemp("exchange") / "out"
    assert main(["export", str(finished_set), "format=robomimic", f"out={out}"]) == 0
    return out


def refused(capsys, *arguments):
    """The one line that a command ends in."""
    assert main(list(arguments)) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (["cameras=[agentview]"], "remove cameras="),
        (["image_size=4", "seed_start=500"], "remove image_size=, seed_start="),
        (["control_hz=3"], "remove control_hz="),
    ],
)
def test_settings_that_would_be_ignored_are_refused(settings, named, exported, tmp_path, capsys):
    line = refused(capsys, "import", str(exported), f"out={tmp_path / 'store'}", *settings)
    assert f"was exported from here and comes back as it was; {named}" in line


def test_an_added_episode_is_said_to_be_left_out(exported, tmp_path, capsys):
    path = tmp_path / "demonstrations.hdf5"
    path.write_bytes((exported / "demonstrations.hdf5").read_bytes())
    with h5py.File(path, "a") as file:
        file.copy("data/demo_0", "data/demo_50")
    assert main(["import", str(path), f"out={tmp_path / 'store'}"]) == 0
    out = capsys.readouterr().out
    assert "1 episodes were added to the export and are left out" in out
    assert "equal to the byte" not in out


def test_pairs_that_are_missing_are_all_that_is_said(exported, tmp_path, capsys):
    path = tmp_path / "demonstrations.hdf5"
    path.write_bytes((exported / "demonstrations.hdf5").read_bytes())
    assert main(["import", str(path), f"out={tmp_path / 'store'}"]) == 0
    out = capsys.readouterr().out
    assert "counterfactual pairs are not in the set" in out
    assert "differ" not in out


def test_the_pairs_alone_are_no_demonstrations(exported, tmp_path, capsys):
    words = "pairs.hdf5 holds the 'pairs' of an export; name its folder, or its demonstrations"
    assert words in refused(capsys, "import", str(exported / "pairs.hdf5"), f"out={tmp_path / 'store'}")
    with pytest.raises(UserError, match="holds the 'pairs' of an export"):
        open_reader(exported / "pairs.hdf5")


def test_a_removed_episode_is_named_with_the_way_out(exported, tmp_path, capsys):
    path = tmp_path / "demonstrations.hdf5"
    path.write_bytes((exported / "demonstrations.hdf5").read_bytes())
    with h5py.File(path, "a") as file:
        del file["data/demo_1"]
    line = refused(capsys, "import", str(path), f"out={tmp_path / 'store'}")
    assert "episodes were removed or moved?" in line
    with h5py.File(path, "a") as file:
        del file["smidgen_source"]
    assert main(["import", str(path), f"out={tmp_path / 'store'}"]) == 0


def test_a_failed_attempt_that_touched_success_is_left_out(touched_set, tmp_path):
    assert main(["export", str(touched_set), "format=robomimic", f"out={tmp_path / 'out'}"]) == 0
    reader = open_reader(tmp_path / "out")
    assert len(list(reader.episodes(range(reader.num_episodes)))) == 1


def test_an_episode_store_is_not_imported(finished_set, tmp_path, capsys):
    line = refused(capsys, "import", str(finished_set), f"out={tmp_path / 'store'}")
    assert f"{finished_set} is an episode store already" in line


def test_a_link_that_leads_nowhere_is_there_already(exported, tmp_path, capsys):
    (tmp_path / "store").symlink_to(tmp_path / "gone")
    assert "already exists" in refused(capsys, "import", str(exported), f"out={tmp_path / 'store'}")


def test_what_a_killed_run_left_is_removed(exported, tmp_path):
    (tmp_path / ".partial-store-0123").mkdir()
    assert main(["import", str(exported), f"out={tmp_path / 'store'}"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_camera_is_chosen_once(exported, tmp_path, capsys):
    line = refused(capsys, "import", str(exported), f"out={tmp_path / 'store'}", "cameras=[agentview,agentview]")
    assert "expected different cameras" in line


@pytest.mark.parametrize("camera", ["a..b", "eef_state", ".hidden"])
@pytest.mark.parametrize("format_name", ["robomimic", "lerobot"])
def test_a_camera_without_a_place_in_other_formats_is_refused_before_writing(camera, format_name, tmp_path, capsys):
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    demo = robomimic_demo(obs__agentview_image=None, **{f"obs__{camera}_image": frames})
    write_demos(tmp_path / "theirs.hdf5", demo)
    assert main(["import", str(tmp_path / "theirs.hdf5"), f"out={tmp_path / 'store'}"]) == 0
    out = tmp_path / "out"
    line = refused(capsys, "export", str(tmp_path / "store"), f"format={format_name}", f"out={out}")
    assert f"a camera called {camera!r} has no place in other formats" in line
    assert not out.exists()


@pytest.mark.parametrize("format_name", ["robomimic", "lerobot"])
@pytest.mark.parametrize("camera", ["my cam", "caméra", "cam-1.left"])
def test_other_names_come_back(camera, format_name, tmp_path):
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    write_demos(tmp_path / "theirs.hdf5", robomimic_demo(obs__agentview_image=None, **{f"obs__{camera}_image": frames}))
    assert main(["import", str(tmp_path / "theirs.hdf5"), f"out={tmp_path / 'store'}"]) == 0
    assert main(["export", str(tmp_path / "store"), f"format={format_name}", f"out={tmp_path / 'out'}"]) == 0
    assert main(["import", str(tmp_path / "out"), f"out={tmp_path / 'again'}"]) == 0
    assert EpisodeStore.open(tmp_path / "again").manifest["cameras"] == [camera]


def test_an_array_on_a_full_disk_is_known_by_its_error(tmp_path, monkeypatch):
    class Full:
        def __init__(self, path, mode):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return False

        def write(self, content):
            if memoryview(content).nbytes > 1000:
                raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(array_files, "open", Full, raising=False)
    with pytest.raises(UserError, match="no space left on disk"), disk_errors(tmp_path):
        array_files.write_npy(tmp_path / "x.npy", np.zeros((100, 100)))
