import dataclasses
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smidgen.runtime.command_line import compose_config
from smidgen.runtime.errors import UserError
from studies.synthetic import LADDERS, LadderConfig, make_ladder
from studies.synthetic.config import KINDS
from studies.synthetic.rungs import TEXTURE_SD

COMPUTED = tuple(kind for kind in KINDS if kind != "frames")
SEEDS = st.integers(0, 2**32)


def pictures(data, config):
    return data.x_BNC.numpy().reshape(-1, *config.grid)


def parts(data):
    return [getattr(data, field.name) for field in dataclasses.fields(data)]


def test_the_registry_holds_every_kind():
    assert tuple(LADDERS) == KINDS


@given(
    kind=st.sampled_from(COMPUTED),
    # Wide enough for seven gratings and a blob in seven places.
    grid=st.tuples(st.integers(1, 3), st.integers(11, 16), st.integers(11, 24)),
    num_classes=st.integers(2, 7),
    noise_sd=st.sampled_from([0.0, 0.2]),
    seed=SEEDS,
)
@settings(max_examples=60, deadline=None)
def test_every_rung_keeps_the_contract(kind, grid, num_classes, noise_sd, seed):
    background = "noise" if noise_sd else "constant"
    pool = {"num_train": 4 * num_classes, "num_held_out": 3 * num_classes} if noise_sd else {}
    config = LadderConfig(
        kind=kind, grid=grid, num_classes=num_classes, background=background, noise_sd=noise_sd, **pool
    )
    data = make_ladder(config, seed)
    num_train, num_held_out = config.pool_sizes
    assert data.x_BNC.shape == (num_train, np.prod(grid), 1)
    assert data.x_held_out_BNC.shape == (num_held_out, np.prod(grid), 1)
    assert data.held_out_is_pool == (background == "constant")
    for tensor in (data.x_BNC, data.y_BA, data.x_held_out_BNC, data.y_held_out_BA):
        assert tensor.dtype == torch.float32
        assert torch.isfinite(tensor).all()
    for y, labels in ((data.y_BA, data.labels), (data.y_held_out_BA, data.labels_held_out)):
        np.testing.assert_array_equal(np.bincount(labels), len(labels) // num_classes)
        np.testing.assert_allclose(y.double().mean(dim=0), 0, atol=1e-6)
        np.testing.assert_allclose(y.double().var(dim=0, correction=0), 1, rtol=1e-5)
    for one, other in zip(parts(data), parts(make_ladder(config, seed)), strict=True):
        assert torch.equal(one, other)


@given(
    grid=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(3, 5)),
    num_classes=st.integers(2, 9),
    seed=SEEDS,
    position=st.sampled_from(["random", "first"]),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_tokens_differ_where_and_by_what_the_rung_says(grid, num_classes, seed, position, data):
    k = data.draw(st.integers(1, int(np.prod(grid)) - 1))
    config = LadderConfig(kind="k_tokens", grid=grid, num_classes=num_classes, num_changed=k, position=position)
    x_KN = make_ladder(config, seed).x_BNC[:, :, 0].numpy()
    places = np.flatnonzero(x_KN[0] != x_KN[-1])
    assert len(places) == k
    assert (places == np.arange(k)).all() if position == "first" else 0 not in places
    np.testing.assert_allclose(
        x_KN[:, places], np.repeat(np.linspace(0, 1, num_classes)[:, None], k, axis=1), atol=1e-7
    )
    assert (np.delete(x_KN, places, axis=1) == 0.5).all()


def test_one_token_is_k_tokens_with_one():
    one, k = (make_ladder(LadderConfig(kind=kind), seed=3) for kind in ("one_token", "k_tokens"))
    assert all(torch.equal(a, b) for a, b in zip(parts(one), parts(k), strict=True))


def test_seeds_choose_different_tokens():
    places = [int(make_ladder(LadderConfig(kind="one_token"), seed).x_BNC[0].argmin()) for seed in range(20)]
    assert len(set(places)) > 15


@given(num_classes=st.sampled_from([2, 3, 4, 6, 9, 12]), seed=SEEDS, position=st.sampled_from(["random", "first"]))
@settings(max_examples=30, deadline=None)
def test_the_blob_moves_by_one_pixel(num_classes, seed, position):
    config = LadderConfig(kind="moving_blob", grid=(2, 12, 14), num_classes=num_classes, position=position)
    data = make_ladder(config, seed)
    x_KTHW = pictures(data, config)
    y_KA = data.y_BA.numpy()
    if y_KA.shape[1] == 1:
        y_KA = np.stack([np.zeros(num_classes), y_KA[:, 0]], axis=1)
    # Targets are standardised; in pixels, neighbouring values are one apart.
    steps = np.array([np.diff(np.unique(y_A)).min(initial=np.inf) for y_A in y_KA.T])
    shifts_K2 = np.rint((y_KA - y_KA[0]) / steps).astype(int)
    assert len(np.unique(shifts_K2, axis=0)) == num_classes
    for x_THW, shift in zip(x_KTHW, shifts_K2, strict=True):
        np.testing.assert_array_equal(x_THW, np.roll(x_KTHW[0], shift, axis=(1, 2)))
        assert (x_THW[0] == x_THW[1]).all()
    assert position == "random" or x_KTHW[0, 0, 0, 0] != 0.5
    assert x_KTHW.max() == 1


@pytest.mark.parametrize("random_phase", [False, True])
@pytest.mark.parametrize("shift", [0.1, 0.25, 1.0])
def test_gratings_have_the_frequency_they_are_named_by(shift, random_phase):
    config = LadderConfig(kind="periodic", grid=(2, 3, 40), frequency_shift=shift, random_phase=random_phase)
    data = make_ladder(config, seed=5)
    x_BTHW = pictures(data, config)
    assert (x_BTHW == x_BTHW[:, :1, :1]).all()
    columns = np.arange(40)
    phases = []
    for x_THW, label in zip(x_BTHW, data.labels, strict=True):
        angles = 2 * np.pi * (10 + shift * int(label)) * columns / 40
        waves = np.stack([np.ones(40), np.sin(angles), np.cos(angles)], axis=1)
        fit, *_ = np.linalg.lstsq(waves, x_THW[0, 0], rcond=None)
        np.testing.assert_allclose(waves @ fit, x_THW[0, 0], atol=1e-6)
        np.testing.assert_allclose([fit[0], np.hypot(fit[1], fit[2])], 0.5, atol=1e-5)
        phases.append(np.arctan2(fit[2], fit[1]))
    assert (np.ptp(phases) > 5) == random_phase
    order = np.argsort(data.labels[:4].numpy())
    np.testing.assert_allclose(np.diff(data.y_BA[:4, 0].numpy()[order]), 2 / np.sqrt(5), rtol=1e-5)


def test_a_whole_bin_apart_gratings_differ_in_two_bins():
    data = make_ladder(LadderConfig(kind="periodic", grid=(1, 1, 64), frequency_shift=1.0), seed=0)
    spectrum = np.abs(np.fft.rfft((data.x_BNC[1] - data.x_BNC[0])[:, 0].numpy()))
    np.testing.assert_array_equal(np.flatnonzero(spectrum > 1e-4), [16, 17])


def test_textures_have_the_spectrum_of_natural_images():
    config = LadderConfig(kind="texture", grid=(2, 128, 128), num_classes=12)
    x_KTHW = pictures(make_ladder(config, seed=0), config).astype(np.float64)
    assert (x_KTHW[:, 0] == x_KTHW[:, 1]).all()
    x_KHW = x_KTHW[:, 0]
    np.testing.assert_allclose(x_KHW.mean(axis=(1, 2)), 0.5, atol=1e-6)
    np.testing.assert_allclose(x_KHW.std(axis=(1, 2)), TEXTURE_SD, rtol=1e-5)
    # Examples differ everywhere.
    assert (x_KHW[0] == x_KHW[1]).mean() < 0.001
    window = np.outer(np.hanning(128), np.hanning(128))
    power = (np.abs(np.fft.fft2((x_KHW - 0.5) * window)) ** 2).mean(axis=0)
    frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128)[None, :])
    middle = (frequency > 0.04) & (frequency < 0.4)
    slope, _ = np.polyfit(np.log(frequency[middle]), np.log(power[middle]), 1)
    assert -2.15 < slope < -1.85
    # Opposite edges do not match as neighbours do.
    across = ((x_KHW[:, 0] - x_KHW[:, -1]) ** 2).mean()
    assert across > 3 * ((x_KHW[:, 0] - x_KHW[:, 1]) ** 2).mean()


@pytest.mark.parametrize("kind", COMPUTED)
def test_noise_is_white_and_new_for_every_example(kind):
    noise = {"background": "noise", "noise_sd": 0.1, "num_train": 32, "num_held_out": 32}
    clean, noisy = LadderConfig(kind=kind), LadderConfig(kind=kind, **noise)
    signal = make_ladder(clean, 7).x_BNC
    data = make_ladder(noisy, 7)
    noise_BN = torch.cat([data.x_BNC - signal[data.labels], data.x_held_out_BNC - signal[data.labels_held_out]])[..., 0]
    assert abs(float(noise_BN.std()) - 0.1) < 0.001
    assert abs(float(noise_BN.mean())) < 0.001
    correlation = np.corrcoef(noise_BN.numpy())
    assert np.abs(correlation - np.eye(64)).max() < 0.1
    # Every token is noisy, the changed one included.
    assert float(noise_BN.std(dim=0).min()) > 0.05


def test_configs_under_one_seed_share_their_draws():
    noise = {"kind": "periodic", "random_phase": True, "background": "noise"}
    small = make_ladder(LadderConfig(**noise, noise_sd=0.1, num_train=8), 1)
    large = make_ladder(LadderConfig(**noise, noise_sd=0.1, num_train=20), 1)
    loud = make_ladder(LadderConfig(**noise, noise_sd=0.3, num_train=8), 1)
    clean = make_ladder(LadderConfig(kind="periodic", random_phase=True, num_train=8), 1)
    assert torch.equal(small.x_BNC, large.x_BNC[:8])
    np.testing.assert_allclose(loud.x_BNC - clean.x_BNC, 3 * (small.x_BNC - clean.x_BNC), atol=1e-6)


@given(scale=st.floats(0.01, 300), seed=SEEDS)
@settings(max_examples=20, deadline=None)
def test_scale_multiplies_every_token(scale, seed):
    settings_ = {"kind": "one_token", "grid": (1, 4, 4), "background": "noise", "noise_sd": 0.2}
    plain, scaled = (make_ladder(LadderConfig(**settings_, scale=factor), seed) for factor in (1.0, scale))
    np.testing.assert_allclose(scaled.x_held_out_BNC, np.float32(scale) * plain.x_held_out_BNC, rtol=1e-6)
    assert torch.equal(plain.y_BA, scaled.y_BA)


@pytest.mark.parametrize("kind", COMPUTED)
def test_no_second_copy_of_the_longest_pools_is_made(kind):
    config = LadderConfig(
        kind=kind, grid=(3, 128, 128), background="noise", noise_sd=0.1, num_train=64, num_held_out=16
    )
    tracemalloc.start()
    try:
        data = make_ladder(config, 0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    pools = [data.x_BNC, data.x_held_out_BNC]
    assert peak < 1.25 * sum(x.numel() * x.element_size() for x in pools)


def test_the_command_line_composes_a_config():
    config = compose_config(LadderConfig, ["kind=periodic", "grid=[1,16,16]", "random_phase=true"])
    assert config == LadderConfig(kind="periodic", grid=(1, 16, 16), random_phase=True)
    assert hash(config) == hash(LadderConfig(kind="periodic", grid=(1, 16, 16), random_phase=True))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "one_tokn"}, "unknown ladder kind 'one_tokn' .*did you mean 'one_token'"),
        ({"background": "nois"}, "unknown ladder background"),
        ({"position": "last"}, "unknown ladder position"),
        ({"grid": (3, 32)}, "grid should be three lengths"),
        ({"grid": (3, 0, 32)}, "grid should be three lengths"),
        ({"num_classes": 1}, "num_classes should be a whole number of at least 2, is 1"),
        ({"num_classes": 2.5}, "num_classes should be a whole number"),
        ({"num_held_out": -1}, "num_held_out should be"),
        ({"scale": 0.0}, "scale should be above 0"),
        ({"level": float("nan")}, "level should be finite"),
        ({"background": "noise"}, "noise needs noise_sd above 0"),
        ({"noise_sd": 0.1}, "no effect on background=constant"),
        ({"num_changed": 2}, "belongs to kind=k_tokens"),
        ({"random_phase": True}, "belongs to kind=periodic"),
        ({"frames": "some.npz"}, "belongs to kind=frames"),
        ({"kind": "frames", "level": 0.0}, "pictures have levels of their own"),
        ({"num_train": 256}, "nothing is random here"),
        ({"num_held_out": 64}, "nothing is random here"),
        ({"background": "noise", "noise_sd": 0.1, "num_train": 3}, "num_train=3 should be at least 4"),
        ({"kind": "frames", "num_train": 1}, "num_train=1 should be at least 2"),
    ],
)
def test_a_bad_config_says_what_to_change(fields, message):
    with pytest.raises(UserError, match=message):
        LadderConfig(**{"kind": "one_token", **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "k_tokens", "num_changed": 16, "grid": (1, 4, 4)}, "num_changed=16 should be below"),
        ({"kind": "moving_blob", "grid": (3, 5, 8)}, "4 classes needs 6 x 6 pixels"),
        ({"kind": "periodic", "num_classes": 9, "frequency_shift": 1.0}, "below 16, half the 32 columns"),
        ({"kind": "periodic", "frequency_shift": 0.0}, "should rise"),
        ({"kind": "texture", "grid": (256, 1, 1)}, "more than one pixel"),
    ],
)
def test_a_rung_that_does_not_fit_says_so(fields, message):
    with pytest.raises(UserError, match=message):
        make_ladder(LadderConfig(**fields), 0)
