"""Videos belong to one record: where they stand, how they are known, and that no page shows another's."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_lift import FakeLift
from html_page import Page
from leaderboard_records import build_record, video_entries, write
from test_changed_code import as_version_1

from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.evaluate import evaluate
from smidgen.evaluation.plan import make_plan
from smidgen.evaluation.records import Record, read_record, summary_line, write_record
from smidgen.evaluation.video_files import checkpoint_mark, is_own_video, read_mark, video_path
from smidgen.evaluation.videos import frames_sha256, write_video
from smidgen.leaderboard.command import leaderboard
from smidgen.runtime.command_line import run_command
from smidgen.runtime.errors import UserError

FRAMES = [np.full((16, 16, 3), shade, dtype=np.uint8) for shade in range(4)]
VIDEO = "lift-mine-3000000.mp4"


def run(out: Path | str, policy: str = "fake_lift:Hold", **changes: Any) -> Record:
    settings = {"episodes": 2, "workers": 0, "videos": 1, "image_size": 16, "name": "mine", **changes}
    return read_record(evaluate(EvalConfig(policy=policy, out=str(out), **settings), FakeLift)[0])


def shown(page: Path) -> set[str | None]:
    return {attrs["src"] for attrs, _ in Page(page.read_text()).all("video")}


def build(results: Path | str, *arguments: str) -> None:
    assert run_command(leaderboard, [f"results={results}", *arguments]) == 0


def test_folders_side_by_side_keep_their_own_videos(tmp_path: Path) -> None:
    records = {name: run(tmp_path / name, policy=f"fake_lift:{name}") for name in ("Hold", "ScriptedPolicy")}
    for name, record in records.items():
        (video,) = record["videos"]
        path = video_path(tmp_path / name / "lift-mine.json", video)
        assert path == tmp_path / name / "videos" / VIDEO
        assert is_own_video(video, path)
        assert str(tmp_path / name / "videos") in summary_line(tmp_path / name / "lift-mine.json", record)
    assert len({record["videos"][0]["frames_sha256"] for record in records.values()}) == 2
    assert not (tmp_path / "videos").exists()


@pytest.mark.parametrize(("out", "page"), [(".", "../leaderboard.html"), ("..", "../../leaderboard.html")])
def test_video_files_of_the_working_directory_are_found(
    out: str, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    (video,) = run(out)["videos"]
    assert is_own_video(video, Path(out, "videos", VIDEO))
    build(out)
    (source,) = shown(Path(page))
    assert Path(page).parent.joinpath(str(source)).samefile(Path(out, "videos", VIDEO))
    build(out, "site=site")
    assert shown(Path("site/index.html")) == {f"videos/{VIDEO}"}
    assert is_own_video(video, Path("site/videos", VIDEO))


def test_a_video_is_known_by_its_frames_and_not_by_its_encoding(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", FRAMES, True, 20)
    write_video(tmp_path / "b.mp4", FRAMES, True, 10)
    assert (tmp_path / "a.mp4").read_bytes() != (tmp_path / "b.mp4").read_bytes()
    assert read_mark(tmp_path / "a.mp4") == read_mark(tmp_path / "b.mp4") == f"smidgen frames {frames_sha256(FRAMES)}"
    others = (FRAMES[:3], FRAMES[::-1], [*FRAMES[:3], FRAMES[3] + 1], [frame.reshape(8, 32, 3) for frame in FRAMES])
    assert len({frames_sha256(frames) for frames in (FRAMES, *others)}) == 5
    assert read_mark(tmp_path / "none.mp4") is None


def test_another_s_video_in_its_place_is_not_shown_and_is_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = run(tmp_path / "results")
    path = tmp_path / "results" / "videos" / VIDEO
    own = path.read_bytes()
    for foreign in (lambda: write_video(path, FRAMES, True, 20), lambda: path.write_bytes(b"no video of ours")):
        foreign()
        build(tmp_path / "results", f"site={tmp_path / 'site'}")
        assert f"left out, of another evaluation: 1 video ({VIDEO})" in capsys.readouterr().out
        for page in (tmp_path / "leaderboard.html", tmp_path / "site" / "index.html"):
            assert shown(page) == set()
            assert f"or from another evaluation: {VIDEO}." in page.read_text()
            assert f"videos/{VIDEO}" not in page.read_text()
        assert not (tmp_path / "site" / "videos").exists()
    assert run(tmp_path / "results") == record
    assert path.read_bytes() == own
    path.unlink()
    build(tmp_path / "results", f"site={tmp_path / 'site'}")
    assert f"another evaluation: {VIDEO}." in (tmp_path / "site" / "index.html").read_text()


def test_video_files_of_version_1_stay_where_they_are(tmp_path: Path) -> None:
    write(tmp_path / "results", build_record("old", [True, False, True, True], videos=video_entries("old")))
    run(tmp_path / "results")
    (tmp_path / "videos").mkdir()
    for entry in video_entries("old")[:2]:
        (tmp_path / "videos" / entry["file"]).write_bytes(b"of an encoder of then")
    # A video that says whose it is belongs to no record that cannot name it.
    write_video(tmp_path / "videos" / video_entries("old")[2]["file"], FRAMES, True, 20)
    build(tmp_path / "results", f"site={tmp_path / 'site'}")
    kept = {f"videos/{entry['file']}" for entry in video_entries("old")[:2]}
    assert shown(tmp_path / "site" / "index.html") == {*kept, f"videos/{VIDEO}"}
    assert shown(tmp_path / "leaderboard.html") >= {*kept, f"results/videos/{VIDEO}"}
    assert f"videos/{video_entries('old')[2]['file']}" not in shown(tmp_path / "leaderboard.html")
    build(tmp_path / "results", f"videos={tmp_path / 'videos'}")
    assert shown(tmp_path / "leaderboard.html") >= kept


def test_a_site_in_the_folder_of_the_records_would_overwrite_them(tmp_path: Path) -> None:
    run(tmp_path / "results")
    assert run_command(leaderboard, [f"results={tmp_path / 'results'}", f"site={tmp_path / 'results'}"]) == 2


def test_a_saliency_video_is_shown_with_its_checkpoint_alone(tmp_path: Path) -> None:
    second: Any = json.loads(json.dumps(build_record("a", [True])))
    second["schema_version"] = 2
    second["policy"] |= {"code": {}, "files": {}}
    write(tmp_path / "results", second)
    looks = {"own": checkpoint_mark("a" * 64), "other": checkpoint_mark("b" * 64), "none": ""}
    for method, mark in looks.items():
        write_video(tmp_path / "saliency" / f"lift-a-3000000-{method}.mp4", FRAMES, True, 20, mark)
    build(tmp_path / "results")
    links = {attrs["href"] for attrs, _ in Page((tmp_path / "leaderboard.html").read_text()).all("a")}
    assert {link for link in links if link and "saliency/" in link} == {"saliency/lift-a-3000000-own.mp4"}


def test_an_evaluation_that_was_recorded_by_an_earlier_one_alone_is_recorded_again(tmp_path: Path) -> None:
    run(tmp_path / "results", videos=0)
    shards = list((tmp_path / "results" / ".shards" / "lift-mine").glob("*.json"))
    assert all(json.loads(shard.read_text())["frames_sha256"] is None for shard in shards)
    (video,) = run(tmp_path / "results", overwrite=True)["videos"]
    assert is_own_video(video, tmp_path / "results" / "videos" / VIDEO)


@pytest.mark.parametrize("name", ["x.host", "x.HOST", "x.verification", "x.Verification", "perceiver-1.5.host"])
def test_names_that_end_as_our_own_files_do_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"which is reserved for files beside a record; choose"):
        EvalConfig(policy="noop", out=str(tmp_path), name=name)


def test_names_like_ours_that_collide_with_nothing_keep_their_records(tmp_path: Path) -> None:
    names = ("x.twin", "host", "verification", "x.json", "x.md", "x.hosts", "all", "x.shards")
    for name in names:
        run(tmp_path / "results", name=name, policy="noop")
    build(tmp_path / "results")
    table = (tmp_path / "results" / "leaderboard.csv").read_text()
    assert [name for name in names if f",{name}," not in table] == []


def test_names_that_differ_in_capitals_alone_are_refused(tmp_path: Path) -> None:
    run(tmp_path / "results", videos=0, name="Mine")
    with pytest.raises(
        UserError, match=r"lift-mine\.json and .*lift-Mine\.json are the same file on some file systems"
    ):
        run(tmp_path / "results", videos=0, name="mine")
    assert make_plan(EvalConfig(policy="noop", out=str(tmp_path / "results"), name="Mine"), FakeLift)


def test_a_record_of_version_1_has_no_place_for_a_new_field(tmp_path: Path) -> None:
    record = as_version_1(run(tmp_path / "results"))
    write_record(tmp_path / "old.json", record)
    shutil.copy(tmp_path / "old.json", tmp_path / "again.json")
    assert read_record(tmp_path / "again.json") == record
