"""Names as readers know them."""

from marsbench.models.zoo.catalog import MODELS
from marsbench.report import names


def test_every_zoo_entry_has_a_title() -> None:
    assert set(names.MODELS) == set(MODELS)
    assert len(set(names.MODELS.values())) == len(names.MODELS)


def test_titles_of_models() -> None:
    assert names.model_title("vit") == "ViT-L/16"
    assert names.model_title("timm:vit_l") == "timm:vit_l"
    assert names.model_title("ensemble of resnet101 + mine") == "ensemble of ResNet-101 + mine"


def test_titles_within_sentences() -> None:
    assert names.lowered("Frozen models") == "frozen models"
    assert names.lowered("IQM") == "IQM"
    assert names.subset_title("partition_0.05") == "5 % of the training split"
    amounts = ("full", "partition_0.05", "few_shot_1", "few_shot_5")
    assert [*map(names.amount_title, amounts)] == ["100 %", "5 %", "1 shot", "5 shots"]
    assert names.subset_title("few_shot_5") == "5 training samples per class"
