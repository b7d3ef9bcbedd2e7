"""Configurations of studies on images: what they refuse, and lengths in steps by hand."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recmtl.train.config import Evidence, Search, Training
from recmtl.vision.config import ImageNetworkConfig, StepLengths, TrunkShape, VisionConfig


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"depths": (2, 2, 2)}, "depths, widths, strides and dilations need one number per stage"),
        ({"strides": (2,)}, "one number per stage"),
        ({"widths": (0, 8)}, "widths.0.: must be at least 1, not 0"),
        ({"kind": "plain", "widths": ()}, "widths must be one or more numbers"),
    ],
)
def test_stages_that_do_not_fit_are_refused(shape: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrunkShape(**shape)


def test_only_a_resnet_needs_depths_for_every_stage() -> None:
    trunk = TrunkShape(kind="plain", widths=(4, 5, 6)).build(3, cells=2)
    assert [stage[0].width for stage in trunk.stages] == [4, 5, 6]
    assert len(TrunkShape(kind="thin_vgg", widths=(4,)).build(3, cells=2).blocks) == 15


def test_columns_of_the_shape_come_before_those_of_the_tasks() -> None:
    assert TrunkShape().build(8, cells=4).cells == 4
    assert TrunkShape(cells=7).build(8, cells=4).cells == 7


@pytest.mark.parametrize(
    ("compare", "message"),
    [
        (("single_tusk",), "no model 'single_tusk'; did you mean 'single_task'"),
        (("ple",), "no model 'ple'.*there are searched, single_task"),
        (("random_route",), "random_route is drawn so as to differ from searched"),
    ],
)
def test_models_that_cannot_be_compared_are_refused(compare: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VisionConfig(compare=compare)


def test_every_model_has_the_seeds_of_the_evidence() -> None:
    config = VisionConfig(compare=("searched", "random_route", "mmoe"), evidence=Evidence(seeds=4))
    assert config.models() == (("searched", 4), ("random_route", 4), ("mmoe", 4))


def test_lengths_in_passes_stay_as_they_are() -> None:
    config = VisionConfig(training=Training(epochs=7), search=Search(epochs=3))
    assert config.with_epochs(1000) == config


@pytest.mark.parametrize(
    ("images", "steps", "batch_size", "accumulate", "epochs"),
    [(100, 50, 10, 1, 5), (100, 50, 10, 2, 10), (95, 50, 10, 1, 5), (1000, 5, 10, 1, 1)],
)
def test_training_steps_become_the_nearest_whole_passes(
    images: int, steps: int, batch_size: int, accumulate: int, epochs: int
) -> None:
    training = Training(batch_size=batch_size, accumulate=accumulate)
    config = VisionConfig(training=training, steps=StepLengths(training=steps))
    assert config.with_epochs(images).training.epochs == epochs


@given(st.integers(20, 5000), st.integers(1, 400), st.integers(1, 64), st.integers(1, 4))
def test_passes_are_within_half_a_pass_of_the_steps(
    images: int, steps: int, batch_size: int, accumulate: int
) -> None:
    training = Training(batch_size=batch_size, accumulate=accumulate)
    config = VisionConfig(training=training, steps=StepLengths(training=steps, search=steps))
    lengths = config.with_epochs(images)
    steps_in_pass = -(-images // (batch_size * accumulate))
    assert lengths.training.epochs >= 1
    if lengths.training.epochs > 1:
        assert abs(lengths.training.epochs * steps_in_pass - steps) <= steps_in_pass / 2
    weight_rows = round(images * (1.0 - config.search.policy_rows))
    assert lengths.search.epochs == max(1, round(steps / -(-weight_rows // batch_size)))
    assert replace(lengths, training=config.training, search=config.search) == config


def test_a_device_is_taken_at_its_word_and_auto_asks_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert ImageNetworkConfig(device="cuda").resolve_device() == "cuda"
    for has_gpu in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda has_gpu=has_gpu: has_gpu)
        assert ImageNetworkConfig().resolve_device() == ("cuda" if has_gpu else "cpu")
