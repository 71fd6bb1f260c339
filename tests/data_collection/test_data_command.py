import shutil

import imageio.v2 as imageio
import numpy as np
import pytest
from PIL import Image

from smidgen.data_collection.data import main


def test_verify_says_what_a_set_holds(finished_set, capsys):
    assert main(["verify", str(finished_set)]) == 0
    out = capsys.readouterr().out
    assert "10, seeds 0 to 9" in out
    assert "6/10, 2 aborted by the simulator" in out
    assert "8 x 8 pixels from agentview" in out


def test_verify_names_a_damaged_file(finished_set, tmp_path, capsys):
    out = shutil.copytree(finished_set, tmp_path / "set")
    (out / "episodes" / "000000000" / "frames.npy").write_bytes(b"half")
    assert main(["verify", str(out)]) == 2
    assert "000000000/frames.npy is truncated or altered" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["verify", "nowhere"], ["preview", "nowhere"]])
def test_a_directory_that_is_not_there(arguments, capsys):
    assert main(arguments) == 2
    assert "nowhere does not exist" in capsys.readouterr().err


def test_preview_writes_pictures_and_leaves_the_set_whole(finished_set, tmp_path, capsys):
    out = shutil.copytree(finished_set, tmp_path / "set")
    assert main(["preview", str(out)]) == 0
    paths = capsys.readouterr().out.split()
    assert [path.rpartition("/")[2] for path in paths] == ["contact_sheet.png", "counterfactuals.png", "episodes.mp4"]
    for path in paths[:2]:
        picture = np.asarray(Image.open(path))
        assert picture.shape[2] == 3
        assert picture.std() > 1
    with imageio.get_reader(paths[2]) as reader:
        assert reader.get_meta_data()["fps"] == 20
        assert len(reader.get_data(0).shape) == 3
    assert main(["verify", str(out)]) == 0


def test_preview_goes_where_it_is_asked_to(finished_set, tmp_path):
    assert main(["preview", str(finished_set), "--out", str(tmp_path / "pictures")]) == 0
    assert len(list((tmp_path / "pictures").iterdir())) == 3
    assert not (finished_set / "preview").exists()
