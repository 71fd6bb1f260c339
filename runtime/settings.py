"""One ``key=value`` of a command line: resolves the key and parses the value by the type of its field.

Text is taken literally: paths and names are not parsed, so ``2026_01_05``, ``1e3``, ``a=b`` and ``${x}`` stay as they
are. Numbers, booleans and lists are parsed by Hydra's grammar and OmegaConf's types.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import re
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from smidgen.runtime.errors import UserError, unknown_name

_PATH = "path"
# The type of a field that holds a path: a leading ~ is expanded.
PathText = Annotated[str, _PATH]

# Longer than any path, or any number that Python would parse.
MAX_SETTING_CHARACTERS = 4200

# What other tools call each key; near misspellings are found without this table.
_CALLED_ELSEWHERE = {
    "out": "output outputs output_dir output_path out_dir outdir save_dir save_path log_dir logdir run_dir dir folder",
    "demos": "data dataset datasets dataset_path data_path data_dir dataset_dir demo demonstrations demo_path",
    "policy": "checkpoint ckpt ckpt_path checkpoint_path model model_path weights pretrained agent pretrained_path",
    "task": "env environment env_name env_id env_type task_name",
    "episodes": "num_episodes n_episodes rollouts num_rollouts n_rollouts trials num_trials n_eval_episodes num_demos "
    "n_demos num_demonstrations attempts eval_episodes",
    "workers": "num_workers n_workers jobs n_jobs num_jobs processes num_processes procs num_procs num_envs n_envs",
    "steps": "epochs num_epochs n_epochs epoch max_epochs iterations iters num_iterations max_steps num_steps n_steps "
    "train_steps num_train_steps training_steps total_steps updates",
    "batch_size": "batch bs minibatch minibatch_size train_batch_size",
    "lr": "learning_rate learningrate step_size optimizer_lr base_lr max_lr",
    "optimiser": "optimizer optim opt optimizer_type",
    "schedule": "scheduler lr_scheduler lr_schedule",
    "warmup_steps": "warmup num_warmup_steps lr_warmup_steps",
    "weight_decay": "wd l2 decay",
    "clip_norm": "grad_clip gradient_clip grad_clip_norm max_grad_norm clip_grad gradient_clip_val clip",
    "seed": "random_seed rng_seed manual_seed",
    "seed_start": "seed start_seed first_seed seeds random_seed",
    "device": "gpu cuda accelerator",
    "num_threads": "threads n_threads cpu_threads",
    "eval_every": "eval_freq eval_interval val_every val_freq val_interval validate_every log_every log_freq",
    "save_every": "save_freq save_interval checkpoint_every checkpoint_freq ckpt_every",
    "validation": "val val_data val_dataset valid eval_data val_demos validation_data",
    "validation_fraction": "val_fraction val_split val_ratio validation_split valid_fraction",
    "cameras": "camera camera_name camera_names cams views",
    "image_size": "resolution img_size size image_width image_height camera_height camera_width",
    "videos": "num_videos n_videos video save_video record_video max_videos",
    "name": "label title run_name exp_name experiment experiment_name",
    "overwrite": "force replace",
    "episode_limit_s": "timeout time_limit timeout_s",
    "horizon": "chunk_size action_chunk chunk action_horizon prediction_horizon pred_horizon",
    "num_executed": "n_action_steps execution_horizon exec_horizon execute_steps",
    "num_frames": "n_obs_steps obs_horizon frame_stack history_length context_length history",
    "num_layers": "layers depth n_layers n_layer",
    "num_heads": "heads n_heads n_head nhead",
    "num_latents": "latents n_latents",
    "latent_dim": "width hidden_dim hidden_size embed_dim embedding_dim d_model dim",
    "results": "records results_dir result_dir",
}


def unknown_key(name: str, valid: Sequence[str]) -> UserError:
    """The error for an unknown key, with a suggestion."""
    return unknown_name("key", name, valid, likely=_meant(name, valid))


def _meant(name: str, valid: Sequence[str]) -> str:
    """The key that was probably meant, or ""; knows what other tools call it."""
    words = {key: key.rpartition(".")[2] for key in valid}
    word = name.rpartition(".")[2].lower().replace("-", "_").strip()
    meant = [key for key in valid if words[key] == word]
    meant += [key for key in valid if word in _CALLED_ELSEWHERE.get(words[key], "").split()]
    if not meant and not any(word in others.split() for others in _CALLED_ELSEWHERE.values()):
        meant = difflib.get_close_matches(name[:200], valid, n=1)
    return meant[0] if meant else ""


def how_to_write(words: Sequence[str], index: int, valid: Sequence[str]) -> UserError:
    """The error for an argument that is not ``key=value``, with a suggestion.

    Args:
        words: The command line.
        index: Position of the argument in it.
        valid: The command's keys.
    """
    word = words[index]
    if word in ("-m", "--multirun"):
        return UserError(
            f"there is no {word}: run the command once for each value; docs/scale.md shows a loop and an array"
        )
    before, after = (words[index - 1] if index else ""), [*words[index + 1 :], "", ""]
    key, separator, value = word.lstrip("-").partition("=")
    key = _meant(key, valid)
    if before in {f"{known}=" for known in valid}:  # task= lift
        key, value = before[:-1], word
    elif not separator:  # --task lift, task lift, task = lift, task =lift
        following = after[1] if after[0] == "=" else after[0].removeprefix("=")
        value = following if following and not following.startswith("-") else "..."
    if not key:
        return UserError(f"expected key=value, got {word!r:.200}; --help lists the keys")
    return UserError(f"expected key=value, got {word!r:.200}; write {key}={value:.200}")


def read_value(key: str, text: str, field_type: Any, default: Any) -> Any:
    """Parses the text after ``=`` into a field's value.

    Args:
        key: The field's name, for the message.
        text: The text to parse.
        field_type: The field's annotation: ``str``, :data:`PathText`, ``int``, ``float``, ``bool``, a tuple or list of
            these, or any of them ``| None``.
        default: The field's default; an empty path is allowed only if this is empty too.

    Raises:
        UserError: If the text is not of that type; says what was expected.
    """
    options = [part for part in _parts(field_type) if part is not type(None)]
    (wanted,) = options
    if text == "null" and type(None) in _parts(field_type):
        return None
    if "\0" in text:
        raise UserError(f"{_shown(key, text)}: contains a NUL character, which no path or name may")
    if _is_text(wanted):
        return _read_text(key, text, wanted, default)
    if typing.get_origin(wanted) in (tuple, list) and _is_text(typing.get_args(wanted)[0]):
        return _read_texts(key, text)
    return _read_by_grammar(key, text, wanted, field_type)


def _parts(field_type: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(field_type) in (types.UnionType, typing.Union)
    return typing.get_args(field_type) if is_union else (field_type,)


def _is_text(field_type: Any) -> bool:
    return field_type is str or (typing.get_origin(field_type) is Annotated and field_type.__origin__ is str)


def _read_text(key: str, text: str, wanted: Any, default: Any) -> str:
    if wanted is str:
        return text
    if not text and default != "":
        raise UserError(f"{key}=: expected a path, got nothing; is a shell variable empty?")
    return os.path.expanduser(text)


def _read_texts(key: str, text: str) -> tuple[str, ...]:
    """``[raw,dft1d]``: each element is taken literally; one that contains a comma must be quoted."""
    if len(text) < 2 or text[0] != "[" or text[-1] != "]":
        raise UserError(f"{_shown(key, text)}: expected a list, e.g. {key}=[{text.strip('[]') or 'a'}]")
    inner = text[1:-1].strip()
    # The last match is empty, at the end of the text.
    elements = re.findall(r"""\s*("[^"]*"|'[^']*'|[^,]*)\s*(?:,|$)""", inner)[:-1] if inner else []
    plain = [each.strip() for each in elements]
    if "" in plain:
        raise UserError(f"{_shown(key, text)}: an element of the list is empty")
    return tuple(each[1:-1] if len(each) > 1 and each[0] == each[-1] and each[0] in "'\"" else each for each in plain)


def _read_by_grammar(key: str, text: str, wanted: Any, field_type: Any) -> Any:
    """Numbers, booleans and lists of them."""
    # Imported here: Hydra takes a quarter of a second, which --help should not cost.
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    refusal = UserError(f"{_shown(key, text)}: expected {expected(field_type)}")
    if "${" in text or text == "???":  # OmegaConf would look them up later
        raise refusal
    schema = dataclasses.make_dataclass("Setting", [("value", wanted)])
    try:
        parsed = OverridesParser.create().parse_override(f"value={text}")
        # OmegaConf accepts any number as a boolean.
        if parsed.is_sweep_override() or (wanted is bool and not isinstance(parsed.value(), bool | str)):
            raise refusal
        config = OmegaConf.structured(schema)
        OmegaConf.update(config, "value", parsed.value(), merge=False)
        value = OmegaConf.to_container(config)["value"]  # type: ignore[index, call-overload]
    except (HydraException, OmegaConfBaseException, OverflowError, ValueError, RecursionError) as error:
        raise refusal from error
    numbers: list[Any] = value if isinstance(value, list) else [value]
    lengths = typing.get_args(wanted)
    is_fixed = typing.get_origin(wanted) is tuple and Ellipsis not in lengths
    if any(number is None or not _is_sane(number) for number in numbers) or (is_fixed and len(numbers) != len(lengths)):
        raise refusal
    return tuple(value) if typing.get_origin(wanted) is tuple else value


def _is_sane(number: float) -> bool:
    """Whether a number is not NaN, which passes every comparison, nor an integer too large for an array index."""
    return not math.isnan(number) if isinstance(number, float) else abs(number) < 2**63


_ONE = {int: "a whole number", float: "a number", bool: "true or false"}
_MANY = {int: "whole numbers", float: "numbers", bool: "true or false"}


def expected(field_type: Any) -> str:
    """What a field accepts, in words; e.g. ``a whole number or null``."""
    wanted = next(part for part in _parts(field_type) if part is not type(None))
    or_null = " or null" if type(None) in _parts(field_type) else ""
    if typing.get_origin(wanted) not in (tuple, list):
        return f"{_ONE[wanted]}{or_null}"
    elements = typing.get_args(wanted)
    is_fixed = typing.get_origin(wanted) is tuple and Ellipsis not in elements
    count, example = (f"{len(elements)} ", len(elements)) if is_fixed else ("", 2)
    numbers = ("0.5" if elements[0] is float else str(index) for index in range(1, example + 1))
    return f"a list of {count}{_MANY[elements[0]]}, e.g. [{','.join(numbers)}]{or_null}"


def _shown(key: str, text: str) -> str:
    return f"{key}={text:.100}{'...' if len(text) > 100 else ''}"


def user_path(text: str) -> Path:
    """A path typed after an option; expands ``~``, since no shell expands the one in ``--out=~/x``."""
    return Path(os.path.expanduser(text))
