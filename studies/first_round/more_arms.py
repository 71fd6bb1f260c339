"""Arms of the full form that no verdict rests on: the curves, tables and checks beside the verdicts."""

from __future__ import annotations

from studies.first_round.arms import ArmBook
from studies.first_round.input_hypotheses import (
    LONG,
    LONGEST,
    MEDIUM,
    NOISE_ABOVE,
    NOISE_BELOW,
    NOISE_NEAR,
    SHORT,
    moving_blob,
    noise,
    structured_data,
)


def add_more_arms(book: ArmBook) -> None:
    """Adds all of them; what a comparison has added already stays as it is."""
    _peers(book)
    _lengths(book)
    _noise_levels(book)
    _encodings(book)
    _structured(book)
    _checks(book)


def _peers(book: ArmBook) -> None:
    for transform in ("dft2d", "dct", "hartley", "haar", "hadamard"):
        book.add(transform)
        book.add(transform, "centre")
    book.add("dft3d", "token")


def _lengths(book: ArmBook) -> None:
    for transform, after in (("raw", "none"), ("dft1d", "none"), ("dft1d", "token")):
        book.add(transform, after, **MEDIUM)
    for data in (SHORT, LONG):
        book.add("raw", "centre", **data)
    book.add("raw", "token", **LONGEST)


def _noise_levels(book: ArmBook) -> None:
    for deviation in (NOISE_BELOW, NOISE_NEAR, NOISE_ABOVE):
        for transform in ("raw", "dft1d"):
            book.add(transform, "token", **noise(deviation))
    book.add("random_orthogonal", "token", **noise(NOISE_BELOW))
    for transform in ("raw", "dft1d"):
        book.add(transform, "token", **noise(NOISE_BELOW), **SHORT)


def _encodings(book: ArmBook) -> None:
    book.add("dft3d", position_encoding="one_d")
    for positions in ("one_d", "permuted", "aliased", "none"):
        for transform in ("raw", "dft1d", "dft3d"):
            # One axis is one axis: 1-D positions of a 1-D DFT are those per axis.
            if (transform, positions) != ("dft1d", "one_d"):
                book.add(transform, "centre", position_encoding=positions)


def _structured(book: ArmBook) -> None:
    for part in (*structured_data().values(), moving_blob()):
        for transform in ("raw", "dft1d", "dft3d"):
            book.add(transform, "centre", **part)


def _checks(book: ArmBook) -> None:
    for floor_scale in (0.1, 10.0):
        for transform in ("raw", "dft1d"):
            book.add(transform, "token", floor_scale=floor_scale)
    book.add(optimiser="adamw", weight_decay=0.01)
    book.add(num_latents=32, latent_dim=128, num_layers=4, num_heads=4)
