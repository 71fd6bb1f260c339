"""File systems that lack something: locks, syncing, renames, writing, or a difference between a and A."""

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from read_only_mount import run_beside_read_only

from smidgen.runtime import files, owner_lock
from smidgen.runtime.errors import UserError

WITHOUT_FLOCK = [errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL]
ROOT = Path(__file__).parents[2]


def refuse_with(number: int):
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.fixture
def without_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", refuse_with(errno.ENOLCK))


@pytest.mark.parametrize("number", WITHOUT_FLOCK)
def test_a_directory_is_locked_without_flock(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", refuse_with(number))
    with files.directory_lock(tmp_path):
        assert (tmp_path / files.OWNER_NAME).exists()
        with pytest.raises(UserError, match="another command is writing to") as raised, files.directory_lock(tmp_path):
            pass
        assert str(tmp_path) in str(raised.value)
        assert f"'{os.getpid()}'" in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == [files.LOCK_NAME]
    with files.directory_lock(tmp_path):
        pass


def test_another_error_of_flock_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", refuse_with(errno.EIO))
    with pytest.raises(OSError, match="Input/output"), files.directory_lock(tmp_path):
        pass


@pytest.mark.usefixtures("without_flock")
def test_a_dead_owners_lock_is_taken_over(tmp_path: Path) -> None:
    code = "import os, signal, sys; from pathlib import Path; from smidgen.runtime.owner_lock import owner_lock\n"
    code += "with owner_lock(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    path = tmp_path / files.OWNER_NAME
    subprocess.run([sys.executable, "-c", code, str(path)], check=False, cwd=ROOT)
    assert path.exists()
    with files.directory_lock(tmp_path):
        assert json.loads(path.read_text())["process"] == str(os.getpid())
    assert [entry.name for entry in tmp_path.iterdir()] == [files.LOCK_NAME]


@pytest.mark.usefixtures("without_flock")
def test_a_process_id_given_out_again_is_not_its_former_owner(tmp_path: Path) -> None:
    owner = owner_lock._this_process() | {"started": "1"}
    (tmp_path / files.OWNER_NAME).write_text(json.dumps(owner))
    with files.directory_lock(tmp_path):
        pass


@pytest.mark.usefixtures("without_flock")
@pytest.mark.parametrize("content", ['{"machine": "elsewhere", "process": "7"}', "", "[]", "{"])
def test_a_lock_that_cannot_be_checked_is_left_and_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / files.OWNER_NAME
    path.write_text(content)
    with pytest.raises(UserError, match=f"delete {path}"), files.directory_lock(tmp_path):
        pass
    assert path.read_text() == content


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_that_cannot_sync_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", refuse_with(number))
    files.write_atomic(tmp_path / "file", b"content")
    with files.atomic_directory(tmp_path / "directory") as partial:
        (partial / "file").write_bytes(b"content")
    assert (tmp_path / "file").read_bytes() == (tmp_path / "directory" / "file").read_bytes() == b"content"


def test_a_failing_disk_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", refuse_with(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        files.write_atomic(tmp_path / "file", b"content")


def test_a_file_is_prepared_where_it_will_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename works within one file system alone."""
    renamed, rename = [], os.replace

    def remember(source: Path, target: Path) -> None:
        renamed.append((Path(source).parent, Path(target).parent))
        rename(source, target)

    monkeypatch.setattr(os, "replace", remember)
    files.write_atomic(tmp_path / "file", b"content")
    assert renamed == [(tmp_path, tmp_path)]


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EBUSY, errno.EOPNOTSUPP, errno.ESTALE])
def test_a_rename_that_the_file_system_refuses_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "replace", refuse_with(number))
    with pytest.raises(UserError, match=f"cannot write {tmp_path / 'file'}"):
        files.write_atomic(tmp_path / "file", b"content")
    assert not list(tmp_path.iterdir())


def test_a_directory_of_an_image_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an overlay, a directory of a lower layer cannot be renamed (EXDEV)."""
    target, rename = tmp_path / "directory", os.rename
    target.mkdir()
    (target / "old").touch()

    def overlay(source: Path, to: Path) -> None:
        if Path(source) == target:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, to)

    monkeypatch.setattr(os, "rename", overlay)
    with files.atomic_directory(target, replace=True) as partial:
        (partial / "new").touch()
    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_names_that_differ_in_case_alone_do_not_overwrite_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_atomic(tmp_path / "cnn.json", b"first")
    files.write_atomic(tmp_path / "CNN.json", b"second")
    assert (tmp_path / "cnn.json").read_bytes() == b"first"
    (tmp_path / "CNN.json").unlink()
    monkeypatch.setattr(os.path, "lexists", lambda path: True)
    with pytest.raises(UserError, match=r"would overwrite cnn\.json: this file system is case-insensitive"):
        files.write_atomic(tmp_path / "CNN.json", b"second")
    files.write_atomic(tmp_path / "cnn.json", b"third")


def test_a_read_only_mount_is_read_and_its_writer_told(tmp_path: Path) -> None:
    (tmp_path / "file.json").write_text("{}")
    code = """
import sys
from pathlib import Path
from smidgen.runtime import files
from smidgen.runtime.errors import UserError

here = Path(sys.argv[1])
print(files.read_json(here / "file.json"), len(files.sha256_file(here / "file.json")))
def lock():
    with files.directory_lock(here):
        pass
def replace():
    with files.atomic_directory(here / "new"):
        pass
for write in (lock, replace, lambda: files.write_atomic(here / "new", b"")):
    try:
        write()
    except UserError as error:
        print(error)
"""
    first, *lines = run_beside_read_only(tmp_path, code, tmp_path)
    assert first == "{} 64"
    assert len(lines) == 3
    for line in lines:
        assert line.startswith(f"cannot write {tmp_path}/")
        assert line.endswith("Read-only file system; choose another directory")
