"""The section on weights: what is weighed, how, and the last numbers in words."""

import re
from html import unescape

import pytest

from recmtl.report.sections.weighting import front, weights

RECORD = {
    "method": "famo",
    "tasks": ["click", "like"],
    "epochs": [0.5, 1.0],
    "weights": [[1.0, 1.0], [0.5, 1.25]],
}


def test_fixed_weights_are_not_drawn() -> None:
    assert weights({}) is None


def test_the_picture_says_the_last_weights() -> None:
    section = weights(RECORD)
    assert section is not None
    assert "by epoch of training; at the end click 0.5; like 1.25" in section.markup
    assert "By FAMO: the factor" in section.markup
    assert section.markup.count("<img ") == 1


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({}, "the factor of each task&#39;s loss"),
        ({"method": "mgda"}, "the factor of each task&#39;s gradient at what tasks share"),
        (
            {"method": "gradnorm", "layer": "grid.layers.0.experts.weights.1"},
            "Gradients are compared at grid.layers.0.experts.weights.1.",
        ),
    ],
)
def test_the_text_says_what_is_weighed(more: dict[str, str], sentence: str) -> None:
    section = weights({**RECORD, **more})
    assert section is not None and sentence in section.markup


def test_names_of_users_are_escaped() -> None:
    section = weights({**RECORD, "tasks": ["<img src=x>", "like"]})
    assert section is not None and "<img src=x>" not in section.markup


def point(name: str, click: float, buy: float, meets: bool = True) -> dict[str, object]:
    return {"name": name, "scores": {"click": click, "buy": buy}, "value": buy, "meets": meets}


FRONT = {
    "chosen": "click",
    "points": [
        point("none", 0.7, 0.8),
        point("click", 0.71, 0.81),
        point("buy", 0.6, 0.9, meets=False),
    ],
}


def test_without_a_front_nothing_is_drawn() -> None:
    assert front({}) is None


def test_the_front_says_what_each_emphasis_gained_and_cost() -> None:
    section = front({"front": FRONT})
    assert section is not None
    text = re.sub("<[^>]+>", " ", section.markup)
    assert re.search(r"click\s+\+0\.0100\s+\+0\.0100\s+\+0\.0100\s+chosen", text)
    assert re.search(r"buy\s+\+0\.1000\s+\S0\.1000\s+\+0\.1000\s+others are worse", text)
    spoken = "none +0.0000 at mean +0.0000; click +0.0100 at mean +0.0100; buy +0.1000 at mean"
    assert spoken in unescape(str(section.markup))
    assert section.markup.count("<img ") == 1
