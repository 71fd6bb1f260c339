"""Which files a user's class is made of: found without running them, whatever the way they are imported."""

import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smidgen.runtime.errors import UserError
from smidgen.runtime.files import sha256_bytes
from smidgen.runtime.user_code import changed_files, fresh_import, hash_files, hash_modules

Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes modules below a folder that Python searches; none of them stays imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(**sources: str) -> None:
        for name, source in sources.items():
            path = tmp_path / f"{name.replace('__', '/').replace('/init/', '__init__')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_module_stands_for_its_bytes(write: Write) -> None:
    write(lone_policy="X = 1\n")
    assert hash_modules("lone_policy") == {"lone_policy.py": sha256_bytes(b"X = 1\n")}
    assert hash_modules("a_module_that_is_not_there") == {}
    assert hash_modules("a_module.that.is_not_there") == {}


@pytest.mark.parametrize(
    "statement",
    [
        "import helper_a",
        "from helper_a import f",
        "from helper_a import *",
        "import helper_a as h, os",
        "def act():\n    import helper_a",
        "try:\n    import helper_a\nexcept ImportError:\n    pass",
        "import importlib\nimportlib.import_module('helper_a')",
        "from importlib import import_module\nimport_module('helper_a')",
        "__import__('helper_a')",
        "import helper_c",  # through another
    ],
)
def test_whatever_the_way_of_importing(statement: str, write: Write) -> None:
    write(root_policy=statement, helper_a="import helper_b", helper_b="", helper_c="import helper_a", unrelated="")
    expected = {"root_policy.py", "helper_a.py", "helper_b.py"} | ({"helper_c.py"} & {f"{statement[7:]}.py"})
    assert set(hash_modules("root_policy")) == expected


def test_packages_and_relative_imports(write: Write) -> None:
    write(
        pkg____init__="from . import base",
        pkg__base="from .deep.net import Net",
        pkg__deep____init__="",
        pkg__deep__net="from ..base import X\nfrom ... import beyond",
        pkg__policy="from pkg.deep import *",
        pkg__unrelated="",
        space__inner="import pkg.base",
        top="import space.inner",
    )
    of_package = {"pkg/__init__.py", "pkg/base.py", "pkg/deep/__init__.py", "pkg/deep/net.py"}
    assert set(hash_modules("pkg.policy")) == of_package | {"pkg/policy.py"}
    # A namespace has no file of its own.
    assert set(hash_modules("top")) == of_package | {"top.py", "space/inner.py"}


def test_where_a_name_is_computed_the_whole_package_counts(write: Write) -> None:
    write(
        plugins____init__="import importlib\nfor name in NAMES:\n    importlib.import_module(f'{__name__}.{name}')",
        plugins__one="",
        plugins__more____init__="",
        plugins__more__two="import elsewhere",
        elsewhere="",
        listing____init__="__all__ = ['part']",
        listing__part="",
        star="from listing import *\nimport plugins",
    )
    plugins = {"plugins/__init__.py", "plugins/one.py", "plugins/more/__init__.py", "plugins/more/two.py"}
    assert set(hash_modules("plugins.one")) == plugins | {"elsewhere.py"}
    assert set(hash_modules("star")) == plugins | {"elsewhere.py", "star.py", "listing/__init__.py", "listing/part.py"}


def test_libraries_and_smidgen_do_not_count(write: Write) -> None:
    write(light="import numpy, os.path, json, smidgen.runtime.files\nfrom smidgen.runtime import errors\nimport math")
    assert set(hash_modules("light")) == {"light.py"}


def test_the_package_of_the_class_counts_wherever_it_is_installed(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(**{"lib__site-packages__mine____init__": "", "lib__site-packages__mine__policy": "import mine.net, theirs"})
    write(**{"lib__site-packages__mine__net": "", "lib__site-packages__theirs": ""})
    monkeypatch.syspath_prepend(str(tmp_path / "lib" / "site-packages"))
    assert set(hash_modules("mine.policy")) == {"mine/__init__.py", "mine/policy.py", "mine/net.py"}


def test_the_hash_does_not_depend_on_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for folder in ("here", "there"):
        place = tmp_path / folder / "moved_pkg"
        place.mkdir(parents=True)
        (place / "__init__.py").write_text("from . import part")
        (place / "part.py").write_text("X = 2")
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(place.parent))
            found.append(hash_modules("moved_pkg"))
    assert found[0] == found[1]
    assert list(found[0]) == ["moved_pkg/__init__.py", "moved_pkg/part.py"]


def test_a_module_in_a_zip_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
        archive.writestr("zipped_policy.py", "import zipped_part")
        archive.writestr("zipped_part.py", "X = 1")
    monkeypatch.syspath_prepend(str(tmp_path / "code.zip"))
    assert hash_modules("zipped_policy")["zipped_part.py"] == sha256_bytes(b"X = 1")


def test_an_import_is_fresh_once_a_file_has_changed(write: Write) -> None:
    import importlib

    for value in (1, 2, 2):
        # The same size within one second: bytecode would be taken for that of the new source.
        write(edited_policy="import edited_part\nVALUE = edited_part.VALUE", edited_part=f"VALUE = {value}")
        with fresh_import("edited_policy"):
            module = importlib.import_module("edited_policy")
        assert value == module.VALUE
    assert sys.modules["edited_policy"] is module


def test_a_failed_import_is_tried_again_with_what_is_there_then(write: Write) -> None:
    import importlib

    write(broken_root="import broken_part\nbroken_part.f()", broken_part="")
    with pytest.raises(AttributeError), fresh_import("broken_root"):
        importlib.import_module("broken_root")
    write(broken_part="def f(): pass")
    with fresh_import("broken_root"):
        importlib.import_module("broken_root")


def test_a_change_while_it_is_imported_is_refused(write: Write) -> None:
    write(unsteady="X = 1")
    refused = pytest.raises(UserError, match=r"unsteady\.py changed while unsteady was being imported")
    with refused, fresh_import("unsteady"):
        write(unsteady="X = 2")


def test_declared_files(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(code__weighty="")
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    (tmp_path / "code" / "w.pt").write_bytes(b"w")
    (tmp_path / "cwd" / "here.pt").write_bytes(b"here")
    for name in ("a", "b"):
        (tmp_path / "code" / "parts" / name).mkdir(parents=True)
        (tmp_path / "code" / "parts" / name / "x.bin").write_bytes(name.encode())
    digest = {name: sha256_bytes(name.encode()) for name in ("w", "here", "a", "b")}

    def hashed(declared: object) -> dict[str, str]:
        return hash_files(declared, "weighty", "policy 'weighty:Mine'")

    assert hashed(()) == {}
    assert hashed("w.pt") == hashed(Path("w.pt")) == hashed(["w.pt"]) == {"w.pt": digest["w"]}
    assert hashed(("w.pt", "here.pt")) == {"w.pt": digest["w"], "here.pt": digest["here"]}
    assert hashed("parts") == {"parts/a/x.bin": digest["a"], "parts/b/x.bin": digest["b"]}
    parts = tmp_path / "code" / "parts"
    assert hashed((parts / "a" / "x.bin", parts / "b" / "x.bin")) == {"x.bin": digest["a"], "x.bin (2)": digest["b"]}
    with pytest.raises(UserError, match=r"weighty:Mine': none\.pt, listed in files, is neither in .*code nor in "):
        hashed("none.pt")
    with pytest.raises(UserError, match=r"/none\.pt, listed in files, does not exist"):
        hashed("/none.pt")
    for wrong in (3, {"w.pt": 1}, ("w.pt", None)):
        with pytest.raises(UserError, match="expected files, a tuple of paths"):
            hashed(wrong)
    (tmp_path / "cwd" / "w.pt").write_bytes(b"another")
    with pytest.raises(UserError, match=r"w\.pt is both in .* and in .*; give an absolute path"):
        hashed("w.pt")


def test_changed_files() -> None:
    assert changed_files({"a": "1", "b": "2", "c": "3"}, {"b": "2", "c": "4", "d": "5"}) == ["a", "c", "d"]
