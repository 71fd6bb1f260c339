"""What `import smidgen` gives, and what it does not load for that."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import smidgen

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "numpy", "scipy", "robosuite", "mujoco", "gymnasium", "hydra")
LAZY_PACKAGES = ("smidgen", "smidgen.data_collection", "smidgen.training")


def run_python(program: str, *options: str, cwd: Path = ROOT) -> str:
    done = subprocess.run([sys.executable, *options, "-c", program], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("package", LAZY_PACKAGES)
def test_a_package_is_light_and_knows_its_names(package: str, tmp_path: Path) -> None:
    program = f"import sys, {package}; dir({package}); print([name for name in {HEAVY} if name in sys.modules])"
    assert run_python(program, cwd=tmp_path) == "[]\n"
    module = importlib.import_module(package)
    assert set(module.__all__) <= set(dir(module))
    assert all(getattr(module, name) is not None for name in module.__all__)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018


@pytest.mark.parametrize("package", LAZY_PACKAGES)
def test_types_and_values_come_from_the_same_modules(package: str) -> None:
    """A type checker reads the imports under TYPE_CHECKING, Python the table beside them."""
    module = importlib.import_module(package)
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    (branch,) = (node for node in ast.parse(source).body if isinstance(node, ast.If))
    typed = {alias.name: node.module for node in branch.body for alias in node.names}  # type: ignore[attr-defined]
    (table,) = (node for node in ast.walk(branch.orelse[0]) if isinstance(node, ast.Dict))
    assert ast.literal_eval(table) == typed
    assert set(typed) == set(module.__all__) - {"__version__"}


def test_a_lazy_name_is_the_thing_itself() -> None:
    from smidgen.data_collection.store import EpisodeStore

    assert smidgen.EpisodeStore is EpisodeStore
    assert "EpisodeStore" in vars(smidgen), "kept once it was asked for"


@pytest.mark.parametrize("cwd", [ROOT, ROOT / "package"], ids=["root", "package"])
def test_no_folder_here_hides_the_package(cwd: Path) -> None:
    """Where Python runs in the checkout, its folders come first on the path."""
    assert run_python("import smidgen, smidgen.envs.specs; print(smidgen.__version__)", cwd=cwd).strip() == (
        smidgen.__version__
    )


@pytest.mark.parametrize("command", ["collect", "data", "train", "eval", "check", "leaderboard", "suite", "doctor"])
def test_version_is_one_line_and_loads_nothing(command: str) -> None:
    script = Path(sys.executable).with_name(f"smidgen-{command}")
    program = (
        "import runpy, sys\n"
        f"sys.argv = [{str(script)!r}, '--version']\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    assert run_python(program) == f"smidgen {smidgen.__version__}\n[]\n"


@pytest.mark.parametrize("arguments", [("verify", "--version"), ("saliency", "--version")])
def test_version_of_a_verb_and_of_a_module(arguments: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    from smidgen.evaluation.evaluate import main

    assert main(list(arguments)) == 0
    assert capfd.readouterr().out == f"smidgen {smidgen.__version__}\n"
