"""The folder to publish: which videos it holds, what is said of those it does not, and what it links to."""

from pathlib import Path

import pytest
from html_page import Page
from leaderboard_records import build_record, rich_records, video_entries, write

from smidgen.evaluation.videos import MAX_BYTES
from smidgen.leaderboard import clips
from smidgen.leaderboard.clips import choose_videos
from smidgen.leaderboard.command import leaderboard
from smidgen.leaderboard.ranking import rank_runs, read_runs
from smidgen.runtime.command_line import run_command

# What MP4 files are made of does not matter here.
SIZE = 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Records with videos, saliency videos and claims."""
    for record in rich_records():
        write(tmp_path / "results", record)
        for video in record["videos"]:
            place = tmp_path / "videos" / video["file"]
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(bytes(SIZE))
    looks = tmp_path / "saliency"
    looks.mkdir()
    for name in (
        "lift-raw-400-2000000-input",
        "lift-raw-400-2000000",
        "lift-nobody-2000000-input",
        "lift-raw-400-x-input",
    ):
        (looks / f"{name}.mp4").write_bytes(bytes(SIZE))
    return tmp_path


def build(folder: Path, *arguments: str) -> int:
    return run_command(leaderboard, [f"results={folder / 'results'}", f"site={folder / 'site'}", *arguments])


def page(folder: Path) -> Page:
    return Page((folder / "site" / "index.html").read_text())


def videos_shown(parsed: Page) -> set[str | None]:
    return {attrs["src"] for attrs, _ in parsed.all("video")}


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder / "site").as_posix() for path in (folder / "site").rglob("*") if path.is_file()}


def test_all_that_the_page_refers_to_is_there_and_nothing_else(folder: Path) -> None:
    assert build(folder) == 0
    parsed = page(folder)
    links = {attrs["href"] for attrs, _ in parsed.all("a") if attrs["href"] and not attrs["href"].startswith("#")}
    assert links == {"saliency/lift-raw-400-2000000-input.mp4"}
    assert len(videos_shown(parsed)) == 12
    assert files(folder) == {"index.html", *videos_shown(parsed), *links}


def test_a_second_call_changes_nothing_and_check_finds_a_changed_video(folder: Path) -> None:
    assert build(folder) == 0
    before = {path: (folder / "site" / path).read_bytes() for path in files(folder)}
    assert build(folder) == 0
    assert {path: (folder / "site" / path).read_bytes() for path in files(folder)} == before
    assert build(folder, "check=true") == 0
    (folder / "site" / "videos" / "lift-dft3d-3000000.mp4").write_bytes(b"")
    assert build(folder, "check=true") == 2


def test_what_is_missing_or_too_large_is_left_out_and_said(folder: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / "videos" / "lift-dft3d-3000001.mp4").unlink()
    (folder / "videos" / "lift-dft3d-3000002.mp4").write_bytes(bytes(MAX_BYTES + 1))
    assert build(folder) == 0
    said = capsys.readouterr().out
    assert "left out, not there: 1 video (lift-dft3d-3000001.mp4)" in said
    assert "left out, above 300 kB: 1 video (lift-dft3d-3000002.mp4)" in said
    assert "together" not in said
    shown = videos_shown(page(folder))
    assert len(shown) == 10
    assert not shown & {"videos/lift-dft3d-3000001.mp4", "videos/lift-dft3d-3000002.mp4"}
    assert shown <= files(folder)


def test_beyond_the_total_the_least_telling_go_first(
    folder: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "MOST_BYTES_TOGETHER", 8 * SIZE)
    assert build(folder) == 0
    assert "left out, beyond 0 MB together: 5 videos (" in capsys.readouterr().out
    kept = {name for name in files(folder) if name.endswith(".mp4")}
    # A success and a failure of each row with videos, the saliency, and of the rest the best row's.
    firsts = {f"videos/{task}-dft3d-300000{seed}.mp4" for task in ("lift", "door") for seed in (0, 1)}
    assert firsts | {"saliency/lift-raw-400-2000000-input.mp4"} < kept
    assert sum((folder / "site" / name).stat().st_size for name in kept) == 8 * SIZE
    assert videos_shown(page(folder)) | {"saliency/lift-raw-400-2000000-input.mp4"} == kept


def test_videos_of_an_earlier_call_are_reported_and_left_alone(folder: Path, capsys: pytest.CaptureFixture) -> None:
    old = folder / "site" / "videos" / "lift-gone-3000000.mp4"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"")
    assert build(folder) == 0
    assert "not on its page, remove them: 1 video (lift-gone-3000000.mp4)" in capsys.readouterr().out
    assert old.exists()


def test_the_limits_are_those_of_the_encoder_and_of_the_page() -> None:
    assert clips.MOST_BYTES_EACH == MAX_BYTES == 300_000
    assert clips.MOST_BYTES_TOGETHER == 50_000_000


def test_a_failure_is_as_telling_as_a_success(tmp_path: Path) -> None:
    write(tmp_path / "results", build_record("a", [True, True, True, False], videos=video_entries("a")))
    groups = rank_runs(read_runs(tmp_path / "results"))
    for entry in video_entries("a"):
        (tmp_path / entry["file"]).write_bytes(bytes(SIZE))
    chosen = choose_videos(groups, tmp_path, [], tmp_path / "site")
    assert [path.stem[-1] for path in chosen.copies] == ["0", "3", "1", "2"]


@pytest.mark.parametrize("site", ["", "results/.."])
def test_a_site_does_not_overwrite_what_it_is_made_of(folder: Path, site: str, capsys: pytest.CaptureFixture) -> None:
    assert run_command(leaderboard, [f"results={folder / 'results'}", f"site={folder / site}"]) == 2
    assert "contains the source videos of the site" in capsys.readouterr().err


def test_a_page_about_claims_is_linked_and_copied(folder: Path, capsys: pytest.CaptureFixture) -> None:
    claims = folder / "verdicts.html"
    claims.write_text("<p>holds</p>")
    assert build(folder, f"claims={claims}") == 0
    assert "claims.html" in [attrs["href"] for attrs, _ in page(folder).all("a")]
    assert (folder / "site" / "claims.html").read_bytes() == claims.read_bytes()
    beside = Page((folder / "leaderboard.html").read_text())
    assert "verdicts.html" in [attrs["href"] for attrs, _ in beside.all("a")]


def test_a_page_about_claims_that_is_not_there_stops_everything_by_name(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    assert build(folder, f"claims={folder / 'none.html'}") == 2
    assert "none.html is not a file" in capsys.readouterr().err
    assert not (folder / "site").exists()
