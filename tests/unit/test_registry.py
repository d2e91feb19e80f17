"""A registry keeps names in order, refuses a name twice and answers a typo."""

from __future__ import annotations

import pytest

from harness.errors import UserError
from harness.registry import Registry


@pytest.fixture
def variants() -> Registry[int]:
    registry: Registry[int] = Registry("variant")
    for number, name in enumerate(("rslora", "dora", "lora")):
        registry.add(name, number)
    return registry


def test_add_returns_what_was_added() -> None:
    entry = object()
    assert Registry("thing").add("one", entry) is entry


def test_names_and_entries_keep_their_order(variants: Registry[int]) -> None:
    assert variants.names() == ("rslora", "dora", "lora")
    assert list(variants) == [("rslora", 0), ("dora", 1), ("lora", 2)]


def test_get_gives_the_entry(variants: Registry[int]) -> None:
    assert variants.get("dora") == 1
    assert "dora" in variants
    assert "dorra" not in variants


def test_a_typo_is_answered(variants: Registry[int]) -> None:
    with pytest.raises(UserError) as caught:
        variants.get("dorra")
    assert str(caught.value) == "unknown variant 'dorra'; did you mean 'dora'?"


def test_a_name_is_taken_once(variants: Registry[int]) -> None:
    with pytest.raises(ValueError, match="variant 'dora' is registered twice"):
        variants.add("dora", 7)
    assert variants.get("dora") == 1


def test_adding_while_reading_does_not_disturb(variants: Registry[int]) -> None:
    seen = [name for name, _ in variants if variants.add(f"{name}_plus", 9)]
    assert seen == ["rslora", "dora", "lora"]
    assert len(variants.names()) == 6
