"""An environment's fingerprint, in two parts: one decides what may be ranked together, one describes the host."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from smidgen.envs.rendering import RenderProfile


def environment_fingerprint(
    env_id: str,
    render_profile: RenderProfile,
    model_sha256: str,
    cameras: tuple[str, ...],
    image_size: tuple[int, int],
    renderer: str,
    code: Mapping[str, str],
) -> dict[str, dict[str, Any]]:
    """Builds a fingerprint.

    Args:
        env_id: Versioned Gymnasium id.
        render_profile: Everything besides the scene that affects pixels.
        model_sha256: Hash of the compiled model, decimated meshes included.
        cameras: The rendered cameras.
        image_size: Height and width in pixels.
        renderer: OpenGL's name of the renderer; empty if no frame was drawn.
        code: Hashes of a user's environment's modules, by file; {} for ours, which the id identifies.

    Returns:
        ``ranked``: only equal ones may be ranked together. ``host``: decides whether a repetition is compared bit for
        bit or statistically.
    """
    return {
        "ranked": {
            "env_id": env_id,
            "render_profile": render_profile.name,
            "render_profile_sha256": render_profile.sha256,
            "model_sha256": model_sha256,
            "cameras": list(cameras),
            "image_size": list(image_size),
            "mujoco": version("mujoco"),
            "robosuite": version("robosuite"),
            **({"code": dict(code)} if code else {}),
        },
        "host": host_fingerprint() | {"renderer": renderer},
    }


def host_fingerprint() -> dict[str, Any]:
    """CPU, platform, OpenGL backend and thread counts of this process."""
    return {
        "cpu": cpu_name(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "gl_backend": os.environ.get("MUJOCO_GL", ""),
        "num_cpus": os.cpu_count(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS", ""),
    }


def cpu_name() -> str:
    """The processor's model name, as reported by the system."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
