"""Windows of a store behind PyTorch's own DataLoader, in this process, in forked and in spawned ones."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from smidgen.data_collection import EpisodeStore
from smidgen.runtime.errors import UserError
from smidgen.training import WindowDataset
from smidgen.training import windows as windows_module


def test_an_item_is_what_was_seen_and_done(data_set: Path) -> None:
    store = EpisodeStore.open(data_set)
    dataset = WindowDataset(data_set, num_frames=3, horizon=4)
    assert dataset.seeds == store.training_seeds
    assert len(dataset) == sum(store.episode(seed).num_steps for seed in store.training_seeds)
    first, second = (store.episode(seed) for seed in store.training_seeds[:2])
    item = dataset[1]
    # The first frame stands for those before it; one camera has three channels.
    np.testing.assert_array_equal(item["frames"], first.frames[[0, 0, 1], 0])
    np.testing.assert_array_equal(item["eef_state"], first.eef_state[1].astype(np.float32))
    np.testing.assert_array_equal(item["actions"], first.actions[1:5].astype(np.float32))
    assert item["step"] == 1
    last_of_first = dataset[first.num_steps - 1]
    np.testing.assert_array_equal(last_of_first["actions"], np.repeat(first.actions[-1:].astype(np.float32), 4, axis=0))
    np.testing.assert_array_equal(dataset[first.num_steps]["frames"][-1], second.frames[0, 0])
    assert {name: (value.dtype, tuple(value.shape)) for name, value in item.items()} == {
        "frames": (torch.uint8, (3, 8, 8, 3)),
        "eef_state": (torch.float32, (4,)),
        "actions": (torch.float32, (4, 4)),
        "step": (torch.int64, ()),
    }


def test_cameras_lie_side_by_side_in_the_channels(write_data_set, tmp_path: Path) -> None:
    store = EpisodeStore.open(write_data_set(tmp_path / "two", num_cameras=2))
    frame = WindowDataset(store)[0]["frames"][0]
    stored = store.episode(store.training_seeds[0]).frames[0]
    np.testing.assert_array_equal(frame, np.concatenate(list(stored), axis=-1))


def test_it_is_a_sequence(data_set: Path) -> None:
    dataset = WindowDataset(data_set)
    assert torch.equal(dataset[-1]["actions"], dataset[len(dataset) - 1]["actions"])
    for index in (len(dataset), -len(dataset) - 1):
        with pytest.raises(IndexError, match=f"below {len(dataset)}, got {index}"):
            dataset[index]


def test_chosen_episodes_alone_are_taken(data_set: Path) -> None:
    store = EpisodeStore.open(data_set)
    seeds = store.training_seeds[2:4]
    assert len(WindowDataset(store, seeds)) == sum(store.episode(seed).num_steps for seed in seeds)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"num_frames": 0}, "expected num_frames of at least 1, got 0"),
        ({"horizon": 0}, "expected horizon of at least 1, got 0"),
        ({"seeds": []}, "no successful episodes"),
        ({"seeds": [999]}, "has no episode of seed 999"),
    ],
)
def test_what_gives_no_window_is_refused(settings: dict, complaint: str, data_set: Path) -> None:
    with pytest.raises(UserError, match=complaint):
        WindowDataset(data_set, **settings)


@pytest.mark.parametrize("context", [None, "fork", "spawn"])
def test_workers_give_what_one_process_gives(
    context: str | None, data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fewer maps than episodes, so that workers open and close them too.
    monkeypatch.setattr(windows_module, "MAX_MAPPED_EPISODES", 2)
    dataset = WindowDataset(data_set, num_frames=2, horizon=3)
    loader = DataLoader(
        dataset,
        batch_size=7,
        shuffle=True,
        generator=torch.Generator().manual_seed(3),
        # One that is spawned imports PyTorch.
        num_workers={None: 0, "fork": 2, "spawn": 1}[context],
        multiprocessing_context=context,
    )
    seen = list(loader)
    order = torch.randperm(len(dataset), generator=_sampler_generator(3)).split(7)
    assert len(seen) == len(order)
    for batch, indices in zip(seen, order, strict=True):
        for name, value in batch.items():
            assert torch.equal(value, torch.stack([dataset[int(index)][name] for index in indices])), name


def _sampler_generator(seed: int) -> torch.Generator:
    """As a DataLoader leaves its generator to its sampler: one draw for the workers' seeds comes first."""
    generator = torch.Generator().manual_seed(seed)
    torch.empty((), dtype=torch.int64).random_(generator=generator)
    return generator


def test_a_copy_for_a_worker_holds_no_frames(write_data_set, tmp_path: Path) -> None:
    dataset = WindowDataset(write_data_set(tmp_path / "many", num_episodes=40))
    dataset[0]
    num_frame_bytes = sum(dataset.store.episode(seed).frames.nbytes for seed in dataset.seeds)
    copy = pickle.dumps(dataset)
    frame = dataset.store.episode(dataset.seeds[0]).frames[0].tobytes()
    assert frame not in copy
    assert num_frame_bytes > 40 * 6 * 8 * 8 * 3 - 1
    assert torch.equal(pickle.loads(copy)[0]["frames"], dataset[0]["frames"])
