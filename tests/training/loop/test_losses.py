import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torch.nn import functional

from marsbench.config.schema import LossName
from marsbench.tasks.kinds import Kind
from marsbench.training.loop.objectives.labels import LabelObjective

LOGITS = torch.tensor([[1.0, -0.5, 0.2], [0.1, 2.0, -1.0], [0.3, 0.2, 0.1], [-2.0, 0.0, 1.0]])
LABELS = torch.tensor([0, 1, 2, 1])
CE, BCE = LossName.CROSS_ENTROPY, LossName.BINARY_CROSS_ENTROPY


def test_cross_entropy_is_the_log_loss_of_its_probabilities() -> None:
    objective = LabelObjective(Kind.MULTICLASS, CE, 3, 3)
    chances = objective.probabilities(LOGITS)
    expected = log_loss(LABELS, torch.softmax(LOGITS.double(), 1), labels=[0, 1, 2])
    assert chances.sum(1) == pytest.approx(torch.ones(4))
    assert objective(LOGITS, LABELS).mean().item() == pytest.approx(expected, rel=1e-6)


def test_one_node_and_two_nodes_of_opposite_sign_are_one_model() -> None:
    """BCE of one node z is cross entropy of the nodes (0, z)."""
    z = torch.tensor([[0.4], [-1.3], [2.2]])
    labels = torch.tensor([1, 0, 0])
    one = LabelObjective(Kind.BINARY, BCE, 2, 1)
    two = LabelObjective(Kind.BINARY, CE, 2, 2)
    pair = torch.cat([torch.zeros_like(z), z], dim=1)
    assert one(z, labels) == pytest.approx(two(pair, labels))
    assert one.probabilities(z).numpy() == pytest.approx(two.probabilities(pair).numpy())


def test_two_nodes_with_binary_cross_entropy() -> None:
    objective = LabelObjective(Kind.BINARY, BCE, 2, 2)
    logits, labels = LOGITS[:, :2], torch.tensor([0, 1, 1, 0])
    wanted = functional.one_hot(labels, 2).float()
    expected = functional.binary_cross_entropy_with_logits(logits, wanted)
    assert objective(logits, labels).mean() == pytest.approx(expected)
    chances = objective.probabilities(logits)
    assert chances.sum(1) == pytest.approx(torch.ones(4))
    expected_chances = torch.sigmoid(logits) / torch.sigmoid(logits).sum(1, keepdim=True)
    assert chances.numpy() == pytest.approx(expected_chances.numpy())
    far = objective.probabilities(torch.tensor([[-200.0, -120.0], [-90.0, -100.0]]))
    assert far.argmax(1).tolist() == [1, 0]
    assert far.sum(1) == pytest.approx(torch.ones(2))


def test_multilabel_probabilities_are_per_label() -> None:
    objective = LabelObjective(Kind.MULTILABEL, BCE, 3, 3)
    labels = torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 1]])
    expected = functional.binary_cross_entropy_with_logits(LOGITS, labels)
    assert objective(LOGITS, labels).mean() == pytest.approx(expected)
    assert torch.equal(objective.probabilities(LOGITS), torch.sigmoid(LOGITS))


@pytest.mark.parametrize("loss", [CE, BCE])
def test_class_weights_count_in_training_and_not_in_the_plain_loss(loss: LossName) -> None:
    weights = np.array([3.0, 0.5, 1.0])
    weighed = LabelObjective(Kind.MULTICLASS, loss, 3, 3, weights)
    plain = LabelObjective(Kind.MULTICLASS, loss, 3, 3)
    factors = torch.tensor([3.0, 0.5, 1.0, 0.5])
    assert weighed(LOGITS, LABELS) == pytest.approx(plain(LOGITS, LABELS) * factors)
    assert torch.equal(weighed.plain(LOGITS, LABELS), plain(LOGITS, LABELS))
    assert not weighed.state_dict()


def test_multilabel_weights_count_for_the_positives() -> None:
    labels = torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 1]])
    weights = np.array([2.0, 1.0, 5.0])
    weighed = LabelObjective(Kind.MULTILABEL, BCE, 3, 3, weights)
    plain = functional.binary_cross_entropy_with_logits(LOGITS, labels, reduction="none")
    factors = torch.where(labels > 0, torch.tensor(weights).float(), 1.0)
    assert weighed(LOGITS, labels) == pytest.approx((plain * factors).mean(1))


def test_half_precision_is_widened_and_double_kept() -> None:
    objective = LabelObjective(Kind.MULTICLASS, CE, 3, 3)
    assert objective(LOGITS.bfloat16(), LABELS).dtype == torch.float32
    assert objective(LOGITS.double(), LABELS).dtype == torch.float64
