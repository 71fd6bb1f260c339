"""Data sets and pictures over which a reader once fell, or which it would have believed."""

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smidgen.data_collection.array_files import read_npz
from smidgen.data_collection.episode import COUNTERFACTUALS_LAYOUT
from smidgen.data_collection.manifest import array_sizes
from smidgen.data_collection.store import EpisodeStore
from smidgen.runtime.action_spec import ActionSpec
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json, read_text
from studies.synthetic.pictures import read_pictures
from tests.fuzz.data_readers import HEADER, PICTURES, sign
from tests.fuzz.planted import LONG_NAME, alter, planted
from tests.fuzz.reader import plant

EPISODE = "episodes/000000000"


class TestFiles:
    @pytest.mark.parametrize("target", ["/dev/zero", "/dev/null", ".", "loop"])
    def test_what_is_no_file_is_not_read(self, target: str, tmp_path: Path) -> None:
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        (tmp_path / "x.json").symlink_to(target if target.startswith("/") else tmp_path / target)
        with pytest.raises(UserError, match=r"x\.json"):
            read_json(tmp_path / "x.json")

    def test_a_pipe_does_not_block(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "x.json")
        with pytest.raises(UserError, match=r"x\.json is not a regular file"):
            read_json(tmp_path / "x.json")

    @pytest.mark.parametrize("name", [LONG_NAME, "a\0b"])
    def test_a_name_that_no_file_can_have(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="cannot be read"):
            read_json(tmp_path / name)

    def test_a_file_of_megabytes_too_many_is_refused_unread(self, tmp_path: Path) -> None:
        with open(tmp_path / "x.json", "wb") as file:
            file.truncate((1 << 28) + 1)
        with pytest.raises(UserError, match=r"x\.json is larger than"):
            read_json(tmp_path / "x.json")

    def test_what_is_no_text(self, tmp_path: Path) -> None:
        (tmp_path / "x.md").write_bytes(b"\xff\xfe")
        with pytest.raises(UserError, match=r"x\.md is not UTF-8 text"):
            read_text(tmp_path / "x.md")


class TestDataSet:
    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("control_hz", float("nan")),
            ("control_hz", 10**400),
            ("control_hz", 0),
            ("config", {"x": [float("inf")]}),
            ("environment", {"x": float("nan")}),
            ("task", "lift\x1b[2J"),
            ("cameras", ["a" * 201]),
            ("phases", ["reach", "\x07"]),
            ("action_spec", {**HEADER["action_spec"], "low": [-(10**400), 0, 0, 0]}),
        ],
    )
    def test_a_header_that_could_not_be_written_again(self, key: str, value: Any, tmp_path: Path) -> None:
        folder = planted("manifest", tmp_path)
        alter(folder / "manifest.json", lambda manifest: manifest.update({key: value}))
        with pytest.raises(UserError, match=r"manifest\.json"):
            EpisodeStore.open(folder)

    def test_a_success_without_steps(self, tmp_path: Path) -> None:
        folder = planted("manifest", tmp_path)
        alter(folder / "manifest.json", lambda manifest: manifest["episodes"][0].update(num_steps=0))
        with pytest.raises(UserError, match=r"manifest\.json: seed 0: a success without steps"):
            EpisodeStore.open(folder, verify=False)

    def test_poses_of_different_lengths(self, tmp_path: Path) -> None:
        folder, path = planted("counterfactuals", tmp_path), f"{EPISODE}/counterfactuals.npz"
        pairs = dict(read_npz(folder / path, COUNTERFACTUALS_LAYOUT, {**array_sizes(HEADER), "pairs": 1}))
        for name in ("cue_pose", "cue_pose_moved"):
            pairs[name] = np.zeros((1, 7))
        plant(folder, sign({path: npz_of(pairs)}))
        store = EpisodeStore.open(folder)
        with pytest.raises(UserError, match="cue poses have"):
            store.counterfactuals(store.seeds)

    def test_bounds_beyond_every_float(self) -> None:
        with pytest.raises(UserError, match="finite"):
            ActionSpec.from_json({**HEADER["action_spec"], "high": [10**400] * 4})


def npz_of(arrays: dict[str, Any], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            if isinstance(array, bytes):
                member.write(array)
            else:
                np.lib.format.write_array(member, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            archive.writestr(f"{name}.npy", member.getvalue())
    return buffer.getvalue()


def npy_header(dtype: str, shape: str) -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def text_array(text: str) -> Any:
    return np.frombuffer(text.encode(), np.uint8)


PICTURE_ARRAYS = {
    "pictures": np.zeros((2, 2, 3, 8, 8), np.uint8),
    "cue_m": np.zeros((2, 2, 2)),
    "provenance": text_array("{}"),
}


@pytest.mark.parametrize(
    "content",
    [
        npz_of({**PICTURE_ARRAYS, "pictures": npy_header("|u1", "(1000000000000,)")}),
        npz_of({**PICTURE_ARRAYS, "pictures": npy_header("|O", "(1,)") + b"csmidgen_fuzz_canary\nPolicy\n."}),
        npz_of({**PICTURE_ARRAYS, "provenance": text_array("[" * 100_000)}),
        npz_of({**PICTURE_ARRAYS, "provenance": np.frombuffer(b"\xff", np.uint8)}),
        npz_of(PICTURE_ARRAYS, zipfile.ZIP_LZMA),
        npz_of({**PICTURE_ARRAYS, "pictures": np.zeros((1 << 26) + 1, np.uint8)}, zipfile.ZIP_DEFLATED),
    ],
    ids=["1e12 pixels", "pickle", "deep", "not UTF-8 text", "lzma", "bomb"],
)
def test_forged_pictures(content: bytes, tmp_path: Path) -> None:
    (tmp_path / PICTURES).write_bytes(content)
    with pytest.raises(UserError, match=r"pictures\.npz"):
        read_pictures(tmp_path / PICTURES)
