"""The model card of a blend."""

from recmtl.schema import parse_schema
from recmtl.serve.bundle.card import model_card
from tests.unit.serve.shop import SCHEMA


def card(taken: bool) -> str:
    entry = {"weights": {"searched-0": 0.25, "forest": 0.75}, "gain": 0.1, "error": 0.01}
    blend = {"members": ["searched-0", "forest"], "tasks": {"click": {**entry, "taken": taken}}}
    return model_card(parse_schema(SCHEMA, source="shop.yaml"), ["a"], ["b"], {"blend": blend})


def test_the_card_of_a_blend_names_its_members_and_their_weights() -> None:
    assert "| task | searched-0 | forest |\n|---|---|---|\n| click | 0.25 | 0.75 |" in card(True)


def test_the_card_of_one_network_says_nothing_of_a_blend() -> None:
    assert "Blend" not in card(False)
