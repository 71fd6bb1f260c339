import io
import os
import pickle
import resource
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy

from smidgen.data_collection.array_files import check_npy, read_npz, write_npy, write_npz
from smidgen.runtime.errors import UserError

DTYPES = ("|u1", "<f8", "<i2", "|b1", "<i8")
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def arrays():
    shapes = hypothesis_numpy.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)
    return st.sampled_from(DTYPES).flatmap(lambda dtype: hypothesis_numpy.arrays(dtype, shapes))


def layout_of(array):
    return array.dtype.str, array.shape


@quick
@given(array=arrays())
def test_npy_comes_back_as_it_was_written(tmp_path, array):
    path = tmp_path / "frames.npy"
    write_npy(path, array)
    back = check_npy(path, "frames", layout_of(array), {}).memory_mapped()
    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(np.load(path, allow_pickle=False), array)


@quick
@given(contents=st.dictionaries(st.sampled_from("abcd"), arrays(), min_size=1))
def test_npz_comes_back_as_it_was_written_and_to_the_byte(tmp_path, contents):
    path, again = tmp_path / "arrays.npz", tmp_path / "again.npz"
    write_npz(path, contents)
    write_npz(again, dict(reversed(list(contents.items()))))
    assert path.read_bytes() == again.read_bytes()
    back = read_npz(path, {name: layout_of(array) for name, array in contents.items()}, {})
    for name, array in contents.items():
        np.testing.assert_array_equal(back[name], array)
        np.testing.assert_array_equal(np.load(path)[name], array)


def test_npz_does_not_remember_when_it_was_written(tmp_path):
    write_npz(tmp_path / "a.npz", {"x": np.arange(3)})
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_frames_are_mapped_and_read_only(tmp_path):
    write_npy(tmp_path / "frames.npy", np.zeros((4, 2), np.uint8))
    frames = check_npy(tmp_path / "frames.npy", "frames", ("|u1", ("steps", 2)), {}).memory_mapped()
    assert isinstance(frames, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        frames[0] = 1


def test_named_axes_must_agree(tmp_path):
    write_npz(tmp_path / "a.npz", {"x": np.zeros((3, 2)), "y": np.zeros(4)})
    layout = {"x": ("<f8", ("steps", 2)), "y": ("<f8", ("steps",))}
    with pytest.raises(UserError, match=r"a\.npz: array 'y': expected <f8 \(3,\), got <f8 \(4,\)"):
        read_npz(tmp_path / "a.npz", layout, {})


def forged_npy(shape, dtype="|u1", payload=b"", fortran=False):
    header = f"{{'descr': {dtype!r}, 'fortran_order': {fortran}, 'shape': {shape!r}, }}"
    text = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + payload


@pytest.mark.parametrize(
    "content",
    [
        forged_npy((10**12, 64, 64, 3)),
        forged_npy((2**63, 2**63)),
        forged_npy((-1,), payload=b"x"),
        forged_npy((3,), dtype="|O", payload=pickle.dumps([1, 2, 3])),
        forged_npy((2, 2), payload=b"1234", fortran=True),
        forged_npy((4,), dtype="|V0"),
        forged_npy((4,), dtype="<f8", payload=b"1234"),
        forged_npy((4,), payload=b"12345"),
        forged_npy("(" * 60),
        b"\x93NUMPY\x01\x00",
        b"\x93NUMPY\x02\x00\xff\xff\xff\x7f",
        b"",
        b"PK\x05\x06" + bytes(18),
    ],
)
def test_forged_arrays_are_refused_for_no_memory(tmp_path, content):
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (tmp_path / "frames.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"frames\.npy"):
        check_npy(tmp_path / "frames.npy", "frames", ("|u1", ("steps",)), {}).memory_mapped()
    with zipfile.ZipFile(tmp_path / "arrays.npz", "w") as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(UserError, match=r"arrays\.npz"):
        read_npz(tmp_path / "arrays.npz", {"x": ("|u1", ("steps",))}, {})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 50_000


def test_compressed_archives_are_refused(tmp_path):
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros(10_000_000, np.uint8))
    with pytest.raises(UserError, match="compressed"):
        read_npz(tmp_path / "bomb.npz", {"x": ("|u1", ("steps",))}, {})


@pytest.mark.parametrize("names", [["x.npy", "x.npy"], ["../x.npy"], ["x"], ["x.npy", "y.npy"], []])
def test_archives_with_other_members_are_refused(tmp_path, names):
    content = io.BytesIO()
    np.save(content, np.zeros(3, np.uint8))
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        warnings.simplefilter("ignore")  # zipfile's, about the member that is there twice
        for name in names:
            archive.writestr(name, content.getvalue())
    with pytest.raises(UserError, match="expected the arrays x"):
        read_npz(tmp_path / "a.npz", {"x": ("|u1", ("steps",))}, {})


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_files_are_read_as_the_layout_says_or_refused(tmp_path, data):
    layout = {"x": ("|u1", ("steps", 3)), "y": ("<f8", ("steps",))}
    path, frames = tmp_path / "a.npz", tmp_path / "x.npy"
    write_npz(path, {"x": np.ones((5, 3), np.uint8), "y": np.ones(5)})
    write_npy(frames, np.ones((5, 3), np.uint8))
    for file in (path, frames):
        file.write_bytes(mutated(data, file.read_bytes()))
    try:
        back = read_npz(path, layout, {})
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert back["x"].shape == (len(back["y"]), 3)
    try:
        assert check_npy(frames, "x", layout["x"], {}).memory_mapped().shape[1:] == (3,)
    except UserError as error:
        assert "x.npy" in str(error)  # noqa: PT017


def mutated(data, content):
    start = data.draw(st.integers(0, len(content)))
    length = data.draw(st.integers(0, 40))
    return content[:start] + data.draw(st.binary(max_size=40)) + content[start + length :]


@pytest.mark.parametrize("kind", ["link", "pipe", "directory", "missing"])
def test_only_regular_files_are_opened(tmp_path, kind):
    path, target = tmp_path / "frames.npy", tmp_path / "target.npy"
    write_npy(target, np.zeros(3, np.uint8))
    if kind == "link":
        path.symlink_to(target)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    with pytest.raises(UserError, match=r"frames\.npy is (missing|not a regular file)"):
        check_npy(path, "frames", ("|u1", ("steps",)), {}).memory_mapped()
