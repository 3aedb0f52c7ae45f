"""A model that is not trained, and whose answers the tests decide."""

from pathlib import Path

import numpy as np
import pytest
import torch

from marsbench.models.spec import Library
from marsbench.plan.resolve import Plan
from marsbench.training.zero_shot import models
from marsbench.training.zero_shot.models import Images, Predicted


class Fake:
    """Names the classes in turn; refuses the first image and fails on the next two."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def predict(self, images: Images) -> Predicted:
        count, num_classes = len(images), len(self.plan.class_names)
        assert all(image.dtype is torch.float32 and image.max() <= 1 for image in images)
        scores = np.zeros((count, num_classes), np.float32)
        scores[np.arange(count), np.arange(count) % num_classes] = 1
        unanswered, refused = np.zeros(count, bool), np.zeros(count, bool)
        unanswered[:3], refused[:1] = True, True
        return Predicted(
            scores=scores, unanswered=unanswered, refused=refused, facts={"of": "a test"}
        )


def make(plan: Plan, folder: Path) -> Fake:
    assert folder.is_dir()
    return Fake(plan)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it stand behind every ``api:NAME``."""
    monkeypatch.setitem(models.MODELS, Library.API, f"{__name__}:make")
