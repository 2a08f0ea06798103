"""What a study is said to be."""

from typing import Any

from benchmark.describe import training


def settings(streamed: bool | None) -> dict[str, Any]:
    """Settings as records have them; older ones do not say whether images are streamed."""
    data = {} if streamed is None else {"streamed": streamed}
    return {"data": data, "recipe": {"epochs": 2, "padding": 4, "flip": True}}


def test_the_standard_augmentation_that_is_named_is_the_one_that_was_used() -> None:
    assert training(settings(streamed=None)) == "Training: epochs = 2, padding = 4, flip = true."
    assert training(settings(streamed=False)) == training(settings(streamed=None))
    said = training(settings(streamed=True))
    assert "padding" not in said
    assert "flip = true" in said
    assert "random resized crops, 8% to 100% of the area" in said
