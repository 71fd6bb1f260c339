"""What is installed is what is declared: the wheel, the console commands, the lock files, the declared dependencies."""

import ast
import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
FOLDERS = sorted({folder.split("/")[0] for folder in PYPROJECT["tool"]["setuptools"]["package-dir"].values()})
LOCK_LINE = re.compile(r"^(?P<requirement>[A-Za-z0-9][^ ]*==[^\\]+?) \\\n(?P<rest>(?:[ \t].*\n?)+)", re.MULTILINE)
TORCH_FAMILY = re.compile(r"torch|triton|nvidia-.*|cuda-.*")


def tracked_files() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [line for line in listing.splitlines() if (ROOT / line).is_file()]


def locked_versions(name: str) -> dict[str, Version]:
    """Package -> version of one lock file; every package must have hashes."""
    text = (ROOT / name).read_text(encoding="utf-8")
    stanzas = list(LOCK_LINE.finditer(text))
    assert len(stanzas) == text.count("=="), f"{name} has a line that is no pinned package"
    assert all("--hash=sha256:" in stanza["rest"] for stanza in stanzas)
    requirements = [Requirement(stanza["requirement"]) for stanza in stanzas]
    versions = {canonicalize_name(each.name): Version(str(each.specifier).removeprefix("==")) for each in requirements}
    assert len(versions) == len(requirements), f"{name} pins a package twice"
    return versions


def torch_version() -> Version:
    (specifier,) = Requirement((ROOT / "install" / "torch.txt").read_text(encoding="utf-8").strip()).specifier
    assert specifier.operator == "=="
    return Version(specifier.version)


def declared_requirements() -> list[Requirement]:
    return [Requirement(line) for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]]


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files in a wheel built offline from a copy of the sources."""
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in tracked_files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, source / name)
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(output)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True, capture_output=True)
    (wheel,) = output.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_wheel_installs_one_name(wheel_names: list[str]) -> None:
    tops = {name.split("/")[0] for name in wheel_names}
    assert tops == {"smidgen", f"smidgen-{PROJECT['version']}.dist-info"}


def test_wheel_holds_every_source_and_data_file(wheel_names: list[str]) -> None:
    expected = {f"smidgen/{name}" for name in tracked_files() if name.split("/")[0] in FOLDERS}
    assert {name for name in wheel_names if name.startswith("smidgen/")} == expected


@pytest.mark.parametrize("command", PROJECT["scripts"])
def test_console_command_resolves(command: str) -> None:
    (entry_point,) = importlib.metadata.entry_points(group="console_scripts", name=command)
    assert entry_point.value == PROJECT["scripts"][command]
    assert callable(entry_point.load())


@pytest.mark.parametrize("requirement", declared_requirements(), ids=lambda requirement: requirement.name)
def test_lock_satisfies_declared_range(requirement: Requirement) -> None:
    versions = {**locked_versions("requirements.lock"), "torch": torch_version()}
    assert versions[canonicalize_name(requirement.name)] in requirement.specifier


def test_lock_leaves_torch_to_the_set_up() -> None:
    assert not [name for name in locked_versions("requirements.lock") if TORCH_FAMILY.fullmatch(name)]


def needed_by(requirement: Requirement) -> list[Requirement]:
    """What an installed package asks for on this platform; the extras that were asked for count."""
    needed = [Requirement(line) for line in importlib.metadata.requires(requirement.name) or []]
    extras = requirement.extras or {""}
    return [
        each
        for each in needed
        if not each.marker or any(each.marker.evaluate({"extra": extra}) for extra in extras)
        if not TORCH_FAMILY.fullmatch(canonicalize_name(each.name))
    ]


def test_lock_holds_what_is_needed_and_no_more() -> None:
    """Walks the metadata of what is installed."""
    waiting, reached = declared_requirements(), set()
    while waiting:
        requirement = waiting.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key not in reached:
            reached.add(key)
            waiting += needed_by(requirement)
    assert {name for name, _ in reached} == {*locked_versions("requirements.lock"), "torch"}, "run: make lock"


def test_both_locks_agree() -> None:
    runtime, build = locked_versions("requirements.lock"), locked_versions("install/build.lock")
    assert {name: runtime[name] for name in runtime.keys() & build.keys()} == {"setuptools": build["setuptools"]}
    (backend,) = [Requirement(line) for line in PYPROJECT["build-system"]["requires"]]
    assert build["setuptools"] in backend.specifier


def test_every_import_is_declared() -> None:
    """What the package imports by name stands in pyproject.toml, not only behind another package."""
    imported = set()
    for name in tracked_files():
        if name.split("/")[0] in FOLDERS and name.endswith(".py"):
            for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                imported |= {each.split(".")[0] for each in names}
    declared = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    providers = importlib.metadata.packages_distributions()
    third_party = imported - set(sys.stdlib_module_names) - {"smidgen"}
    undeclared = [name for name in third_party if not {canonicalize_name(each) for each in providers[name]} & declared]
    assert not undeclared


def test_every_dependency_is_explained() -> None:
    """docs/dependencies.md has a row for each declared package, and none for others."""
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|", (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8"), re.M)
    assert sorted(rows) == sorted(canonicalize_name(requirement.name) for requirement in declared_requirements())


def test_lock_script_drops_torch_and_other_platforms() -> None:
    specification = importlib.util.spec_from_file_location("lock", ROOT / "install" / "lock.py")
    assert specification
    assert specification.loader
    lock = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(lock)
    hashes = " \\\n    --hash=sha256:00\n    # via x\n"
    needed = [f"numpy==1.0{hashes}", f"evdev==2.0 ; 'linux' in sys_platform{hashes}"]
    partial = f"old==1.0 ; python_full_version < '3.12'{hashes}"
    dropped = [
        f"torch==2.0{hashes}",
        f"nvidia-cublas==1.0{hashes}",
        f"pyobjc-core==1.0 ; sys_platform == 'darwin'{hashes}",
    ]
    narrowed = lock.narrow_lock("".join([*needed, partial, *dropped]))
    assert narrowed == needed[0] + f"evdev==2.0{hashes}" + partial
