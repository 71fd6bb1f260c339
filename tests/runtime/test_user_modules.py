from __future__ import annotations

import sys
from pathlib import Path

import pytest

from smidgen.runtime.errors import UserError
from smidgen.runtime.user_modules import load_class, load_object, user_code_errors

MODULES = {
    "good.py": "class Mine:\n    pass\n\nclass Other:\n    pass\n\ndef make():\n    pass\n\nnumber = 3\n",
    "empty.py": "from pathlib import Path\n",
    "abstract.py": "import abc\n\nclass Mine(abc.ABC):\n    @abc.abstractmethod\n    def act(self): ...\n",
    "leaves.py": "import sys\n\nsys.exit('no licence')\n",
    "leaves_at_once.py": "raise SystemExit\n",
    "lacks.py": "import json\nimport not_installed_anywhere\n",
    "lacks_a_name.py": "from smidgen.runtime.errors import NoSuchError\n",
    "unfinished.py": "class Mine:\n    def act(self:\n",
    "raises.py": "import json\n\nsettings = json.loads('{')\n",
    "zeros.py": "x = 1\0\n",
    "latin.py": "x = 'jos\udce9'\n",
    "raises_deeper.py": "import good\nimport raises\n",
    "lazy.py": "def __getattr__(name):\n    raise RuntimeError('lazy ' + name)\n",
    "random.py": "class Mine:\n    pass\n",
    "types/__init__.py": "class Mine:\n    pass\n",
    "numpy.py": "class Mine:\n    pass\n",
    "own_package/__init__.py": "",
    "own_package/inner.py": "class Mine:\n    pass\n",
}


@pytest.fixture(autouse=True)
def users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, text in MODULES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_class_of_the_working_directory_is_found() -> None:
    assert load_class("good:Mine", "policy").__name__ == "Mine"
    assert load_class("own_package.inner:Mine", "policy").__module__ == "own_package.inner"
    assert load_object("good:number", "task") == 3


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("absent:Mine", "no module 'absent'; run from its directory or install it"),
        ("good.deeper:Mine", "no module 'good.deeper'; run from its directory or install it"),
        ("own_package.absent:Mine", "no module 'own_package.absent'; run from its directory or install it"),
        ("good.py:Mine", "expected a module, got a file; write good:Mine"),
        ("good:Mne", "good.py has no 'Mne' (did you mean 'Mine'?); its classes: Mine, Other"),
        ("empty:Mine", "empty.py has no 'Mine'; it has no class"),
        ("good:make", "expected a class, 'make' is a function"),
        ("good:number", "expected a class, 'number' is an int"),
        ("abstract:Mine", "the class is abstract; implement act"),
        ("leaves:Mine", "importing leaves failed at leaves.py:3: sys.exit('no licence')"),
        ("leaves_at_once:Mine", "importing leaves_at_once failed at leaves_at_once.py:1: sys.exit()"),
        (
            "lacks:Mine",
            "importing lacks failed at lacks.py:2: ModuleNotFoundError: No module named 'not_installed_anywhere'",
        ),
        ("lacks_a_name:Mine", "importing lacks_a_name failed at lacks_a_name.py:1: ImportError: cannot import name"),
        ("unfinished:Mine", "importing unfinished failed at unfinished.py:2: SyntaxError: '(' was never closed"),
        ("raises:Mine", "importing raises failed at raises.py:3: JSONDecodeError: Expecting property name"),
        ("raises_deeper:Mine", "importing raises_deeper failed at raises.py:3: JSONDecodeError: "),
        ("zeros:Mine", "importing zeros failed at zeros.py: "),
        ("latin:Mine", "importing latin failed at latin.py"),
        ("lazy:Mine", "importing lazy failed at lazy.py:2: RuntimeError: lazy Mine"),
        ("random:Mine", "random.py is shadowed by Python's own module of the same name; rename yours"),
        ("types:Mine", "types/__init__.py is shadowed by Python's own module of the same name; rename yours"),
        ("numpy:Mine", "numpy/__init__.py of the same name; rename yours"),
    ],
)
def test_what_is_wrong_is_one_line_that_blames_the_right_file(spec: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_class(spec, "policy")
    assert str(caught.value).startswith(f"policy '{spec}': ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ctrl_c_and_the_end_of_a_worker_pass() -> None:
    with pytest.raises(KeyboardInterrupt), user_code_errors("policy", "good:Mine", "making it"):
        raise KeyboardInterrupt
    from smidgen.runtime.worker_process import _leave

    with pytest.raises(SystemExit), user_code_errors("policy", "good:Mine", "making it"):
        _leave(15, None)


def test_a_working_directory_that_was_deleted_is_no_fault_of_the_module(users_folder: Path, monkeypatch) -> None:
    gone = users_folder / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(UserError, match="no module 'absent'"):
        load_class("absent:Mine", "policy")
