"""docs/foreign-policies.md: its commands run as they are written, on one episode; its limits are the protocol's."""

import os
import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from smidgen.evaluation.records import read_record
from smidgen.policies import wire

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "foreign-policies.md").read_text(encoding="utf-8")
# `make interop` does what the block of vla-eval says.
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
SERVER = "examples/serve_policy.py"
SMALLER = {"episodes": "episodes=1", "videos": "videos=0", "workers": "workers=0"}


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def wait_until_it_listens(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on port {port}")


@pytest.mark.simulator
@pytest.mark.slow
@pytest.mark.parametrize("block", [block for _, block in BLOCKS], ids=["process", "remote"])
def test_the_commands_work_as_written(block: str, tmp_path: Path) -> None:
    """The page's port apart, which may be in use; `python` is the one that runs this test."""
    (tmp_path / "examples").mkdir()
    (tmp_path / SERVER).write_bytes((ROOT / SERVER).read_bytes())
    variables = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    port, servers = free_port(), []
    try:
        for line in block.replace("5555", str(port)).splitlines():
            words = shlex.split(line)
            if words[-1] == "&":
                servers.append(subprocess.Popen(words[:-1], cwd=tmp_path, env=variables))
                wait_until_it_listens(port)
                continue
            kept = [word for word in words if word.split("=")[0] not in SMALLER]
            command = [*kept, *SMALLER.values()]
            done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[-2000:]
    finally:
        for server in servers:
            server.kill()
            server.wait()
    record = read_record(tmp_path / "outputs" / "results" / "lift-middle.json")
    assert (record["policy"]["kind"], record["success"]["n"], record["errors"]["policy_error"]) == ("user", 1, 0)


def test_every_block_is_run() -> None:
    assert [language for language, _ in BLOCKS] == ["sh", "sh"]


def test_the_limits_are_the_protocols() -> None:
    limits = (
        f"length of the header, little-endian, at most {wire.MAX_HEADER_BYTES >> 20} MiB",
        f"length of the body, little-endian, at most {wire.MAX_BODY_BYTES >> 20} MiB",
        f"at most {wire.MAX_ARRAYS}, of at most {wire.MAX_AXES} axes",
        f"The protocol, version {wire.PROTOCOL}",
        f"`{wire.MAGIC.decode()}`",
    )
    for limit in limits:
        assert limit in PAGE
    listed = re.search(r"dtypes ([^)]*)\)", PAGE)
    assert listed is not None
    assert set(re.findall(r"`(\w+)`", listed[1])) == set(wire.DTYPES)


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert targets
    here = [target for target in targets if "://" not in target]
    assert [target for target in here if not (ROOT / "docs" / target).exists()] == []
