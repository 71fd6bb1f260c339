"""Check what is installed against the lock files, and the locked versions against the known vulnerabilities.

    make audit                 # half a minute; the last part needs a database on the network

Without the network: that every installed package is locked in that version with hashes, that none is missing or extra,
that every installed file still has the hash that its own package recorded, that no file belongs to two packages; and
the licences, by name. Then pip-audit asks the Python advisory database about every locked version. Leave with 0 when
all is well, 2 when something was found, 3 when nothing was found but not every package could be asked about.
"""

import base64
import hashlib
import importlib.metadata
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lock import BUILD_LOCK, ROOT, RUNTIME_LOCK, TORCH_FAMILY, TORCH_FILE, split_stanzas, supported_environments
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

BENCH_FILE = ROOT / "install" / "bench.txt"
# Where `make audit` puts pip-audit: beside the environment, which stays the lock's.
TOOL_FOLDER = ROOT / "build" / "audit"
WELL, FOUND, NOT_CHECKED = 0, 2, 3
# Ourselves, and what `make lock` brings to write the lock with.
NOT_LOCKED = {"smidgen", "uv"}


@dataclass(frozen=True)
class Pin:
    """A locked package: its version, whether this platform needs it, and whether every file's hash is recorded."""

    version: str
    is_needed: bool
    has_hashes: bool


def read_lock(text: str) -> dict[str, Pin]:
    """Pins of a lock file by package name."""
    here = next(each for each in supported_environments() if each["python_version"] == python_version())
    pins = {}
    for stanza in split_stanzas(text):
        if stanza.startswith("#"):
            continue
        requirement = Requirement(stanza.split("\n", 1)[0].rstrip(" \\"))
        version = str(requirement.specifier).removeprefix("==")
        is_needed = requirement.marker is None or requirement.marker.evaluate(here)
        pins[canonicalize_name(requirement.name)] = Pin(version, is_needed, "--hash=sha256:" in stanza)
    return pins


def python_version() -> str:
    """Of this interpreter, as markers have it."""
    return ".".join(map(str, sys.version_info[:2]))


def unhashed_pins() -> dict[str, str]:
    """What is pinned by version alone: PyTorch, whose build depends on the machine, and the peers of the benchmarks."""
    lines = (ROOT / TORCH_FILE).read_text(encoding="utf-8") + BENCH_FILE.read_text(encoding="utf-8")
    found = re.findall(r"^([a-z0-9-]+)==(\S+)$", lines, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def lock_findings(installed: Mapping[str, str], locked: Mapping[str, Pin], unhashed: Mapping[str, str]) -> list[str]:
    """Where the environment and the locks differ.

    Args:
        installed: Version by package.
        locked: Pins of the lock files.
        unhashed: Versions that are pinned without hashes.
    """
    findings = [
        f"{name} is locked and not installed" for name, pin in locked.items() if pin.is_needed and name not in installed
    ]
    findings += [f"{name}: the lock has no hash" for name, pin in locked.items() if not pin.has_hashes]
    for name, version in installed.items():
        pinned = locked[name].version if name in locked else unhashed.get(name)
        if pinned is None and name not in NOT_LOCKED and not TORCH_FAMILY.match(f"{name}=="):
            findings.append(f"{name} {version} is installed and in no lock")
        # A build of PyTorch says which after a plus.
        elif pinned is not None and version.split("+")[0] != pinned:
            findings.append(f"{name} {version} is installed, {pinned} is locked")
    return sorted(findings)


def file_findings(distributions: Iterable[importlib.metadata.Distribution]) -> list[str]:
    """Installed files that are not as their package recorded them, or that two packages claim."""
    findings, owners = [], defaultdict(set)
    for distribution in distributions:
        name = distribution.metadata["Name"]
        for entry in distribution.files or []:
            path = Path(str(distribution.locate_file(entry)))
            owners[path.resolve()].add(name)
            # Compiled files are Python's to write anew.
            if entry.hash is None or entry.hash.mode != "sha256" or path.suffix == ".pyc":
                continue
            digest = hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b""
            if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != entry.hash.value:
                findings.append(f"{name}: {entry} is not as it was installed")
    shared = {path: names for path, names in owners.items() if len(names) > 1 and path.suffix != ".pyc"}
    return findings + [f"{' and '.join(sorted(names))} both own {path}" for path, names in shared.items()]


def licence(metadata: importlib.metadata.PackageMetadata) -> str:
    """What a package says of its licence, in a few words."""
    classifiers = [
        line.split(" :: ")[-1] for line in metadata.get_all("Classifier") or [] if line.startswith("License ::")
    ]
    stated = metadata.get("License-Expression") or ", ".join(classifiers) or (metadata.get("License") or "")
    return " ".join(stated.split("\n", 1)[0].split())[:60] or "not stated"


def vulnerability_findings(requirements: str) -> tuple[list[str], list[str]]:
    """Known vulnerabilities of pinned versions, and the packages of which nothing could be learnt.

    Args:
        requirements: Lines ``name==version``.
    """
    listing = TOOL_FOLDER / "pinned.txt"
    listing.parent.mkdir(parents=True, exist_ok=True)
    listing.write_text(requirements, encoding="utf-8")
    program = f"import runpy, sys; sys.path.insert(0, {str(TOOL_FOLDER)!r}); "
    program += "runpy.run_module('pip_audit', run_name='__main__')"
    command = [sys.executable, "-c", program, "--requirement", str(listing), "--no-deps", "--disable-pip"]
    command += ["--progress-spinner", "off", "--format", "json"]
    names = re.findall(r"^(\S+)==", requirements, re.MULTILINE)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        answers = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        print(f"pip-audit gave no answer: {' '.join(done.stderr.split())[-300:]}")
        return [], names
    return read_answers(answers, names)


def read_answers(answers: list[dict], names: list[str]) -> tuple[list[str], list[str]]:
    """pip-audit's JSON: what it found, and which of the names it could not check."""
    known = {canonicalize_name(each["name"]): each for each in answers if "skip_reason" not in each}
    findings = [
        f"{name} {each['version']}: {problem['id']}, mended in {', '.join(problem['fix_versions']) or 'no version yet'}"
        for name, each in known.items()
        for problem in each["vulns"]
    ]
    return findings, [name for name in names if canonicalize_name(name) not in known]


def main() -> int:
    """Run every check; say what was found."""
    distributions = list(importlib.metadata.distributions())
    installed = {canonicalize_name(each.metadata["Name"]): each.version for each in distributions}
    locked = read_lock(RUNTIME_LOCK.read_text(encoding="utf-8")) | read_lock(BUILD_LOCK.read_text(encoding="utf-8"))
    unhashed = unhashed_pins()
    findings = lock_findings(installed, locked, unhashed) + file_findings(distributions)
    licences = defaultdict(list)
    for each in distributions:
        licences[licence(each.metadata)].append(canonicalize_name(each.metadata["Name"]))
    print(f"{len(installed)} packages installed, {len(locked)} locked with hashes")
    print("\n".join(f"  {name}: {', '.join(sorted(names))}" for name, names in sorted(licences.items())))
    versions = {name: pin.version for name, pin in locked.items()} | unhashed
    vulnerable, unchecked = vulnerability_findings("".join(f"{name}=={versions[name]}\n" for name in sorted(versions)))
    print("\n".join([*findings, *vulnerable]) or "nothing found")
    if unchecked:
        print(
            f"could not check {len(unchecked)} of {len(versions)} packages for known vulnerabilities: no database "
            "answered; run make audit on a machine with the whole network"
        )
    return FOUND if findings or vulnerable else NOT_CHECKED if unchecked else WELL


if __name__ == "__main__":
    sys.exit(main())
