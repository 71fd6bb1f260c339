"""The part of huggingface_hub that an upload uses, without a network."""

import types
from typing import Any

import pytest

from smidgen.leaderboard import upload


class ClientError(Exception):
    """Stands for the error of the HTTP client under huggingface_hub."""


class HfHubHTTPError(ClientError, OSError):
    """Stands for the Hub's refusal."""


class FakeHub:
    """The part of huggingface_hub that an upload uses."""

    def __init__(self, is_public: bool = False, refusal: Exception | None = None) -> None:
        self.is_public, self.refusal = is_public, refusal
        self.files: dict[str, bytes] = {}
        self.errors = types.SimpleNamespace(HfHubHTTPError=HfHubHTTPError)
        self.endpoint = "https://hub"

    def HfApi(self, endpoint: str | None, library_name: str) -> "FakeHub":
        return self

    def CommitOperationAdd(self, path_in_repo: str, path_or_fileobj: bytes) -> tuple[str, bytes]:
        return path_in_repo, path_or_fileobj

    def create_repo(self, name: str, private: bool | None, exist_ok: bool) -> None:
        assert exist_ok

    def model_info(self, name: str) -> Any:
        return types.SimpleNamespace(private=not self.is_public)

    def create_commit(self, name: str, operations: list[tuple[str, bytes]], commit_message: str) -> Any:
        if self.refusal is not None:
            raise self.refusal
        self.files = dict(operations)
        return types.SimpleNamespace(commit_url=f"https://hub/{name}/commit/1")


def install(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {"huggingface_hub": hub, "huggingface_hub.errors": hub.errors}
    monkeypatch.setattr(upload, "optional_library", lambda name, _: modules[name])
