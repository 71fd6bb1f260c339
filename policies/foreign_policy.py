"""``policy=process:COMMAND`` and ``policy=remote:HOST:PORT``: a policy in a process and an environment of its own.

``process:`` starts the command and hands it one end of a socket, whose number stands in ``SMIDGEN_POLICY_FD``; what it
prints is kept for its last words. ``remote:`` connects to a server that runs already. Either way reset, act and chunk
travel as :mod:`smidgen.policies.wire` says, every process of an evaluation has a peer of its own, and a peer that fails
is replaced before the next episode. The other side needs one file: examples/serve_policy.py.
"""

from __future__ import annotations

import collections
import contextlib
import ipaddress
import multiprocessing
import os
import re
import shlex
import signal
import socket
import subprocess
import threading
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.policies.policy_calls import PolicyError
from smidgen.policies.wire import PROTOCOL, Message, WireError, receive, send
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import sha256_file

PROCESS, REMOTE = "process:", "remote:"
DESCRIPTOR = "SMIDGEN_POLICY_FD"
HOSTS = "SMIDGEN_REMOTE_HOSTS"
# Imports of a large library and weights come before the first answer, and compilation within the first action.
START_LIMIT_S = 120.0
CALL_LIMIT_S = 60.0
_END_LIMIT_S = 5.0
_MAX_LAST_WORDS = 2000
_NAME = re.compile(r"[\w.+-]{1,80}")


def is_foreign(spec: str) -> bool:
    """Whether a policy's spec names another process."""
    return spec.startswith((PROCESS, REMOTE))


class Peer:
    """A connected peer, and its process if we started it.

    Args:
        spec: ``process:COMMAND`` or ``remote:HOST:PORT``.

    Raises:
        WireError: If it cannot be started or reached.
        UserError: If the spec cannot be right.
    """

    def __init__(self, spec: str) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._last_words: collections.deque[bytes] = collections.deque(maxlen=16)
        if spec.startswith(PROCESS):
            self._start(spec)
        else:
            self.connection = _connect(spec)
        self._end = weakref.finalize(self, _end, self.connection, self._process)

    def _start(self, spec: str) -> None:
        words = command_words(spec)
        self.connection, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                words,
                env=_peer_environment() | {DESCRIPTOR: str(theirs.fileno())},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            self.connection.close()
            raise UserError(f"policy {spec!r:.200} cannot be started: {error}") from error
        finally:
            theirs.close()
        arguments = (self._process.stdout, self._last_words)
        self._reader = threading.Thread(target=_keep_last_words, args=arguments, name="last-words", daemon=True)
        self._reader.start()

    def ask(self, message: Message, limit_s: float) -> Message:
        """Sends one message and returns the answer to it.

        Raises:
            WireError: If the peer is gone or silent, or breaks the protocol.
        """
        send(self.connection, message, limit_s)
        return receive(self.connection, limit_s)

    def close(self) -> str:
        """Ends the connection and the process.

        Returns:
            How it ended and what it printed last; "" of a remote peer.
        """
        self._end()
        if self._process is None:
            return ""
        self._reader.join(_END_LIMIT_S)
        words = b"".join(self._last_words).decode(errors="replace").strip()[-_MAX_LAST_WORDS:]
        code = self._process.returncode
        # Below 0 it is the signal by which we ended it, or another did.
        how = "" if code is None or code == -signal.SIGKILL else f"it ended with exit code {code}"
        said = f"its last words:\n{words}" if words else ""
        return "; ".join(part for part in (how, said) if part)


def _end(connection: socket.socket, process: subprocess.Popen[bytes] | None) -> None:
    connection.close()
    if process is None:
        return
    # The end of the connection asks it to leave; it may have children.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1.0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_LIMIT_S)


def _keep_last_words(stream: Any, last_words: collections.deque[bytes]) -> None:
    with stream:
        while part := os.read(stream.fileno(), 4096):
            last_words.append(part)


def command_words(spec: str) -> list[str]:
    """The words of ``process:COMMAND``, split as a shell does; no shell runs.

    Raises:
        UserError: If there are none, or a quote is not closed.
    """
    try:
        words = shlex.split(spec.removeprefix(PROCESS))
    except ValueError as error:
        raise UserError(f"policy {spec!r:.200}: {error}") from error
    if not words:
        raise UserError(f"policy {spec!r:.200}: expected process:COMMAND, such as process:python serve.py")
    return words


def command_files(spec: str) -> dict[str, str]:
    """SHA-256 of those words of ``process:COMMAND``, but for the first, that are files here, by the word."""
    if not spec.startswith(PROCESS):
        return {}
    return {word: sha256_file(Path(word)) for word in command_words(spec)[1:] if os.path.isfile(word)}


def _peer_environment() -> dict[str, str]:
    environment = dict(os.environ)
    if multiprocessing.parent_process() is not None:
        # Set for worker processes; a script of the user's imports what lies beside it.
        environment.pop("PYTHONSAFEPATH", None)
    return environment


def _connect(spec: str) -> socket.socket:
    host, separator, port = spec.removeprefix(REMOTE).rpartition(":")
    host = host.strip("[]")
    if not separator or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(f"policy {spec!r:.200}: expected remote:HOST:PORT, such as remote:localhost:5555")
    _require_allowed(spec, host)
    try:
        connection = socket.create_connection((host, int(port)), START_LIMIT_S)
    except OSError as error:
        raise WireError(f"nothing answers at {host}:{port} ({error}); is the server running?") from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _require_allowed(spec: str, host: str) -> None:
    """Refuses to send pictures to another machine unless the user has named it."""
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return
    if host == "localhost" or host in os.environ.get(HOSTS, "").split(","):
        return
    raise UserError(
        f"policy {spec!r:.200}: {host} is another machine, and nothing encrypts or authenticates the connection; to "
        f"allow it, set {HOSTS}={host}"
    )


class Link:
    """The connection of one policy: its peer, replaced at the next reset after it failed.

    Args:
        spec: ``process:COMMAND`` or ``remote:HOST:PORT``.
        action_spec: The task's action as JSON.
        task: The task's name.

    Attributes:
        card: What the peer says of its policy: name, observes, num_frames, has_chunk, files.

    Raises:
        UserError: If it cannot be started or reached, is silent, or does not speak the protocol.
    """

    def __init__(self, spec: str, action_spec: Mapping[str, Any], task: str) -> None:
        self._spec = spec
        self._hello = Message("hello", {"protocol": PROTOCOL, "task": task, "action": dict(action_spec)})
        self._peer: Peer | None = None
        try:
            self.card = self._connect()
        except WireError as error:
            raise UserError(f"policy {spec!r:.200}: {self._ended(error)}") from error

    def reset(self, message: Message) -> None:
        """Starts the peer again if it failed, then asks it to reset.

        Raises:
            PolicyError: If it fails.
        """
        with self._failing():
            if self._peer is None and self._connect() != self.card:
                raise WireError("after a restart it is another policy")
            self._ask(message)

    def actions(self, message: Message) -> np.ndarray:
        """The array ``actions`` of the peer's answer.

        Raises:
            PolicyError: If it fails or has none.
        """
        with self._failing():
            answer = self._ask(message)
            if "actions" not in answer.arrays:
                raise WireError(f"its answer to {message.kind} holds no array 'actions'")
            return answer.arrays["actions"]

    def _connect(self) -> dict[str, Any]:
        self._peer = Peer(self._spec)
        return checked_card(_answered(self._peer.ask(self._hello, START_LIMIT_S)).fields)

    def _ask(self, message: Message) -> Message:
        if self._peer is None:
            raise WireError("it failed before, and starts again at the next reset")
        return _answered(self._peer.ask(message, CALL_LIMIT_S))

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except WireError as error:
            raise PolicyError(self._ended(error), "the policy's process failed") from error

    def _ended(self, error: WireError) -> str:
        peer, self._peer = self._peer, None
        last_words = "" if peer is None else peer.close()
        return f"{error}; {last_words}" if last_words else str(error)


def _answered(answer: Message) -> Message:
    """An answer, unless it is that the policy raised an exception, after which the peer goes on."""
    if answer.kind == "error":
        text, trace = (str(answer.fields.get(name, ""))[:_MAX_LAST_WORDS] for name in ("message", "trace"))
        raise PolicyError(text or "the policy failed", text.partition(":")[0], f"{trace}\n" if trace else "")
    if answer.kind != "ok":
        raise WireError(f"expected an answer of kind 'ok' or 'error', got {answer.kind!r:.40}")
    return answer


class ForeignPolicy:
    """A policy in another process; see :class:`smidgen.policies.policy.Policy`.

    Args:
        link: Its connection.

    Attributes:
        name: Its name in tables.
        observes: What it reads.
        num_frames: How many of the newest frames ``chunk`` gets, if it predicts chunks.
        file_hashes: SHA-256 of what the policy is made of, by name: files of the command, and what the peer declares.
    """

    def __init__(self, link: Link, file_hashes: Mapping[str, str]) -> None:
        self._link = link
        self.name: str = link.card["name"]
        self.observes: tuple[str, ...] = tuple(link.card["observes"])
        self.num_frames: int = link.card["num_frames"]
        self.file_hashes: dict[str, str] = {**file_hashes, **link.card["files"]}

    def reset(self, num_episodes: int = 1, seed: int = 0) -> None:
        """Starts episodes; a peer that failed in the last one is replaced first."""
        self._link.reset(Message("reset", {"num_episodes": num_episodes, "seed": seed}))

    def act(self, observations: dict[str, Any]) -> np.ndarray:
        """The next action of every episode, (B, A)."""
        return self._link.actions(Message("act", {}, _flat(observations)))


class ForeignChunkPolicy(ForeignPolicy):
    """A foreign policy that also predicts chunks; see :class:`smidgen.policies.policy.ChunkPolicy`."""

    def chunk(self, observations: dict[str, Any]) -> np.ndarray:
        """The actions that it would take from now on, (B, K, A)."""
        return self._link.actions(Message("chunk", {}, _flat(observations)))


def open_foreign_policy(spec: str, action_spec: Mapping[str, Any], task: str) -> ForeignPolicy:
    """Starts or reaches a policy in another process.

    Raises:
        UserError: If that fails; the message ends with the process's last words.
    """
    hashes = command_files(spec)
    link = Link(spec, action_spec, task)
    return (ForeignChunkPolicy if link.card["has_chunk"] else ForeignPolicy)(link, hashes)


def _flat(observations: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Observations as arrays by name; those of a mapping as ``privileged/NAME``."""
    arrays: dict[str, np.ndarray] = {}
    for name, value in observations.items():
        if isinstance(value, Mapping):
            arrays |= _flat(value, f"{prefix}{name}/")
        else:
            array = np.asarray(value)
            arrays[prefix + name] = array.astype(np.uint8) if array.dtype == bool else array
    return arrays


def checked_card(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What the peer says of its policy, with defaults.

    Raises:
        WireError: If a field is missing or wrong.
    """
    card = {"num_frames": 1, "has_chunk": False, "files": {}, **fields}
    expected = {
        "protocol": (card.get("protocol") == PROTOCOL, f"{PROTOCOL}"),
        "name": (isinstance(card.get("name"), str) and _NAME.fullmatch(card["name"]), "a name"),
        "observes": (_is_list_of_text(card.get("observes")), "a list of names"),
        "num_frames": (type(card["num_frames"]) is int and card["num_frames"] >= 1, "a whole number from 1"),
        "has_chunk": (type(card["has_chunk"]) is bool, "true or false"),
        "files": (_is_hashes(card["files"]), "SHA-256 by name"),
    }
    for name, (is_right, what) in expected.items():
        if not is_right:
            raise WireError(f"its answer to hello: expected {name} {what}, got {card.get(name)!r:.60}")
    return {name: card[name] for name in expected}


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def _is_hashes(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= 1000
        and all(isinstance(text, str) and re.fullmatch(r"[0-9a-f]{64}", text) for text in value.values())
    )
