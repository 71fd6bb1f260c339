from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from smidgen.policies import foreign_policy, wire
from smidgen.policies.foreign_policy import ForeignPolicy, open_foreign_policy
from smidgen.policies.policy import load_policy
from smidgen.policies.policy_calls import PolicyCalls, PolicyError
from smidgen.policies.wire import Message, WireError, decode, encode, receive
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import sha256_file

EXAMPLE = Path(__file__).parents[2] / "examples" / "serve_policy.py"
ACTION = {"names": ["x", "y"], "kinds": ["position"] * 2, "low": [0.0, -1.0], "high": [1.0, 3.0]}
MIDDLE = [0.5, 1.0]
FRAMES = {"frames": np.zeros((2, 1, 8, 8, 3), dtype=np.uint8)}

# Policies that replace the example's, by what they do.
POLICIES = {
    "chunks": """
    def chunk(self, frames):
        return np.tile(self.middle, (len(frames), frames.shape[1] + 3, 1))
""",
    "raises": """
    def reset(self, num_episodes, seed):
        self.steps = 0

    def act(self, frames):
        self.steps += 1
        if self.steps == 2:
            raise ZeroDivisionError("two is too many")
        return np.tile(self.middle, (len(frames), 1))
""",
    "dies": """
    def act(self, frames):
        print("loading weights\\nout of memory", flush=True)
        os._exit(3)
""",
    "hangs": """
    def act(self, frames):
        import time
        time.sleep(60)
""",
    "names_weights": f"""
    files = {{"model.pt": "{"ab" * 32}"}}
""",
    "silent": """
    def __init__(self, task, action):
        import time
        time.sleep(60)
""",
    "unnamed": """
    name = "../../etc"
""",
    "no_actions": """
    def act(self, frames):
        return None
""",
    "text": """
    def act(self, frames):
        sys.stdout.write("anything at all\\n" * 10_000)
        return np.tile(self.middle, (len(frames), 1))
""",
}


@pytest.fixture
def serve(tmp_path: Path) -> Callable[[str], str]:
    """Writes a server whose policy does something, and returns its spec."""

    def write(kind: str) -> str:
        source = EXAMPLE.read_text()
        path = tmp_path / f"{kind}.py"
        path.write_text(source.replace("\n\ndef answer", f"\n{POLICIES.get(kind, '')}\n\ndef answer", 1))
        return f"process:{sys.executable} {path}"

    return write


def act(policy: ForeignPolicy, num_episodes: int = 2) -> list[list[float]]:
    policy.reset(num_episodes, 7)
    return policy.act(dict(FRAMES)).tolist()


def test_the_example_acts_in_its_own_process() -> None:
    policy = load_policy(f"process:{sys.executable} {EXAMPLE}", ACTION)
    assert act(policy) == [MIDDLE, MIDDLE]
    assert policy.file_hashes == {str(EXAMPLE): sha256_file(EXAMPLE)}
    assert not PolicyCalls(policy).has_chunks


def test_a_policy_may_predict_chunks_and_declare_its_weights(serve: Callable[[str], str]) -> None:
    policy = open_foreign_policy(serve("chunks"), ACTION, "lift")
    calls = PolicyCalls(policy)
    calls.reset(2)
    assert calls.has_chunks
    assert calls.chunk({"frames": np.zeros((2, 2, 1, 8, 8, 3))}, 2).tolist() == [[MIDDLE] * 5] * 2
    assert open_foreign_policy(serve("names_weights"), ACTION, "lift").file_hashes["model.pt"] == "ab" * 32


def test_what_it_prints_is_not_part_of_the_protocol(serve: Callable[[str], str]) -> None:
    assert act(open_foreign_policy(serve("text"), ACTION, "lift")) == [MIDDLE, MIDDLE]


def test_an_exception_of_the_policy_leaves_its_process_running(serve: Callable[[str], str]) -> None:
    policy = open_foreign_policy(serve("raises"), ACTION, "lift")
    process = policy._link._peer._process
    assert act(policy) == [MIDDLE, MIDDLE]
    with pytest.raises(PolicyError, match="two is too many") as caught:
        policy.act(dict(FRAMES))
    assert "Traceback" in caught.value.trace
    assert caught.value.summary.startswith("ZeroDivisionError")
    assert act(policy) == [MIDDLE, MIDDLE]
    assert policy._link._peer._process is process


def test_a_process_that_dies_fails_the_episode_and_starts_again_for_the_next(serve: Callable[[str], str]) -> None:
    policy = open_foreign_policy(serve("dies"), ACTION, "lift")
    for _ in range(2):
        policy.reset(2, 7)
        with pytest.raises(PolicyError, match=r"exit code 3; its last words:\nloading weights\nout of memory"):
            policy.act(dict(FRAMES))
        with pytest.raises(PolicyError, match="starts again at the next reset"):
            policy.act(dict(FRAMES))


def test_one_that_takes_too_long_fails_the_episode(
    serve: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = open_foreign_policy(serve("hangs"), ACTION, "lift")
    monkeypatch.setattr(foreign_policy, "CALL_LIMIT_S", 0.3)
    policy.reset(2, 7)
    process = policy._link._peer._process
    with pytest.raises(PolicyError, match=r"no answer within 0\.3 s"):
        policy.act(dict(FRAMES))
    assert process.poll() is not None


@pytest.mark.parametrize(
    ("kind", "message"),
    [("silent", r"no answer within 1 s"), ("unnamed", "expected name a name, got '../../etc'")],
)
def test_what_cannot_start_is_a_mistake_of_the_user(
    kind: str, message: str, serve: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "silent":
        monkeypatch.setattr(foreign_policy, "START_LIMIT_S", 1)
    with pytest.raises(UserError, match=message):
        open_foreign_policy(serve(kind), ACTION, "lift")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("process:", "expected process:COMMAND"),
        ("process:'open quote", "No closing quotation"),
        ("process:/no/such/program --flag", "cannot be started"),
        ("process:false", "it ended with exit code 1"),
        ("process:sh -c 'echo no module named torch; exit 4'", r"exit code 4; its last words:\nno module named torch"),
        ("remote:localhost", "expected remote:HOST:PORT"),
        ("remote:localhost:http", "expected remote:HOST:PORT"),
        ("remote:localhost:70000", "expected remote:HOST:PORT"),
        ("remote:192.0.2.1:5555", "SMIDGEN_REMOTE_HOSTS=192.0.2.1"),
        ("remote:gpu7:5555", "SMIDGEN_REMOTE_HOSTS=gpu7"),
        ("remote:127.0.0.1:1", "is the server running"),
    ],
)
def test_a_spec_that_cannot_be_right_ends_in_one_line(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_policy(spec, ACTION)


def test_an_answer_without_actions_fails_the_episode(serve: Callable[[str], str]) -> None:
    policy = open_foreign_policy(serve("no_actions"), ACTION, "lift")
    with pytest.raises(PolicyError, match="holds no array 'actions'"):
        act(policy)


def test_the_process_ends_with_the_policy(serve: Callable[[str], str]) -> None:
    policy = open_foreign_policy(serve("hangs"), ACTION, "lift")
    process = policy._link._peer._process
    del policy
    assert process.wait(10) is not None


@pytest.fixture
def server() -> Iterator[Callable[[bytes], str]]:
    """A listening peer that answers whatever it reads with given bytes."""
    listening = socket.create_server(("127.0.0.1", 0))

    def answering(content: bytes) -> str:
        def answer() -> None:
            connection = listening.accept()[0]
            with connection:
                connection.recv(65536)
                connection.sendall(content)

        threading.Thread(target=answer, daemon=True).start()
        return f"remote:127.0.0.1:{listening.getsockname()[1]}"

    yield answering
    listening.close()


def test_a_remote_peer_acts(serve: Callable[[str], str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with foreign_policy.subprocess.Popen([sys.executable, str(EXAMPLE), str(port)]) as running:
        try:
            policy = _once_it_listens(f"remote:localhost:{port}")
            other = open_foreign_policy(f"remote:127.0.0.1:{port}", ACTION, "lift")
            assert act(policy) == act(other) == [MIDDLE, MIDDLE]
        finally:
            running.kill()


def _once_it_listens(spec: str) -> ForeignPolicy:
    deadline = time.monotonic() + 30
    while True:
        try:
            return open_foreign_policy(spec, ACTION, "lift")
        except UserError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def message(header: Any, body: bytes = b"", magic: bytes = b"SMG1", body_bytes: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<4sIQ", magic, len(text), len(body) if body_bytes is None else body_bytes) + text + body


ONE = {"kind": "ok", "arrays": {"actions": {"dtype": "f8", "shape": [1]}}}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "the connection ended"),
        (b"HTTP/1.1 400 Bad Request\r\n", "it speaks something else"),
        (message(ONE, bytes(8))[:-1], "the connection ended"),
        (message(ONE, bytes(7)), "goes beyond"),
        (message(ONE, bytes(9)), "holds arrays of 8"),
        (message(ONE, body_bytes=1 << 40), "at most"),
        (struct.pack("<4sIQ", b"SMG1", 1 << 31, 0), "at most"),
        (message(b"\xff"), "is not JSON"),
        (message(b'{"kind": "ok", "arrays": {}, "x": NaN}'), "NaN is not JSON"),
        (message(b"[" * 100_000), "is not JSON"),
        (message([1]), "not a JSON object"),
        (message({"arrays": {}}), "no kind"),
        (message({"kind": "ok", "arrays": {"a": {"dtype": "O", "shape": []}}}), "valid: u1"),
        (message({"kind": "ok", "arrays": {"a": {"dtype": "f8", "shape": [-1]}}}), "whole numbers"),
        (message({"kind": "ok", "arrays": {"a": {"dtype": "f8", "shape": [True]}}}), "whole numbers"),
        (message({"kind": "ok", "arrays": {"a": {"dtype": "f8", "shape": [1 << 28] * 8}}}), "goes beyond"),
        (message({"kind": "ok", "arrays": {"a": {"dtype": "f8", "shape": [1] * 9}}}), "at most 8"),
        (message({"kind": "ok", "arrays": {"a": {"dtype": "f8"}}}), "dtype and shape alone"),
        (message({"kind": "ok", "arrays": {str(n): {"dtype": "u1", "shape": [0]} for n in range(65)}}), "65 arrays"),
        (message({"kind": "perhaps", "arrays": {}}), "of kind 'ok' or 'error'"),
        (message({"kind": "ok", "arrays": {}, "protocol": 2}), "expected protocol 1, got 2"),
    ],
)
def test_a_peer_that_breaks_the_protocol_ends_in_one_line(
    content: bytes, text: str, server: Callable[[bytes], str]
) -> None:
    with pytest.raises(UserError, match=text):
        open_foreign_policy(server(content), ACTION, "lift")


ARRAYS = st.sampled_from(list(wire.DTYPES.values())).flatmap(
    lambda dtype: arrays_of.arrays(dtype, arrays_of.array_shapes(min_dims=0, max_dims=8, min_side=0, max_side=3))
)


@settings(max_examples=25)
@given(st.dictionaries(st.text(max_size=5), ARRAYS, max_size=3), st.dictionaries(st.text(), st.integers(), max_size=3))
def test_a_message_arrives_as_it_was_sent(arrays: dict[str, np.ndarray], fields: dict[str, int]) -> None:
    fields = {f"field {name}": value for name, value in fields.items()}
    one, other = socket.socketpair()
    with one, other:
        wire.send(one, Message("act", fields, arrays), 5)
        received = receive(other, 5)
    assert (received.kind, received.fields) == ("act", fields)
    assert received.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert received.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(received.arrays[name], array, strict=True)


def test_other_types_of_array_are_not_sent() -> None:
    with pytest.raises(WireError, match="complex128"):
        encode(Message("act", {}, {"a": np.zeros(1, dtype=complex)}))


def test_an_array_in_another_order_is_sent_row_by_row() -> None:
    array = np.arange(6, dtype=">f4").reshape(2, 3).T
    sent = encode(Message("act", {}, {"a": array}))
    header_bytes = struct.unpack("<4sIQ", sent[:16])[1]
    received = decode(sent[16 : 16 + header_bytes], sent[16 + header_bytes :]).arrays["a"]
    np.testing.assert_array_equal(received, array)
