import errno
import multiprocessing
import os
import re
import time
from pathlib import Path

import pytest

from smidgen.runtime import files
from smidgen.runtime.errors import UserError


def test_canonical_json_is_one_sequence_of_bytes() -> None:
    assert files.canonical_json({"b": 1, "a": [1.5, None]}) == files.canonical_json({"a": [1.5, None], "b": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        files.canonical_json({"a": float("nan")})


def test_hashes_of_bytes_and_files_agree(tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    files.write_atomic(tmp_path / "deep" / "file", data)
    assert files.sha256_file(tmp_path / "deep" / "file") == files.sha256_bytes(data)


def test_a_failed_write_leaves_the_old_content_and_no_leftover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file"
    files.write_atomic(target, b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="no space left"):
        files.write_atomic(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_named_by_what_the_user_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def write() -> None:
        with files.atomic_directory(tmp_path / "set") as partial:
            files.write_atomic(partial / "part" / "file", b"new")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match=re.escape(f"no space left on disk for {tmp_path}/set/part/file;")):
        write()


def write_half(target: Path) -> None:
    with files.atomic_directory(target) as partial:
        (partial / "a").write_text("1")
        raise RuntimeError("half-way")


def test_a_directory_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "directory"
    with pytest.raises(RuntimeError, match="half-way"):
        write_half(target)
    assert not list(tmp_path.iterdir())
    with files.atomic_directory(target) as partial:
        (partial / "a").write_text("1")
        assert not target.exists()
    assert (target / "a").read_text() == "1"
    with pytest.raises(FileExistsError), files.atomic_directory(target):
        pass
    with files.atomic_directory(target, replace=True) as partial:
        (partial / "b").write_text("2")
    assert [path.name for path in target.iterdir()] == ["b"]
    assert list(tmp_path.iterdir()) == [target]


def test_leftovers_of_a_kill_are_removed(tmp_path: Path) -> None:
    (tmp_path / f"{files.TEMPORARY_PREFIX}x").mkdir()
    (tmp_path / f"{files.TEMPORARY_PREFIX}y").write_text("")
    (tmp_path / "kept").write_text("")
    files.remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"[" * 401 + b"]" * 401, b'["\\ud800"]', b"9" * 5000]
)
def test_broken_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.json is not valid JSON"):
        files.read_json(path)
    with pytest.raises(UserError, match="does not exist"):
        files.read_json(tmp_path / "absent.json")
    with pytest.raises(UserError, match="got a directory"):
        files.read_json(tmp_path)


def test_leftovers_of_one_file_are_removed_alone(tmp_path: Path) -> None:
    names = [f"{files.TEMPORARY_PREFIX}{name}-{'0' * 32}" for name in ("a.json", "a.json.mp4", "b.json")]
    for name in names:
        (tmp_path / name).touch()
    files.remove_leftovers(tmp_path, "a.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == names[1:]


def test_a_file_is_written_even_where_another_command_tidies_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, calls = os.replace, []

    def tidy_up_and_rename(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == 1:
            files.remove_leftovers(tmp_path)
        rename(source, target)

    monkeypatch.setattr(os, "replace", tidy_up_and_rename)
    files.write_atomic(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert len(calls) == 2


def test_a_lock_excludes_others_and_dies_with_its_holder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    holder = context.Process(target=_hold_until_killed, args=(tmp_path, held))
    holder.start()
    assert held.wait(60)
    with pytest.raises(UserError, match="another command is writing"), files.directory_lock(tmp_path):
        pass
    holder.kill()
    holder.join()
    with files.directory_lock(tmp_path):
        pass


def _hold_until_killed(directory: Path, held: "multiprocessing.synchronize.Event") -> None:
    with files.directory_lock(directory):
        held.set()
        time.sleep(60)
