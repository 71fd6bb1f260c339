"""Whether an evaluation is already finished, and how another evaluation's record differs from it."""

from __future__ import annotations

from typing import Any

from smidgen.evaluation.collapse import DETECTOR_VERSION
from smidgen.evaluation.plan import EvaluationPlan
from smidgen.evaluation.record_schema import SCHEMA_VERSION, Record
from smidgen.evaluation.records import read_record
from smidgen.evaluation.video_files import is_own_video, video_path
from smidgen.runtime.differences import differences
from smidgen.runtime.errors import UserError
from smidgen.runtime.user_code import changed_files


def is_finished(plan: EvaluationPlan) -> bool:
    """Whether this very evaluation has its record and videos.

    Raises:
        UserError: If the record is of another evaluation, of other code or of an earlier schema.
    """
    path = plan.record_path
    if not path.exists() or plan.config.overwrite:
        return False
    record = read_record(path)
    if difference := _difference(record, plan.fixed):
        raise UserError(
            f"{path} {difference}; overwrite=true runs every episode again; name=... or another out= keeps both"
        )
    if record["collapse"].get("detector_version") != DETECTOR_VERSION:
        return False
    return all(is_own_video(video, video_path(path, video)) for video in record["videos"])


def _difference(record: Record, fixed: dict[str, Any]) -> str:
    """How a record differs from the requested one, in words; "" if it does not."""
    if record["schema_version"] != SCHEMA_VERSION:
        return f"is a record of schema version {record['schema_version']}, which is read and ranked but never resumed"
    card = record["policy"]
    made_of = [(card[part], fixed["policy"][part]) for part in ("code", "files")]
    made_of.append((record["config"].get("task_code", {}), fixed["config"].get("task_code", {})))
    for there, here in made_of:
        if changed := changed_files(there, here):
            return f"was made before {_named(changed)} changed"
    videos = [{"seed": video["seed"], "file": video["file"]} for video in record["videos"]]
    stored = {field: videos if field == "videos" else dict(record)[field] for field in fixed}
    for each in differences(stored, fixed):
        return f"is the record of another evaluation: {each.path} is {each.there!r:.60}, requested {each.here!r:.60}"
    return ""


def _named(files: list[str]) -> str:
    """At most two names, and how many more there are."""
    others = len(files) - 2
    return f"{', '.join(files[:2])} and {others} others" if others > 0 else " and ".join(files)
