"""What is installed is what is declared: the wheel, the console commands, the lock files, the declared dependencies."""

import ast
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.fuzz.data_readers import write_data_set

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
# What the lock holds besides the runtime: for the tests, and for other projects' data sets.
LOCKED_EXTRAS = [line for extra in ("test", "formats", "docs") for line in PROJECT["optional-dependencies"][extra]]
# What loads a package that only an extra installs.
LOADERS = (
    "data_collection/remote_store.py",
    "data_collection/formats/",
    "leaderboard/upload.py",
    "runtime/ray_engine.py",
)
FOLDERS = sorted({folder.split("/")[0] for folder in PYPROJECT["tool"]["setuptools"]["package-dir"].values()})
LOCK_LINE = re.compile(r"^(?P<requirement>[A-Za-z0-9][^ ]*==[^\\]+?) \\\n(?P<rest>(?:[ \t].*\n?)+)", re.MULTILINE)
# A policy of the zoo, so that its files are found in the archives even before there is one.
PLANTED = "policies/zoo/lift/planted/README.md"
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
    return [Requirement(line) for line in PROJECT["dependencies"] + LOCKED_EXTRAS]


def build(source: Path, output: Path) -> None:
    """Wheel and source archive, offline, as a frontend builds them."""
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(output)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True, capture_output=True)
    program = "import sys, build_backend; build_backend.build_sdist(sys.argv[1])"
    environment = {**os.environ, "PYTHONPATH": str(source / "install")}
    command = [sys.executable, "-c", program, str(output)]
    subprocess.run(command, check=True, capture_output=True, cwd=source, env=environment)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources: nobody edits it."""
    folder = tmp_path_factory.mktemp("sources")
    for name in tracked_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    (folder / PLANTED).parent.mkdir(parents=True)
    (folder / PLANTED).touch()
    return folder


@pytest.fixture(scope="module")
def built(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a wheel and a source archive, built from the sources."""
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    shutil.copytree(sources, source, dirs_exist_ok=True)
    build(source, output)
    return output


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def wheel_names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def install_script(name: str) -> ModuleType:
    """A module of install/, which is no package."""
    specification = importlib.util.spec_from_file_location(name, ROOT / "install" / f"{name}.py")
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


def test_wheel_installs_one_name(wheel_names: list[str]) -> None:
    tops = {name.split("/")[0] for name in wheel_names}
    assert tops == {"smidgen", f"smidgen-{PROJECT['version']}.dist-info"}


def test_wheel_holds_every_source_and_data_file(wheel_names: list[str]) -> None:
    sources = {name for name in tracked_files() if name.split("/")[0] in FOLDERS}
    expected = {f"smidgen/{name.removeprefix('package/')}" for name in {*sources, PLANTED}}
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
    """docs/dependencies.md has a table for the runtime and for each extra, with a row for each package and no other."""
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    declared = {"## Runtime": PROJECT["dependencies"]}
    for extra, lines in PROJECT["optional-dependencies"].items():
        (title,) = re.findall(rf"^## .*`pip install \.\[{extra}\]`.*$", page, re.M)
        declared[title] = lines
    for title, lines in declared.items():
        section = page.split(f"{title}\n")[1].split("\n## ")[0]
        rows = re.findall(r"^\| `([a-z0-9-]+)` \| \S.+ \|$", section, re.M)
        assert rows == sorted(canonicalize_name(Requirement(line).name) for line in lines), title


def test_lock_script_drops_torch_and_other_platforms() -> None:
    lock = install_script("lock")
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


def test_extras_are_apart_from_the_runtime() -> None:
    """No package is needed to run that only an extra brings; whoever needs one loads it when asked to."""
    runtime = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    extras = {
        extra: {canonicalize_name(Requirement(line).name) for line in lines}
        for extra, lines in PROJECT["optional-dependencies"].items()
    }
    assert all(runtime.isdisjoint(names) for names in extras.values())
    assert {"hypothesis", "pytest", "mypy", "ruff"} <= extras["test"]
    spoken_of = "|".join(name.replace("-", "_") for names in extras.values() for name in names)
    for name in tracked_files():
        if name.split("/")[0] in FOLDERS and name.endswith(".py"):
            source = (ROOT / name).read_text(encoding="utf-8")
            loads_one = re.search(rf"(?:optional_library|LazyLibrary)\(.({spoken_of})", source)
            assert not loads_one or name.startswith(LOADERS), name
            assert not re.search(rf"import_module\(.({spoken_of})|^ *(import|from) ({spoken_of})\b", source, re.M), name


def test_builds_are_the_same_to_the_byte(sources: Path, built: Path, tmp_path: Path) -> None:
    """Elsewhere, deeper, with another umask, other times and other rights of the files, from the source archive too."""
    source, again, from_archive = tmp_path / "deeper" / "other", tmp_path / "again", tmp_path / "from-archive"
    before = os.umask(0o077)
    try:
        shutil.copytree(sources, source, copy_function=shutil.copyfile)
        for path in source.rglob("*"):
            os.utime(path, (1_000_000_000, 1_000_000_000))
        build(source, again)
        (archive,) = built.glob("*.tar.gz")
        with tarfile.open(archive) as opened:
            opened.extractall(tmp_path, filter="data")
        build(tmp_path / archive.name.removesuffix(".tar.gz"), from_archive)
    finally:
        os.umask(before)
    expected = {path.name: path.read_bytes() for path in built.iterdir()}
    assert len(expected) == 2
    assert {path.name for path in again.iterdir() if path.read_bytes() == expected[path.name]} == set(expected)
    # An archive of an archive lists one file more of setuptools' own; the wheel is what gets installed.
    (same_wheel,) = from_archive.glob("*.whl")
    assert same_wheel.read_bytes() == expected[same_wheel.name]


def test_the_source_archive_holds_no_surprise(built: Path) -> None:
    """The packages, the studies, and what builds them; tests, results and documents stay in the repository."""
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        members = [member for member in opened.getmembers() if not member.isdir()]
    top = f"smidgen-{PROJECT['version']}/"
    names = {member.name.removeprefix(top) for member in members}
    packages = {name for name in tracked_files() if name.split("/")[0] in (*FOLDERS, "studies")}
    beside = {
        "CHANGELOG.md",
        "CITATION.cff",
        "LICENSE",
        "MANIFEST.in",
        "README.md",
        "install/build_backend.py",
        "pyproject.toml",
    }
    made = {name for name in names if name.startswith("smidgen.egg-info/")} | {"PKG-INFO", "setup.cfg"}
    assert names == packages | {PLANTED} | beside | made
    assert {(member.mode, member.uid, member.gid, member.uname) for member in members} == {(0o644, 0, 0, "")}
    assert len({member.mtime for member in members}) == 1


def test_types_are_marked(wheel_names: list[str]) -> None:
    assert [name for name in wheel_names if name.endswith("py.typed")] == ["smidgen/py.typed"]


# In one process: most of each is importing PyTorch.
HELP_OF_EVERY_COMMAND = """
import sys
from importlib.metadata import entry_points
for name in sys.argv[1:]:
    (entry,) = entry_points(group="console_scripts", name=name)
    print("==", name)
    sys.argv = [name, "--help"]
    try:
        code = entry.load()()
    except SystemExit as ended:
        code = ended.code or 0
    assert code == 0, name
"""


@pytest.mark.slow
def test_the_wheel_works_where_there_is_nothing_else(wheel: Path, tmp_path: Path) -> None:
    """An empty environment elsewhere, with the dependencies, without the checkout: every command, and a small run."""
    environment, work = tmp_path / "environment", tmp_path / "work"
    work.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    binaries = environment / "bin"
    pip = [sys.executable, "-m", "pip", "--python", str(binaries / "python"), "install", "--quiet"]
    subprocess.run([*pip, "--no-index", "--no-deps", str(wheel)], check=True, capture_output=True, cwd=work)
    (packages,) = (environment / "lib").glob("python*/site-packages")
    # A path in a .pth file is searched, but the .pth files there, the checkout's among them, are not read.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, cwd=work, env=clean)
        assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
        return done.stdout

    python = str(binaries / "python")
    where = run(python, "-c", "import smidgen.runtime; print(smidgen.runtime.__file__)").strip()
    assert Path(where).is_relative_to(packages)
    helps = run(python, "-c", HELP_OF_EVERY_COMMAND, *PROJECT["scripts"])
    for command in PROJECT["scripts"]:
        assert f"== {command}\n" in helps
        assert command in helps.partition(f"== {command}\n")[2].partition("== ")[0]
        assert run(str(binaries / command), "--version") == f"smidgen {PROJECT['version']}\n"
    write_data_set(work / "a")
    write_data_set(work / "b", 3)
    assert "all files verified" in run(str(binaries / "smidgen-data"), "verify", "a")
    small = ["steps=2", "eval_every=1", "num_latents=2", "latent_dim=8", "num_heads=1", "num_layers=1", "num_frames=2"]
    run(str(binaries / "smidgen-train"), "demos=a", "validation=b", "out=run", *small)
    assert (work / "run" / "checkpoints" / "final" / "model.safetensors").is_file()


AUDIT_PINS = {"numpy": ("1.0", True, True), "evdev": ("2.0", False, True), "old": ("1.0", True, True)}


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({}, ""),
        ({"numpy": "1.1"}, "numpy 1.1 is installed, 1.0 is locked"),
        ({"numpy": None}, "numpy is locked and not installed"),
        ({"surprise": "3.0"}, "surprise 3.0 is installed and in no lock"),
        ({"torch": "2.0+cpu", "triton": "3.0", "nvidia-cublas-cu12": "1.0", "smidgen": "0.1.0", "uv": "1"}, ""),
        ({"torch": "2.1+cpu"}, "torch 2.1+cpu is installed, 2.0 is locked"),
    ],
)
def test_the_audit_finds_what_is_not_locked(
    change: dict[str, str | None], finding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "install")
    audit = install_script("audit")
    pins = {name: audit.Pin(*values) for name, values in AUDIT_PINS.items()}
    installed = {"numpy": "1.0", "old": "1.0"} | change
    present = {name: version for name, version in installed.items() if version is not None}
    assert audit.lock_findings(present, pins, {"torch": "2.0"}) == ([finding] if finding else [])


def test_the_audit_reads_the_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "install")
    audit = install_script("audit")
    pins = audit.read_lock((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    assert {name: Version(pin.version) for name, pin in pins.items()} == locked_versions("requirements.lock")
    assert all(pin.has_hashes for pin in pins.values())
    assert Version(audit.unhashed_pins()["torch"]) == torch_version()


def test_the_audit_says_what_it_could_not_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "install")
    audit = install_script("audit")
    answers = [
        {"name": "a", "version": "1", "vulns": []},
        {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]},
        {"name": "c", "skip_reason": "not found"},
    ]
    findings, unchecked = audit.read_answers(answers, ["a", "b", "c", "d"])
    assert findings == ["b 2: PYSEC-1, mended in 3"]
    assert unchecked == ["c", "d"]


def test_the_audit_notices_an_altered_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "install")
    audit = install_script("audit")
    for name in ("one", "two"):
        folder = tmp_path / f"{name}-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\nLicense-Expression: MIT\n")
        record = {"one": "one.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n", "two": "one.py,,\n"}[name]
        (folder / "RECORD").write_text(record)
    (tmp_path / "one.py").write_text("")
    distributions = list(importlib.metadata.distributions(path=[str(tmp_path)]))
    assert [audit.licence(each.metadata) for each in distributions] == ["MIT", "MIT"]
    assert audit.file_findings(distributions) == [f"one and two both own {tmp_path / 'one.py'}"]
    (tmp_path / "one.py").write_text("import os")
    assert "one: one.py is not as it was installed" in audit.file_findings(distributions)
