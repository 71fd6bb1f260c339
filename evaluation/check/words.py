"""What a check found, in plain words: the first screen, the meaning of every probe, and what to try first."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from smidgen.evaluation.check.decision import (
    CLOSED,
    CUE,
    EPISODES,
    FEW,
    FRAMES,
    IGNORED,
    NO_FRAMES,
    ONLY_PREDICTIONS,
    SAME_ANSWER,
    UNCLEAR,
    USED,
    WIDE,
)
from smidgen.evaluation.check.probes import (
    AS_RECORDED,
    BLANKED,
    CAMERA_BLANKED,
    CAMERA_SWAPPED,
    DELAY,
    DELAYED,
    FRAMES_SWAPPED,
    FROZEN,
    JITTERED,
    REPEATED,
    SHIFTED,
    STATE_SWAPPED,
)
from smidgen.evaluation.check.rows import Measured
from smidgen.evaluation.check.thresholds import SAME_BELOW
from smidgen.evaluation.collapse import labels
from smidgen.evaluation.collapse.labels import BLIND, BLIND_TO, PARTLY_BLIND, SEES, SEES_FROM, UNDECIDED
from smidgen.evaluation.collapse.verdict import MIN_EPISODES

if TYPE_CHECKING:
    from smidgen.evaluation.check.report import Report

MISSING = "–"  # noqa: RUF001
HELP_PAGE = "docs/my-policy-is-blind.md"
REFERENCES = {
    "mean": "the demonstrations' mean",
    "time_mean": "their mean at each step",
    "persistence": "staying where the arm is",
}
USES = {USED: "moves its answers", IGNORED: "is ignored", UNCLEAR: "is not clear"}
_TITLES = {
    AS_RECORDED: "as recorded",
    REPEATED: "as recorded, once more",
    FRAMES_SWAPPED: "another episode's frames",
    STATE_SWAPPED: "another episode's state",
    FROZEN: "the first frame throughout",
    BLANKED: "grey frames",
    DELAYED: f"frames {DELAY} steps late",
    SHIFTED: "frames shifted by one pixel",
    JITTERED: "frames off by one grey level",
    CAMERA_SWAPPED: "another episode's frames from {camera}",
    CAMERA_BLANKED: "grey frames from {camera}",
}
_HEADLINES = {
    SEES: "{name} uses its {cameras} to decide what to do",
    PARTLY_BLIND: "{name} uses its {cameras} in part to decide what to do",
    BLIND: "{name} does not use its {cameras} to decide what to do",
    UNDECIDED: "{name}: cannot tell whether it uses its {cameras}",
}
# From here on an answer counts as moved by what nobody would see, and a habit as one.
_FRAGILE_FROM, _HABIT_FROM, _FOLLOWS_FROM = 0.3, 0.5, 0.5
# A loss of skill below this is not mentioned.
_SAME_SKILL = 0.05


def number(value: float) -> str:
    """Two decimals; a dash where it is not defined."""
    return f"{value:z.2f}" if math.isfinite(value) else MISSING


def figure(measured: Measured) -> str:
    """A figure with its interval."""
    if not measured.is_known:
        return number(measured.value)
    return f"{number(measured.value)} [{number(measured.low)}, {number(measured.high)}]"


def percent(measured: Measured) -> str:
    """A share with its interval."""
    if not math.isfinite(measured.value):
        return MISSING
    ends = [measured.low, measured.high] if measured.is_known else []
    value, *interval = (f"{100 * each:.0f}" for each in (measured.value, *ends))
    return f"{value} %" + (f" [{', '.join(interval)}]" if interval else "")


def headline(report: Report) -> str:
    """The decision in one sentence."""
    cameras = "camera" if len(report.cameras) == 1 else "cameras"
    return _HEADLINES[report.decision.label].format(name=report.policy, cameras=cameras)


def first_screen(report: Report) -> list[str]:
    """Whether it uses its cameras and which, and how sure that is."""
    return [each for each in (f"{headline(report)}. {_because(report)}", _which(report), _how_sure(report)) if each]


def _because(report: Report) -> str:
    slope = number(report.decision.slope.value)
    moves = percent(Measured(report.responses[FRAMES_SWAPPED].change.value)) if _asked(report, FRAMES_SWAPPED) else ""
    towards = f"{slope} of the way towards what was done there (1: all of it, 0: nothing)"
    texts = {
        CUE: f"When only the cue is moved ({labels.CUE}), its answers go {slope} of the way that the expert's go "
        "(1: all of it, 0: nothing).",
        FRAMES: "When it is shown another episode's frames, at moments when the arm does not give away what comes next "
        f"(the first step above all), its answers go {towards}.",
        EPISODES: "From one episode to another, at moments when the arm does not give away what comes next, its "
        f"answers go {towards}: whatever it looks at, it does not use it.",
        SAME_ANSWER: "Its answers stay the same when it is shown another episode's frames.",
        NO_FRAMES: "It does not observe frames at all.",
        ONLY_PREDICTIONS: "A table of predictions cannot say what they depend on: for that the policy has to be asked.",
        FEW: f"It was asked about {report.num_episodes} episodes, and a decision needs {MIN_EPISODES}.",
        WIDE: f"Shown another episode's frames, its answers move by {moves} of what the demonstrations differ, and go "
        f"{towards}, but from episode to episode that differs too much.",
        CLOSED: "In these demonstrations the arm gives away what is done next at every moment that was asked about, so "
        "that nothing is left for frames to decide.",
    }
    whole = report.following.frames_whole.value
    if report.decision.label == BLIND and whole >= _FOLLOWS_FROM:
        texts[FRAMES] += f" Elsewhere they go {number(whole)} of the way: it follows the arm that it sees, not the cue."
    return texts[report.decision.reason]


def _which(report: Report) -> str:
    uses = report.decision.cameras
    named = {use: [camera for camera, each in uses.items() if each == use] for use in (USED, IGNORED, UNCLEAR)}
    texts = {
        USED: "Cameras that move its answers: {}.",
        IGNORED: "Ignored: {}.",
        UNCLEAR: "Not clear whether they move its answers: {}.",
    }
    found = [texts[use].format(", ".join(cameras)) for use, cameras in named.items() if cameras]
    if not uses and len(report.cameras) == 1 and report.observes is not None and "frames" in report.observes:
        return f"It has one camera, {report.cameras[0]}."
    return " ".join(found)


def _how_sure(report: Report) -> str:
    decision, asked = report.decision, f"{report.num_episodes} episodes, {report.num_windows} steps"
    if decision.reason == NO_FRAMES:
        return "That is certain: the policy says so itself."
    if decision.label == UNDECIDED:
        return f"Asked about {asked}."
    if decision.reason == SAME_ANSWER:
        return f"That is as sure as it gets: asked about {asked}, and the answers moved by less than {SAME_BELOW:.0%}."
    interval = f"95 % interval {number(decision.slope.low)} to {number(decision.slope.high)} over {asked}"
    limits = f"it counts as seeing from {SEES_FROM}, as blind up to {BLIND_TO}"
    sure = "the whole interval says so" if decision.is_certain else "part of the interval says otherwise"
    return f"How sure: {interval}; {limits}, and {sure}."


def _asked(report: Report, key: str) -> bool:
    return key in report.responses


def _change(report: Report, key: str) -> float:
    return report.responses[key].change.value if _asked(report, key) else math.nan


def probe_title(key: str) -> str:
    """What is shown, in a few words."""
    name, _, camera = key.partition(":")
    return _TITLES[name].format(camera=camera)


def probe_order(key: str) -> int:
    """Where a probe stands among all; those of one camera after another's are equal."""
    return list(_TITLES).index(key.partition(":")[0])


def sentence_case(text: str) -> str:
    """Text with a capital first letter, and names as they are."""
    return text[:1].upper() + text[1:]


def probe_meaning(key: str, report: Report) -> str:
    """What the answers under one probe mean."""
    name = key.partition(":")[0]
    return _MEANINGS[name](key, report)


def _if_moved(report: Report, key: str, text: str) -> str:
    """A text, unless a probe moves nothing."""
    change = _change(report, key)
    if not math.isfinite(change):
        return "The demonstrations do not differ here, so there is nothing to compare with."
    return text if change >= SAME_BELOW else "Its answers stay the same."


def _skill_change(report: Report, key: str) -> str:
    before, after = (report.responses[each].skill.value for each in (AS_RECORDED, key))
    if not math.isfinite(before - after):
        return ""
    if abs(before - after) < _SAME_SKILL:
        return "Its predictions are as good as before."
    if after > before:
        return f"Its predictions get better: skill {number(after)} after {number(before)}."
    useless = ", no better than looking at nothing" if after <= 0 < before else ""
    return f"Its skill falls from {number(before)} to {number(after)}{useless}."


def _as_recorded(key: str, report: Report) -> str:
    skill = report.responses[key].skill
    if skill.value > _SAME_SKILL:
        return f"Its squared error is {1 - skill.value:.0%} of that of the mean at each step, which looks at nothing."
    return "It predicts no better than the demonstrations' mean at each step, which looks at nothing."


def _repeated(key: str, report: Report) -> str:
    if not _change(report, key) >= SAME_BELOW:
        return "Asked twice, it answers the same."
    return "It is not deterministic: the same input again moves its answers. All other figures are freed of that."


def _frames_swapped(key: str, report: Report) -> str:
    whole, decisive = report.following.frames_whole.value, report.following.frames.value
    text = f"Its answers go {number(whole)} of the way towards what was done in that episode"
    if math.isfinite(decisive):
        text += f", {number(decisive)} where its arm does not give that away"
    return _if_moved(report, key, f"{text}.")


def _state_swapped(key: str, report: Report) -> str:
    frames, state = report.following.frames_whole.value, report.following.state.value
    text = f"Its answers go {number(state)} of the way towards what was done there"
    if math.isfinite(frames) and max(frames, state) >= _FOLLOWS_FROM / 2:
        follows = "the frames" if frames > 2 * state else "the state" if state > 2 * frames else "both in part"
        text += f": where frames and state disagree, it follows {follows}"
    return _if_moved(report, key, f"{text}.")


def _frozen(key: str, report: Report) -> str:
    if _change(report, key) < SAME_BELOW:
        return "Its answers stay the same: it does not look again after the first step."
    return _if_moved(report, key, _skill_change(report, key))


def _plain_loss(key: str, report: Report) -> str:
    return _if_moved(report, key, _skill_change(report, key))


def _unseen(key: str, report: Report) -> str:
    change = _change(report, key)
    wavers = "Nobody would see the difference, and it matters: the policy is fragile."
    return _if_moved(report, key, wavers if change >= _FRAGILE_FROM else "It hardly wavers.")


_MEANINGS: dict[str, Callable[[str, Report], str]] = {
    AS_RECORDED: _as_recorded,
    REPEATED: _repeated,
    FRAMES_SWAPPED: _frames_swapped,
    STATE_SWAPPED: _state_swapped,
    FROZEN: _frozen,
    BLANKED: _plain_loss,
    DELAYED: _plain_loss,
    SHIFTED: _unseen,
    JITTERED: _unseen,
    CAMERA_SWAPPED: _plain_loss,
    CAMERA_BLANKED: _plain_loss,
}


def advice(report: Report) -> list[str]:
    """What to try first, at most three things."""
    by_label = {SEES: _advice_seeing, PARTLY_BLIND: _advice_blind, BLIND: _advice_blind, UNDECIDED: _advice_undecided}
    return by_label[report.decision.label](report)[:3]


def _advice_blind(report: Report) -> list[str]:
    if report.decision.reason == NO_FRAMES:
        return ["Give it frames: it declares that it observes " + (", ".join(report.observes or ()) or "nothing") + "."]
    found = []
    if report.decision.reason == SAME_ANSWER:
        found.append(
            "Check that pictures reach the network at all: uint8 divided twice by 255, an input that is detached or "
            "frozen, axes in another order, a mask over everything. Then overfit eight examples."
        )
    if report.following.state.value >= _FOLLOWS_FROM:
        found.append("It follows the state in place of the picture: train it without the state, or drop it at random.")
    if report.habits.copycat.value >= _HABIT_FROM:
        found.append("It repeats the previous action: predict chunks, or drop earlier frames and states at random.")
    found.append(f"Go through {HELP_PAGE}, which has the checks and remedies in order, the cheapest first.")
    if report.decision.label == PARTLY_BLIND:
        found.append("Train longer or on more demonstrations, and check the checkpoints again (smidgen-check rank).")
    return found


def _advice_undecided(report: Report) -> list[str]:
    reason = report.decision.reason
    if reason == ONLY_PREDICTIONS:
        return ["Give the policy itself: policy=module:Class, or policy=process:COMMAND if it lives elsewhere."]
    if reason == CLOSED:
        return ["Check it on states where the picture decides: the beginnings of episodes, with objects moved."]
    return [f"Ask about more: episodes={2 * report.num_episodes} windows={2 * report.num_windows}, or more data."]


def _advice_seeing(report: Report) -> list[str]:
    found = []
    ignored = [camera for camera, use in report.decision.cameras.items() if use == IGNORED]
    if ignored:
        found.append(
            f"Find out why it ignores {', '.join(ignored)}: is that camera needed, does it show anything else?"
        )
    fragile = [probe_title(key) for key in (SHIFTED, JITTERED) if _change(report, key) >= _FRAGILE_FROM]
    if fragile:
        found.append(f"Its answers jump with {' and '.join(fragile)}: train with random shifts and noise.")
    if not report.responses[AS_RECORDED].skill.value > _SAME_SKILL:
        found.append("It looks, and yet predicts no better than the mean at each step: train longer, or a lower rate.")
    if report.habits.copycat.value >= _HABIT_FROM:
        found.append("It leans on the previous action: predict chunks, or drop earlier frames at random.")
    return found or ["Nothing here stands in the way. If it fails in closed loop, look for errors that add up."]


def remarks(report: Report) -> list[str]:
    """Habits and notes, a sentence each."""
    copycat, latching = report.habits.copycat, report.habits.latching
    found = []
    if math.isfinite(copycat.value):
        verdict = "it copies" if copycat.value >= _HABIT_FROM else "it does not copy"
        found.append(f"Weight of the previous action in its answers: {figure(copycat)} (1: a copycat); {verdict}.")
    else:
        found.append("Copying cannot be told here: what is done hardly changes from one step to the next.")
    if math.isfinite(latching.value):
        often = f"{latching.value:.0%} more" if latching.value > 0 else "no more"
        verdict = "it latches" if latching.value >= _HABIT_FROM else "it does not latch"
        found.append(f"Its answer stays where it was {often} often than the demonstrator's; {verdict}.")
    cue = report.following.cue
    if report.decision.reason == FRAMES and cue.is_known and cue.value < SEES_FROM <= report.decision.slope.value:
        found.append(
            f"When only the cue is moved in mid-motion, its answers go {figure(cue)} of the way: by then it goes by "
            "what its arm already does."
        )
    return found + list(report.notes)
