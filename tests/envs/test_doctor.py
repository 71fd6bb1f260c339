import json

import pytest

from smidgen.envs import doctor
from smidgen.envs.doctor import Check


@pytest.mark.simulator
def test_this_machine_is_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    checks = doctor.diagnose()
    assert all(check.ok for check in checks if check.name != "frame time"), doctor.report(checks)
    assert {"python", "torch", "mujoco", "renderer", "pixels", "compiler", "shared memory"} <= {c.name for c in checks}


def test_a_failure_is_printed_with_its_fix_and_sets_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "CHECKS", (lambda: [Check("thing", False, "broken", "mend it")],))
    monkeypatch.setattr("sys.argv", ["smidgen-doctor", "--json"])
    assert doctor.main() == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out) == [{"name": "thing", "ok": False, "found": "broken", "fix": "mend it"}]
    assert "1 of 1 checks failed: thing" in captured.err
    monkeypatch.setattr("sys.argv", ["smidgen-doctor"])
    assert doctor.main() == 2
    assert "fix: mend it" in capsys.readouterr().out


def test_a_version_beyond_a_cap_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "version", lambda name: "3.10.0" if name == "mujoco" else "0.0")
    mujoco = next(check for check in doctor.check_versions() if check.name == "mujoco")
    assert not mujoco.ok
    assert "mujoco" in mujoco.fix


def test_an_absent_renderer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(*_: object, **__: object) -> None:
        raise ImportError("libEGL.so.1")

    monkeypatch.setattr("smidgen.envs.tasks.make_env", no_library)
    (check,) = doctor.check_pixels()
    assert not check.ok
    assert "libEGL.so.1" in check.found
    assert "apt-get install" in check.fix
