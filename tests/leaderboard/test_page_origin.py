"""Where a page says that it comes from: versions of its records, and the commit that holds them."""

import subprocess
from pathlib import Path

import pytest
from leaderboard_records import build_record, video_entries, write

from smidgen.leaderboard.command import leaderboard
from smidgen.leaderboard.page_origin import Origin, origin_of, web_address


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *who, "-C", str(folder), *arguments], check=True, capture_output=True)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    write(folder, build_record("a", [True], versions={"smidgen": "0.1.0"}, videos=video_entries("a")[:1]))
    return folder


def committed(results: Path) -> None:
    git(results.parent, "init")
    git(results.parent, "remote", "add", "origin", "https://me:secret@example.org/us/smidgen.git")
    git(results.parent, "add", "results")
    git(results.parent, "commit", "-m", "records", "--date", "2026-01-02T03:04:05Z")


def test_records_outside_a_repository_have_no_commit(results: Path) -> None:
    assert origin_of(results) == Origin()


def test_committed_records_name_commit_date_and_repository_without_a_password(results: Path) -> None:
    committed(results)
    origin = origin_of(results)
    assert len(origin.commit) >= 7
    assert len(origin.date.split("-")) == 3
    assert origin.repository == "https://example.org/us/smidgen"
    leaderboard([f"results={results}"])
    page = (results.parent / "leaderboard.html").read_text()
    assert "Records written by smidgen 0.1.0; last changed on " in page
    assert f"(commit <code>{origin.commit}</code>)" in page
    assert '<a href="https://example.org/us/smidgen">Repository</a>' in page
    assert "secret" not in page


def test_records_that_no_commit_holds_as_they_are_have_no_date(results: Path) -> None:
    committed(results)
    write(results, build_record("later", [True]))
    assert origin_of(results) == Origin()


def test_a_record_that_differs_or_is_gone_takes_date_and_link_away(results: Path) -> None:
    committed(results)
    (record,) = results.glob("*.json")
    content = record.read_bytes()
    record.write_bytes(content + b" ")
    assert origin_of(results) == Origin()
    record.write_bytes(content)
    assert origin_of(results).commit
    record.unlink()
    assert origin_of(results) == Origin()


def test_a_repository_that_comes_with_the_records_runs_nothing(results: Path, tmp_path: Path) -> None:
    committed(results)
    canary = tmp_path / "ran"
    (results.parent / ".gitattributes").write_text("*.json filter=evil\n")
    for key in (
        "core.fsmonitor",
        "filter.evil.clean",
        "filter.evil.smudge",
        "gpg.program",
        "core.pager",
        "diff.external",
    ):
        git(results.parent, "config", key, f"touch {canary}; cat")
    git(results.parent, "config", "log.showSignature", "true")
    (record,) = results.glob("*.json")
    record.touch()
    assert origin_of(results).commit
    assert not canary.exists()


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("git@github.com:us/smidgen.git", "https://github.com/us/smidgen"),
        ("https://example.org/us/smidgen", "https://example.org/us/smidgen"),
        ("/srv/git/smidgen", ""),
        ("javascript:alert(1)", ""),
        ("", ""),
    ],
)
def test_a_remote_as_a_browser_opens_it(remote: str, address: str) -> None:
    assert web_address(remote) == address


def test_a_video_that_is_not_there_is_not_offered(results: Path) -> None:
    leaderboard([f"results={results}"])
    page = (results.parent / "leaderboard.html").read_text()
    assert "to see how it ended" in page
    assert "to watch it" not in page
    assert "<video" not in page.partition("<script")[0]
    (results.parent / "videos").mkdir()
    (results.parent / "videos" / video_entries("a")[0]["file"]).write_bytes(b"video")
    leaderboard([f"results={results}"])
    assert "to watch it" in (results.parent / "leaderboard.html").read_text()
