"""Every call of a policy: what it is given is its own, its answer is copied and checked, what it raises is named."""

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from smidgen.policies.policy_calls import PolicyCalls, PolicyError, numbers, own_arrays
from smidgen.runtime.errors import UserError


class Answering:
    """Answers with whatever a function gives."""

    name, observes = "answering", ("eef_state",)

    def __init__(self, answer: Callable[[], Any]) -> None:
        self.answer = answer

    def reset(self, num_episodes: int = 1, seed: int = 0) -> None:
        pass

    def act(self, observations: dict[str, Any]) -> Any:
        return self.answer()


class Predicting(Answering):
    """Answers with that as a chunk."""

    def chunk(self, observations: dict[str, Any]) -> Any:
        observations["eef_state"][:] = 9
        return self.answer()


def chunk(answer: Callable[[], Any], num_episodes: int = 1) -> np.ndarray:
    calls = PolicyCalls(Predicting(answer))
    calls.reset(num_episodes)
    return calls.chunk({"eef_state": np.zeros((num_episodes, 4))}, 2)


def act(answer: Callable[[], Any]) -> np.ndarray:
    calls = PolicyCalls(Answering(answer))
    calls.reset()
    return calls.act({"eef_state": np.zeros((1, 4))}, 2)


def raising(error: BaseException) -> Callable[[], Any]:
    def answer() -> Any:
        raise error

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        np.array([[0.5, -1]], dtype=np.float32),
        np.array([[0.5, -1]], dtype=np.longdouble),
        [[0.5, -1]],
        [(0.5, -1)],
        torch.tensor([[0.5, -1]], dtype=torch.bfloat16, requires_grad=True),
        [torch.tensor([0.5, -1], requires_grad=True)],
        np.asfortranarray([[0.5, -1]])[:, ::1],
    ],
)
def test_numbers_of_any_kind_are_answers(answer: Any) -> None:
    actions = act(lambda: answer)
    assert actions.dtype == np.float64
    assert actions.tolist() == [[0.5, -1]]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "got None; does act return them"),
        ([[True, False]], "got bool"),
        (torch.tensor([[True, False]]), "got bool"),
        (np.ones((1, 2), dtype=complex), "got complex128"),
        (torch.ones(1, 2, dtype=torch.complex64), "got complex64"),
        (np.ones((1, 2), dtype=object), "ndarray of objects"),
        ([[None, 1.0]], "list of objects"),
        ([["1", "2"]], "got text"),
        ("12", "got text"),
        ({"action": 1}, "got dict"),
        ((row for row in [[1, 2]]), "a generator"),
        ([[1, 2], [3]], "ragged"),
        ([np.zeros(3), np.zeros(2)], "ragged"),
        (np.ma.masked_array([[1.0, 2.0]], [[0, 1]]), "masked"),
        ([[np.nan, 1.0]], "not finite"),
        ([[np.inf, 1.0]], "not finite"),
        (np.array([[1e4000, 1]], dtype=np.longdouble), "not finite"),
        (1.0, r"shape \(1, 2\), got \(\)"),
        ([1.0, 2.0], r"got \(2,\): return a batch"),
        (np.zeros((2, 2)), r"got \(2, 2\): return one row"),
        (np.zeros((1, 5, 2)), r"got \(1, 5, 2\): return the next action"),
        (np.zeros((1, 3)), r"got \(1, 3\)$"),
        (np.zeros((0, 2)), r"got \(0, 2\)"),
    ],
)
def test_anything_else_is_named(answer: Any, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        act(lambda: answer)


def test_a_chunk_is_copied_and_what_it_is_asked_about_is_the_policys_own() -> None:
    buffer, asked = np.zeros((1, 3, 2), dtype=np.float32), np.zeros((1, 4))
    calls = PolicyCalls(Predicting(lambda: buffer))
    calls.reset()
    first = calls.chunk({"eef_state": asked}, 2)
    buffer[:] = 1
    assert (first.dtype, first.shape, first.max()) == (np.float64, (1, 3, 2), 0)
    assert not asked.any()
    tensors = torch.ones(1, 3, 2, dtype=torch.bfloat16, requires_grad=True)
    assert chunk(lambda: tensors).tolist() == np.ones((1, 3, 2)).tolist()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "got None; does chunk return them"),
        ("12", "got text"),
        (np.zeros((1, 2)), r"expected chunks of shape \(1, K, 2\), got \(1, 2\)"),
        (np.zeros((2, 3, 2)), r"\(1, K, 2\), got \(2, 3, 2\)"),
        (np.zeros((1, 3, 3)), r"\(1, K, 2\), got \(1, 3, 3\)"),
        (np.zeros((1, 0, 2)), r"\(1, K, 2\), got \(1, 0, 2\)"),
        (1.0, r"got \(\)"),
        (np.full((1, 3, 2), np.nan), "chunk is not finite"),
    ],
)
def test_what_is_no_chunk_is_named(answer: Any, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        chunk(lambda: answer)


def test_chunks_are_of_one_length() -> None:
    lengths = iter((3, 5))
    calls = PolicyCalls(Predicting(lambda: np.zeros((1, next(lengths), 2))))
    calls.reset()
    calls.chunk({"eef_state": np.zeros((1, 4))}, 2)
    with pytest.raises(PolicyError, match=r"expected chunks of shape \(1, 3, 2\), got \(1, 5, 2\)"):
        calls.chunk({"eef_state": np.zeros((1, 4))}, 2)


def test_a_bug_in_a_chunk_is_the_policys_and_settings_stay() -> None:
    with pytest.raises(PolicyError, match=r"ValueError: a bug .*test_policy_calls\.py:\d+\)"):
        chunk(raising(ValueError("a bug")))
    chunk(lambda: (torch.set_grad_enabled(False), np.zeros((1, 3, 2)))[1])
    assert torch.is_grad_enabled()


class ActsOtherwise(Predicting):
    """Overrides ``act`` alone."""

    def act(self, observations: dict[str, Any]) -> Any:
        return super().act(observations)


class PredictsOtherwise(Answering):
    """Adds ``chunk`` to another's ``act``."""

    def chunk(self, observations: dict[str, Any]) -> Any:
        return self.answer()


class NoChunk(Predicting):
    """Says that it has none."""

    chunk = None


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(Answering, False), (Predicting, True), (ActsOtherwise, False), (PredictsOtherwise, True), (NoChunk, False)],
)
def test_a_policy_has_chunks_where_they_are_what_it_does(kind: type[Any], expected: bool) -> None:
    assert PolicyCalls(kind(lambda: None)).has_chunks == expected


def test_a_number_of_frames_that_is_none_is_named() -> None:
    policy = Predicting(lambda: None)
    assert PolicyCalls(policy).num_frames == 1
    policy.num_frames = 0
    with pytest.raises(PolicyError, match="expected num_frames a whole number from 1, got 0"):
        _ = PolicyCalls(policy).num_frames


class OwnEnd(BaseException):
    """An exception that is no Exception."""


@pytest.mark.parametrize("error", [ValueError("a bug"), SystemExit(3), SystemExit(), OwnEnd("over"), GeneratorExit()])
def test_whatever_a_policy_raises_is_its_error_and_names_its_line(error: BaseException) -> None:
    with pytest.raises(PolicyError, match=r"test_policy_calls\.py:\d+\)") as raised:
        act(raising(error))
    assert "raise error" in raised.value.trace
    assert 'policy_calls.py", line' not in raised.value.trace.replace("test_policy_calls.py", "")


def test_interrupts_and_users_mistakes_pass() -> None:
    with pytest.raises(UserError, match="a mistake"):
        act(raising(UserError("a mistake")))
    with pytest.raises(KeyboardInterrupt):
        act(raising(KeyboardInterrupt()))


def test_in_a_worker_an_interrupt_is_the_policys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_IGN)
    with pytest.raises(PolicyError, match="KeyboardInterrupt"):
        act(raising(KeyboardInterrupt()))


def test_a_worker_that_is_asked_to_leave_leaves_in_the_midst_of_a_policy() -> None:
    program = """
        import os, signal
        from smidgen.policies.policy_calls import PolicyCalls
        from smidgen.runtime.worker_process import _leave

        class Asked:
            name, observes = "asked", ()
            def reset(self, num_episodes=1, seed=0): pass
            def act(self, observations): os.kill(os.getpid(), signal.SIGTERM); return [[0]]

        signal.signal(signal.SIGTERM, _leave)
        PolicyCalls(Asked()).act({}, 1)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert done.returncode == 128 + signal.SIGTERM


def test_what_is_given_is_the_policys_own() -> None:
    frames = np.broadcast_to(np.uint8(7), (1, 1, 2, 2, 3))
    state = {"pose": np.arange(3.0)}
    own = own_arrays({"frames": frames, "eef_state": np.zeros((1, 4), np.float32), "privileged": state})
    own["frames"] //= 2
    own["privileged"]["pose"][:] = 9
    assert (frames == 7).all()
    assert state["pose"].tolist() == [0, 1, 2]
    assert (own["frames"].dtype, own["eef_state"].dtype) == (np.uint8, np.float64)


def test_an_answer_is_a_copy() -> None:
    buffer = np.zeros((1, 2))
    answer = numbers(buffer)
    buffer += 1
    assert (answer == 0).all()
