#!/usr/bin/env bash
# Builds the virtual environment .venv from the lock files; `make setup` calls it. Safe to repeat and to interrupt.
#   PYTHON=/path/to/python3.12 install/environment.sh      with another interpreter than the first one found
set -euo pipefail
cd "$(dirname "$0")/.."

LOG=$(mktemp "${TMPDIR:-/tmp}/smidgen-setup.XXXXXX")
trap 'rm -f "$LOG"' EXIT

fail() {
    echo "setup: $*" >&2
    exit 1
}

is_supported() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; }

find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        is_supported "$PYTHON" || fail "PYTHON=$PYTHON is not Python 3.11 or 3.12; name one that is"
        echo "$PYTHON"
        return
    fi
    for candidate in python3.11 python3.12 python3 "$HOME"/.pyenv/versions/3.1[12].*/bin/python; do
        if is_supported "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or 3.12 found. Install one (Debian 12: apt-get install python3.11;" \
        "Ubuntu 24.04: apt-get install python3.12) or name one: make setup PYTHON=/path/to/python3.12"
}

# try SENTENCE COMMAND...: says what happens, keeps the output in LOG, ends the line with the seconds that it took.
try() {
    local sentence=$1 started=$SECONDS
    shift
    printf '  %s ... ' "$sentence"
    "$@" >"$LOG" 2>&1 || return 1
    echo "$((SECONDS - started)) s"
}

give_up() {
    echo "failed"
    tail -n 40 "$LOG" >&2
    fail "the last step failed; its output is above"
}

must() { try "$@" || give_up; }

pip() { .venv/bin/python -m pip "$@" --quiet --disable-pip-version-check --root-user-action=ignore; }

make_environment() {
    if is_supported .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1; then return; fi
    rm -rf .venv
    must "making .venv with $("$python" --version)" "$python" -m venv .venv
}

install_torch() {
    local torch
    torch=$(grep '^torch==' install/torch.txt)
    case "torch==$(.venv/bin/python -c 'import importlib.metadata as m; print(m.version("torch"))' 2>/dev/null)" in
        "$torch" | "$torch+"*) return ;;
    esac
    if ! nvidia-smi -L >/dev/null 2>&1; then
        # What it depends on is in the lock, so this one file is enough.
        if try "$torch, build for the CPU" pip install --no-deps "$torch+cpu"; then return; fi
        grep -q "No matching distribution" "$LOG" || give_up
        echo "pip finds none (docs/dependencies.md says how to offer it one)"
    fi
    must "$torch, build for NVIDIA GPUs with its CUDA packages (about 3 GB)" pip install "$torch"
}

python=$(find_python)
echo "Setting up .venv (once; about 2 minutes on a fast network)"
"$python" install/system_packages.py
make_environment
must "pip and setuptools" pip install --require-hashes --requirement install/build.lock
install_torch
# The build constraint: packages that come as source alone are built with the locked setuptools too.
must "the $(grep -c == requirements.lock) packages of requirements.lock" \
    pip install --no-deps --require-hashes --requirement requirements.lock --build-constraint install/build.lock
must "smidgen itself, editable" pip install --no-deps --no-build-isolation --editable .
must "checking that the packages agree" .venv/bin/python -m pip check
touch .venv/smidgen.stamp
