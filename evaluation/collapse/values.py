"""Converts the number types of training loops to float64 tensors on the CPU, with clear errors for all others."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor


class HasArray(Protocol):
    """Converts to a NumPy array: arrays of NumPy, JAX or TensorFlow, data frames."""

    def __array__(self) -> Any: ...


# Lists may be nested and contain tensors or arrays.
ArrayLike = Tensor | HasArray | Sequence[Any] | float


def as_float64(value: ArrayLike, name: str = "values") -> Tensor:
    """A float64 tensor on the CPU, without gradient, that shares no memory with ``value``.

    Args:
        value: A tensor of any real type on any device, with or without gradient, an array (NumPy, or anything with
            ``__array__`` or ``__dlpack__``), numbers, or lists of these. Masked entries count as NaN.
        name: For the message.

    Raises:
        ValueError: If it is anything else, or rows differ in length.
    """
    if isinstance(value, Tensor):
        return _from_tensor(value, name)
    if isinstance(value, list | tuple) and any(_holds_array(entry) for entry in value):
        parts = [as_float64(entry, name) for entry in value]
        if len({part.shape for part in parts}) > 1:
            raise ValueError(f"expected {name} with rows of one shape, got {_shapes(parts)}; pad or cut them")
        return torch.stack(parts)
    if hasattr(value, "__dlpack__") and not isinstance(value, np.ndarray):
        try:
            return _from_tensor(torch.from_dlpack(value), name)
        except (TypeError, ValueError, RuntimeError, BufferError):
            pass  # Types and devices that DLPack lacks may still convert to an array.
    return _from_array(value, name)


def _holds_array(entry: Any) -> bool:
    if isinstance(entry, list | tuple):
        return any(map(_holds_array, entry))
    return isinstance(entry, Tensor) or hasattr(entry, "__array__") or hasattr(entry, "__dlpack__")


def _from_tensor(value: Tensor, name: str) -> Tensor:
    if value.is_complex() or value.is_quantized or value.is_meta or value.is_nested:
        kind = "a meta tensor without values" if value.is_meta else f"{value.dtype}{' nested' * value.is_nested}"
        raise ValueError(f"expected {name} as real numbers, got {kind}; pass the values themselves")
    # To the CPU first: some devices have no float64.
    return value.detach().to_dense().cpu().to(torch.float64, copy=True)


def _from_array(value: Any, name: str) -> Tensor:
    try:
        if isinstance(value, np.ma.MaskedArray):
            value = np.ma.filled(value.astype(np.float64), np.nan)
        array = np.asarray(value)
        if array.dtype.kind in "cOSUmM":
            raise TypeError(f"an array of {array.dtype}")
        # Copied: tensors cannot use memory that is read-only, reversed or in another byte order.
        return torch.from_numpy(np.array(array, dtype=np.float64, order="C"))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"expected {name} as a tensor, an array or lists of numbers, got {type(value).__name__} "
            f"({' '.join(str(error).split()):.100}); convert it with torch.as_tensor"
        ) from error


def as_integers(value: ArrayLike, name: str) -> Tensor:
    """Whole numbers as int64 on the CPU.

    Raises:
        ValueError: If it is not an array of numbers, or not all are whole numbers.
    """
    if isinstance(value, Tensor) and not value.is_floating_point() and not value.is_complex():
        return value.detach().cpu().long()
    numbers = as_float64(value, name)
    if not bool((numbers == numbers.round()).all()):  # also refuses NaN
        raise ValueError(f"expected {name} as whole numbers, got others; pass integers")
    return numbers.long()


def as_step(value: Any) -> int:
    """A training step as a Python int, from an integer of Python or NumPy, or a tensor or array with one element.

    Raises:
        ValueError: If it is not a whole number.
    """
    try:
        return operator.index(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected the step as a whole number, got {value!r:.40}; pass int(step)") from error


def flatten_rows(**values: ArrayLike) -> list[Tensor]:
    """Flattens values of one shape (..., A) to float64 (N, A) on the CPU, without gradient.

    A shape (N,) means N rows of one coordinate, as (N, 1) does.

    Args:
        **values: By name, for the message.

    Raises:
        ValueError: If shapes differ, or something is empty or cannot be converted to a tensor.
    """
    tensors = {name: as_float64(value, name) for name, value in values.items()}
    rows = {name: tensor.unsqueeze(-1) if tensor.ndim == 1 else tensor for name, tensor in tensors.items()}
    shapes = {tensor.shape for tensor in rows.values()}
    if len(shapes) != 1 or any(tensor.ndim == 0 or tensor.numel() == 0 for tensor in tensors.values()):
        named = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items())
        raise ValueError(
            f"expected non-empty values of one shape, (..., A) or (B,), got {named}; pass one row per target"
        )
    return [tensor.reshape(-1, tensor.shape[-1]) for tensor in rows.values()]


def _shapes(parts: list[Tensor]) -> str:
    return " and ".join(sorted({str(tuple(part.shape)) for part in parts}))
