"""docs/scale.md and the script that it names: every command and key in them exists, and the script is sound."""

import re
import shlex
import shutil
import subprocess
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from smidgen.data_collection.config import CollectConfig
from smidgen.evaluation.config import EvalConfig
from smidgen.experiments.suite import VERBS, SuiteConfig, load_suite
from smidgen.policies.registry import DEFAULT
from smidgen.runtime.command_line import compose_config
from smidgen.training.config import command_line_schema
from smidgen.training.train import read_config

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
SCRIPT = ROOT / "examples" / "slurm" / "ray.sbatch"
READERS = {
    "smidgen-collect": lambda settings: compose_config(CollectConfig, settings),
    "smidgen-eval": lambda settings: compose_config(EvalConfig, settings),
    "smidgen-train": read_config,
    "smidgen-suite": lambda settings: load_suite(compose_config(SuiteConfig, settings)),
}


def commands(text: str) -> list[list[str]]:
    """Every command of ours in a text, as words; a shell's variables count as 1."""
    joined = re.sub(r"\$\{[^}]*\}|\$\(\([^)]*\)\)|\$\w+", "1", text.replace("\\\n", " ").replace("#", ""))
    found = re.findall(r"(smidgen-(?:collect|eval|train|suite)(?: [^\s`';]+)+)", re.sub(r" +", " ", joined))
    return [shlex.split(command) for command in found]


def test_every_command_is_one_that_exists() -> None:
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL))
    found = commands(blocks) + commands(SCRIPT.read_text(encoding="utf-8"))
    assert {words[0] for words in found} == set(READERS)
    installed = {each.name for each in entry_points(group="console_scripts")}
    for program, *settings in found:
        assert program in installed
        READERS[program]([word for word in settings if word not in VERBS])


def test_the_keys_of_each_table_are_those_of_its_command() -> None:
    before, _, rest = PAGE.partition("## One training on several devices")
    training, _, after = rest.partition("\n## ")
    for text, schema in ((before + after, SuiteConfig), (training, command_line_schema(DEFAULT))):
        rows = "".join(line for line in text.splitlines() if line.startswith("| `"))
        keys = re.findall(r"`(\w+)=[^`]*`", rows)
        assert len(keys) > 2
        for key in keys:
            assert key in schema.__dataclass_fields__, key


def test_the_script_hands_the_engine_to_its_command_and_parses() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    assert '-- "$@" engine=ray engine_address=auto' in text
    given = compose_config(SuiteConfig, ["suite=a:B", *re.findall(r"engine\w*=\w+$|engine=\w+", text.splitlines()[-1])])
    assert (given.engine, given.engine_address) == ("ray", "auto")
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_the_script_has_no_trap_that_shellcheck_knows() -> None:
    subprocess.run(["shellcheck", str(SCRIPT)], check=True)
