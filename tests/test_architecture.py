"""The rules of the source tree, read off the sources: which folder may import which, sizes, names and unsafe calls.

Every rule is a function from source text (or a path) to a list of offences. One test per rule applies it to the whole
tree; another plants violations and expects each to be found.
"""

import ast
import functools
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

FOLDERS = (
    "runtime",
    "envs",
    "policies",
    "data_collection",
    "training",
    "evaluation",
    "leaderboard",
    "experiments",
    "package",
)
# Holds what `import smidgen` gives. A folder `smidgen` would hide the installed package from whoever runs Python here.
TOP = "package"
# Made with the product and not part of it: may import all of it, and none of it imports them.
STUDIES = "studies"
# Arrows point down only. runtime is a leaf: all may import it, it imports none.
MAY_IMPORT = {
    "runtime": set(),
    "envs": set(),
    "policies": set(),
    "data_collection": {"envs", "policies"},
    "training": {"policies", "data_collection"},
    "evaluation": {"data_collection", "envs", "policies"},
    "leaderboard": {"evaluation", "data_collection", "envs", "policies"},
    "experiments": {"training", "leaderboard", "evaluation", "data_collection", "envs", "policies"},
    TOP: {"training", "evaluation", "data_collection", "envs", "policies"},
}
# training meets evaluation here: measures and statistics over tensors, which import nothing of ours.
SHARED_LEAVES = {f"smidgen.evaluation.{name}" for name in ("collapse", "statistics")}
LEAF_IMPORTS = {"torch", "numpy", "scipy"} | set(sys.stdlib_module_names)
# The episode store is all that training sees of data_collection.
STORE_MODULES = {
    f"smidgen.data_collection.{name}" for name in ("store", "episode", "manifest", "array_files", "certificate")
}
SIMULATORS = {"robosuite", "mujoco", "OpenGL", "mink"}
# One breaks a renderer by hand, to measure who notices; the other is robosuite as it comes, to be compared with.
SIMULATOR_STUDIES = {Path("studies", "reliability", "pixel_faults.py"), Path("studies", "bench", "stock.py")}
FORBIDDEN_STEMS = {"utils", "util", "misc", "helpers", "helper"}
MAX_MODULE_LINES = 450
MAX_FUNCTION_LINES = 60
# Of our own modules that one module imports: entry points only assemble, and everything else knows its neighbours.
MAX_IMPORTED_MODULES = 12
# Whatever can run code found in a file; checkpoints, configurations and episodes are data.
UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
UNSAFE_NAMES = {"torch.load", "hydra.utils.instantiate", "hydra.utils.call", "yaml.load", "yaml.unsafe_load"}


def leaf_of(module: str) -> str | None:
    """The shared leaf that a module is, or is part of."""
    return next((leaf for leaf in sorted(SHARED_LEAVES) if f"{module}.".startswith(f"{leaf}.")), None)


def tracked_files(suffix: str = "") -> list[Path]:
    """Files of the tree relative to its root: tracked, or new and not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [Path(line) for line in listing.splitlines() if line.endswith(suffix) and (ROOT / line).exists()]


def code_files() -> list[Path]:
    return [path for path in tracked_files(".py") if path.parts[0] in FOLDERS]


def module_name(path: Path) -> str:
    """`envs/lift.py` -> `smidgen.envs.lift`, a package's `__init__.py` -> the package, `package` -> `smidgen`."""
    parts = path.with_suffix("").parts
    parts = parts[1:] if parts[0] == TOP else parts
    return ".".join(("smidgen", *(parts[:-1] if parts[-1:] == ("__init__",) else parts)))


@functools.cache
def nodes(source: str) -> list[ast.AST]:
    """All that a source is made of; every rule reads every file."""
    return list(ast.walk(ast.parse(source)))


def imported_names(source: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of all that a source imports, wherever it does; `from a import b` gives `a.b`."""
    for node in nodes(source):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func)
            if called in ("importlib.import_module", "import_module", "__import__") and node.args[0].value:
                yield node.lineno, str(node.args[0].value)


def used_names(source: str) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of each name that a source imports or reads through an import's alias."""
    aliases = {}
    for node in nodes(source):
        if isinstance(node, ast.Import):
            aliases |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            aliases |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    yield from imported_names(source)
    for node in nodes(source):
        if isinstance(node, ast.Attribute | ast.Name):
            first, *rest = ast.unparse(node).split(".")
            yield node.lineno, ".".join([aliases.get(first, first), *rest])


def arrow_offences(path: Path, source: str) -> list[str]:
    """Imports that point up or sideways between folders."""
    folder, importer, offences = path.parts[0], module_name(path), []
    for line, name in imported_names(source):
        parts = name.split(".")
        if parts[0] == STUDIES:
            offences.append(f"{path}:{line}: the product may not import {name}: studies are made with it")
        if parts[0] != "smidgen" or len(parts) < 2:
            continue
        module = ".".join(parts[:3])
        is_shared = module in SHARED_LEAVES and folder != "runtime"
        if not is_shared and parts[1] not in MAY_IMPORT[folder] | {folder, "runtime"}:
            offences.append(f"{path}:{line}: smidgen.{folder} may not import {name}")
        if folder == "training" and parts[1] == "data_collection" and module not in STORE_MODULES:
            offences.append(f"{path}:{line}: training may import the episode store only, not {name}")
        if leaf_of(importer) and leaf_of(importer) != leaf_of(name):
            offences.append(f"{path}:{line}: {importer} is a leaf and imports nothing of ours, not {name}")
    return offences


def leaf_offences(path: Path, source: str) -> list[str]:
    """What the shared leaves import beyond PyTorch, NumPy, SciPy and the standard library."""
    leaf = leaf_of(module_name(path))
    if leaf is None:
        return []
    names = [
        (line, name)
        for line, name in imported_names(source)
        if name.split(".")[0] not in LEAF_IMPORTS and leaf_of(name) != leaf
    ]
    return [f"{path}:{line}: {module_name(path)} may not import {name}" for line, name in names]


def simulator_offences(path: Path, source: str) -> list[str]:
    """Imports of the simulator outside envs."""
    if path.parts[0] == "envs" or path in SIMULATOR_STUDIES:
        return []
    names = [(line, name) for line, name in imported_names(source) if name.split(".")[0] in SIMULATORS]
    return [f"{path}:{line}: only envs imports the simulator, not {name}" for line, name in names]


def bare_import_offences(path: Path, source: str) -> list[str]:
    """Imports by folder or by relative path: the first loads every class twice, the second hides the arrow."""
    return [
        f"{path}:{line}: import {name!r} as smidgen.<folder>.<module>"
        for line, name in imported_names(source)
        if name.split(".")[0] in (*FOLDERS, "")
    ]


def unsafe_offences(path: Path, source: str) -> list[str]:
    """Names that can run code out of a file."""
    offences = {
        f"{path}:{line}: {name} can run code from a file"
        for line, name in used_names(source)
        if name.split(".")[0] in UNSAFE_MODULES or name in UNSAFE_NAMES
    }
    for node in nodes(source):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            offences.add(f"{path}:{node.value.lineno}: allow_pickle can run code from a file")
    return sorted(offences)


def module_length_offences(path: Path, source: str) -> list[str]:
    num_lines = len(source.splitlines())
    return [f"{path}: {num_lines} lines, at most {MAX_MODULE_LINES}"] if num_lines > MAX_MODULE_LINES else []


def function_length_offences(path: Path, source: str) -> list[str]:
    functions = [node for node in nodes(source) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = [(node, (node.end_lineno or node.lineno) - node.lineno + 1) for node in functions]
    return [
        f"{path}:{node.lineno}: {node.name} has {length} lines, at most {MAX_FUNCTION_LINES}"
        for node, length in lengths
        if length > MAX_FUNCTION_LINES
    ]


def own_modules(source: str) -> set[str]:
    """Our modules that a source imports anywhere; `from a import b` is `a.b` where that is a module, else `a`."""
    known = {module_name(path) for path in code_files()}
    names = {name for _, name in imported_names(source) if name.split(".")[0] == "smidgen"}
    return {name if name in known else name.rpartition(".")[0] for name in names}


def imported_modules_offences(path: Path, source: str) -> list[str]:
    """Modules that know too many others; what `import smidgen` gives is a list of names, without code of its own."""
    num_modules = len(own_modules(source))
    if path.parts[0] == TOP or num_modules <= MAX_IMPORTED_MODULES:
        return []
    return [f"{path}: imports {num_modules} of our modules, at most {MAX_IMPORTED_MODULES}"]


def file_name_offences(path: Path) -> list[str]:
    """A function lives where its noun lives."""
    vague = FORBIDDEN_STEMS & {Path(part).stem for part in path.parts}
    return [f"{path}: no module or folder is called {name}" for name in sorted(vague)]


def package_offences(python_files: Iterable[Path], setuptools_table: dict) -> list[str]:
    """Folders of code without `__init__.py`, and packages that pyproject.toml maps elsewhere or forgets."""
    files = set(python_files)
    folders = {path.parent for path in files}
    offences = [
        f"{folder}: has modules but no __init__.py" for folder in folders if folder / "__init__.py" not in files
    ]
    expected = {module_name(folder / "__init__.py"): folder.as_posix() for folder in folders}
    if set(setuptools_table["packages"]) != set(expected):
        offences.append(f"packages: expected {sorted(expected)}, got {sorted(setuptools_table['packages'])}")
    if setuptools_table["package-dir"] != expected:
        offences.append(f"package-dir: expected {expected}, got {setuptools_table['package-dir']}")
    return sorted(offences)


SOURCE_RULES: dict[str, Callable[[Path, str], list[str]]] = {
    "arrows": arrow_offences,
    "leaves": leaf_offences,
    "simulator": simulator_offences,
    "bare imports": bare_import_offences,
    "unsafe calls": unsafe_offences,
    "module length": module_length_offences,
    "function length": function_length_offences,
    "imported modules": imported_modules_offences,
}


def attack_offences(path: Path, source: str) -> list[str]:
    """Imports of the tests, which attack the product and its studies and are part of neither."""
    names = [(line, name) for line, name in imported_names(source) if name.split(".")[0] == "tests"]
    return [f"{path}:{line}: only tests import {name}" for line, name in names]


SOURCE_RULES["attacks"] = attack_offences
# The product's arrows, leaves and seams mean nothing there.
STUDY_RULES = {
    name: rule for name, rule in SOURCE_RULES.items() if name not in ("arrows", "leaves", "imported modules")
}


@pytest.mark.parametrize("rule", SOURCE_RULES.values(), ids=SOURCE_RULES.keys())
def test_code_keeps_the_rule(rule: Callable[[Path, str], list[str]]) -> None:
    offences = [offence for path in code_files() for offence in rule(path, (ROOT / path).read_text(encoding="utf-8"))]
    assert not offences, "\n" + "\n".join(offences)


@pytest.mark.parametrize("rule", STUDY_RULES.values(), ids=STUDY_RULES.keys())
def test_studies_keep_the_rule(rule: Callable[[Path, str], list[str]]) -> None:
    files = [path for path in tracked_files(".py") if path.parts[0] == STUDIES]
    assert files
    offences = [offence for path in files for offence in rule(path, (ROOT / path).read_text(encoding="utf-8"))]
    assert not offences, "\n" + "\n".join(offences)


def test_tests_and_scripts_import_by_the_installed_name() -> None:
    others = [path for path in tracked_files(".py") if path.parts[0] not in FOLDERS]
    offences = [
        line for path in others for line in bare_import_offences(path, (ROOT / path).read_text(encoding="utf-8"))
    ]
    assert not offences, "\n" + "\n".join(offences)


def test_no_vague_module_names() -> None:
    offences = [offence for path in tracked_files(".py") for offence in file_name_offences(path)]
    assert not offences, "\n" + "\n".join(offences)


def test_every_package_is_mapped() -> None:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    offences = package_offences(code_files(), table)
    assert not offences, "\n" + "\n".join(offences)


def test_the_tree_is_seen() -> None:
    """The rules above hold emptily over an empty list of files."""
    assert {path.parts[0] for path in code_files()} == set(FOLDERS)


def test_policies_and_training_load_no_simulator() -> None:
    """Through no chain of imports: a GPU machine trains without the simulator's libraries."""
    modules = [module_name(path) for path in code_files() if path.parts[0] in ("runtime", "policies", "training", TOP)]
    modules += sorted(SHARED_LEAVES)
    program = f"import sys, {', '.join(modules)}; print(sorted({SIMULATORS!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd="/")
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


MANY_IMPORTS = "".join(f"    from smidgen.envs.module_{n} import x\n" for n in range(MAX_IMPORTED_MODULES + 1))
LONG_FUNCTION = "def f():\n" + "    pass\n" * MAX_FUNCTION_LINES
PLANTED = [
    (arrow_offences, "runtime/files.py", "import smidgen.policies.policy"),
    (arrow_offences, "runtime/files.py", "from smidgen.evaluation import statistics"),
    (arrow_offences, "envs/lift.py", "from smidgen.policies import policy"),
    (arrow_offences, "policies/perceiver.py", "import smidgen.envs"),
    (arrow_offences, "experiments/suite.py", "from studies.claims import ROUND_TWO"),
    (arrow_offences, "experiments/suite.py", "importlib.import_module('studies.claims')"),
    (arrow_offences, "policies/perceiver.py", "def f():\n    from smidgen.envs.specs import TaskSpec"),
    (arrow_offences, "data_collection/store.py", "from smidgen.training import train"),
    (arrow_offences, "data_collection/store.py", "import smidgen.evaluation.rollout"),
    (arrow_offences, "training/train.py", "from smidgen.envs import tasks"),
    (arrow_offences, "training/train.py", "from smidgen.evaluation.rollout import rollout"),
    (arrow_offences, "training/train.py", "from smidgen.evaluation import rollout"),
    (arrow_offences, "training/train.py", "from smidgen.data_collection.collect import main"),
    (arrow_offences, "training/train.py", "from smidgen.data_collection import experts"),
    (arrow_offences, "training/train.py", "importlib.import_module('smidgen.envs')"),
    (arrow_offences, "evaluation/rollout.py", "from smidgen.training.train import TrainConfig"),
    (arrow_offences, "evaluation/rollout.py", "from smidgen.experiments import demo"),
    (arrow_offences, "evaluation/collapse/cue.py", "from smidgen.runtime.errors import UserError"),
    (arrow_offences, "evaluation/collapse/cue.py", "from smidgen.evaluation.statistics import holm"),
    (attack_offences, "studies/reliability/record.py", "from tests.fuzz.campaign import READERS"),
    (attack_offences, "evaluation/records.py", "import tests.faults"),
    (arrow_offences, "evaluation/records.py", "from smidgen.leaderboard import rows"),
    (leaf_offences, "evaluation/collapse/monitor.py", "import gymnasium"),
    (leaf_offences, "evaluation/statistics.py", "from smidgen.runtime.files import read_json"),
    (simulator_offences, "data_collection/collect.py", "import robosuite"),
    (simulator_offences, "training/train.py", "from mujoco import MjModel"),
    (simulator_offences, "runtime/workers.py", "def f():\n    import robosuite.utils"),
    (bare_import_offences, "envs/lift.py", "import envs"),
    (bare_import_offences, "tests/test_x.py", "from policies.policy import Policy"),
    (bare_import_offences, "envs/lift.py", "from . import specs"),
    (bare_import_offences, "envs/lift.py", "from .specs import TaskSpec"),
    (bare_import_offences, "tests/test_x.py", "import importlib\nimportlib.import_module('training.train')"),
    (unsafe_offences, "policies/checkpoint.py", "import pickle"),
    (unsafe_offences, "policies/checkpoint.py", "from joblib import load"),
    (unsafe_offences, "policies/checkpoint.py", "import torch\ntorch.load('x')"),
    (unsafe_offences, "policies/checkpoint.py", "import torch as t\nt.load('x')"),
    (unsafe_offences, "policies/checkpoint.py", "from torch import load as read\nread('x')"),
    (unsafe_offences, "policies/checkpoint.py", "from hydra import utils\nutils.instantiate({})"),
    (unsafe_offences, "policies/checkpoint.py", "from hydra.utils import instantiate"),
    (unsafe_offences, "data_collection/store.py", "import numpy as np\nnp.load('x', allow_pickle=True)"),
    (module_length_offences, "envs/lift.py", "x = 1\n" * (MAX_MODULE_LINES + 1)),
    (imported_modules_offences, "envs/lift.py", f"def f():\n{MANY_IMPORTS}"),
    (function_length_offences, "envs/lift.py", LONG_FUNCTION),
    (function_length_offences, "envs/lift.py", f"class A:\n{textwrap.indent(LONG_FUNCTION, '    ')}"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "path", "source"), PLANTED)
def test_planted_violation_is_found(rule: Callable[[Path, str], list[str]], path: str, source: str) -> None:
    offences = rule(Path(path), source)
    assert offences
    assert all(offence.startswith(path) for offence in offences)


PERMITTED = [
    ("training/train.py", "from smidgen.evaluation.collapse import CollapseMonitor"),
    ("training/train.py", "from smidgen.evaluation import collapse, statistics"),
    ("training/train.py", "from smidgen.data_collection import store"),
    ("training/windows.py", "from smidgen.data_collection.store import EpisodeStore"),
    ("policies/policy.py", "import smidgen.evaluation.statistics"),
    ("evaluation/evaluate.py", "from smidgen.data_collection.experts import EXPERTS"),
    ("evaluation/collapse/cue.py", "import math\nimport torch\nfrom scipy import stats"),
    ("evaluation/collapse/cue.py", "from smidgen.evaluation.collapse.offline import skill"),
    ("envs/lift.py", "import robosuite\nfrom smidgen.runtime.errors import UserError"),
    ("experiments/demo.py", "from smidgen.training.train import main\nimport smidgen.envs"),
    ("training/run_directory.py", "from safetensors.torch import load\nload(b'')\nnp.load('x', allow_pickle=False)"),
    ("envs/lift.py", "def f():\n" + "    pass\n" * (MAX_FUNCTION_LINES - 1)),
    ("envs/lift.py", "".join(f"from smidgen.envs.tasks import x{n}\n" for n in range(MAX_IMPORTED_MODULES + 1))),
]


@pytest.mark.parametrize(("path", "source"), PERMITTED)
def test_permitted_code_passes_every_rule(path: str, source: str) -> None:
    assert [offence for rule in SOURCE_RULES.values() for offence in rule(Path(path), source)] == []


@pytest.mark.parametrize("path", ["envs/utils.py", "policies/misc/shapes.py", "tests/helpers.py"])
def test_vague_name_is_found(path: str) -> None:
    assert file_name_offences(Path(path))


def test_unmapped_package_is_found() -> None:
    files = [Path("envs/__init__.py"), Path("envs/lift.py"), Path("envs/robots/panda.py")]
    table = {"packages": ["smidgen.envs"], "package-dir": {"smidgen.envs": "policies"}}
    no_init, package_dir, packages = package_offences(files, table)
    assert "envs/robots: has modules but no __init__.py" in no_init
    assert "package-dir" in package_dir
    assert "smidgen.envs.robots" in packages
