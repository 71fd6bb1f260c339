"""What is said where this machine cannot draw: the variable, its value and what would be right."""

import pickle
import sys

import pytest

from smidgen.envs import doctor, graphics_diagnosis
from smidgen.envs.graphics_diagnosis import (
    GraphicsError,
    cannot_draw,
    graphics_fix,
    num_egl_devices,
    require_consistent_variables,
)
from smidgen.runtime.errors import UserError


@pytest.fixture(autouse=True)
def plain_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two devices, nothing set, and robosuite not there yet."""
    for name in (*graphics_diagnosis._DRIVER_VARIABLES, "MUJOCO_EGL_DEVICE_ID", "CUDA_VISIBLE_DEVICES", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("PYOPENGL_PLATFORM", raising=False)
    monkeypatch.delitem(sys.modules, "robosuite.utils.binding_utils", raising=False)
    monkeypatch.setattr(graphics_diagnosis, "num_egl_devices", lambda: 2)


@pytest.mark.parametrize("chosen", ["", " ", "2", "7", "-1", "abc", "1.0", "0,1", "GPU-0", "²"])
def test_an_id_that_does_not_exist_is_named_with_those_that_do(chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_EGL_DEVICE_ID", chosen)
    for told in (require_consistent_variables, lambda backend: (_ for _ in ()).throw(cannot_draw(backend, "failed"))):
        with pytest.raises(GraphicsError) as raised:
            told("egl")
        assert f"MUJOCO_EGL_DEVICE_ID={chosen!r}" in str(raised.value)
        assert "existing ids: 0, 1" in str(raised.value)
        assert "apt-get" not in str(raised.value)
    require_consistent_variables("osmesa")


@pytest.mark.parametrize(
    ("chosen", "visible", "fix"),
    [
        ("0", "3", "or set CUDA_VISIBLE_DEVICES to an existing id"),
        ("0", "1,3", "or set it to 1"),
        ("1", "GPU-7f", "or set CUDA_VISIBLE_DEVICES to an existing id"),
        ("1", "-2", "or set CUDA_VISIBLE_DEVICES to an existing id"),
    ],
)
def test_ids_that_contradict_each_other_are_named(
    chosen: str, visible: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUJOCO_EGL_DEVICE_ID", chosen)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(GraphicsError) as raised:
        require_consistent_variables("egl")
    message = str(raised.value)
    assert message.startswith(f"MUJOCO_EGL_DEVICE_ID={chosen} is not in CUDA_VISIBLE_DEVICES={visible}")
    assert "existing EGL device ids: 0, 1; unset MUJOCO_EGL_DEVICE_ID" in message
    assert message.endswith(fix)
    with pytest.raises(GraphicsError, match="which MUJOCO_GL=osmesa does not read"):
        require_consistent_variables("osmesa")


@pytest.mark.parametrize(
    ("chosen", "visible"), [("0", None), ("1", ""), ("1", "1"), ("0", "1,0"), (None, "3"), (None, "GPU-7f"), (None, "")]
)
def test_what_works_is_left_alone(chosen: str | None, visible: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MUJOCO_EGL_DEVICE_ID", chosen), ("CUDA_VISIBLE_DEVICES", visible)):
        if value is not None:
            monkeypatch.setenv(name, value)
    require_consistent_variables("egl")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("__EGL_VENDOR_LIBRARY_FILENAMES", "/nowhere.json", "/nowhere.json does not exist"),
        ("__EGL_VENDOR_LIBRARY_DIRS", "/usr:/nowhere", "/nowhere does not exist"),
        ("LIBGL_DRIVERS_PATH", "/nowhere", "/nowhere does not exist"),
        ("GALLIUM_DRIVER", "nonsense", ""),
        ("MESA_GL_VERSION_OVERRIDE", "1.1", ""),
        ("EGL_PLATFORM", "", ""),
    ],
)
def test_a_variable_that_chooses_the_driver_is_suspected_first(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    fix = graphics_fix("egl")
    assert fix.startswith(f"unset {name}={value}")
    assert said in fix
    assert "apt-get install -y libegl1" in fix


def test_each_backend_has_its_own_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert graphics_fix("egl").startswith("apt-get install -y libegl1")
    assert graphics_fix("osmesa").startswith("apt-get install -y libosmesa6")
    assert graphics_fix("glx").startswith("DISPLAY is not set")
    monkeypatch.setenv("DISPLAY", ":77")
    assert graphics_fix("glx").startswith("DISPLAY=:77")
    assert graphics_fix("glfw") == "set MUJOCO_GL to one of egl, glx, osmesa, or unset it"


def test_the_error_comes_whole_out_of_another_process() -> None:
    error = GraphicsError("broken", "mend it")
    copied = pickle.loads(pickle.dumps(error))
    assert (str(copied), copied.found, copied.fix) == ("broken; mend it", "broken", "mend it")
    # Gymnasium raises a worker's error again from its text.
    assert str(type(error)(str(error))) == "broken; mend it"


@pytest.mark.simulator
def test_the_doctor_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_EGL_DEVICE_ID", "9")
    (check,) = doctor.check_pixels()
    assert "MUJOCO_EGL_DEVICE_ID='9'" in check.found
    assert check.fix == "unset MUJOCO_EGL_DEVICE_ID or set it to one of them"
    monkeypatch.delenv("MUJOCO_EGL_DEVICE_ID")
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    (check,) = doctor.check_pixels()
    assert (check.ok, check.fix) == (False, "set MUJOCO_GL to one of egl, glx, osmesa, or unset it")


@pytest.mark.simulator
def test_devices_are_counted() -> None:
    count = num_egl_devices()
    assert count is not None
    assert count >= 1


@pytest.mark.simulator
def test_gymnasium_gives_the_same_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import gymnasium

    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    with pytest.raises(UserError, match="unknown OpenGL backend in MUJOCO_GL 'nonsense'"):
        gymnasium.make("smidgen.envs:smidgen/Lift-v0")
