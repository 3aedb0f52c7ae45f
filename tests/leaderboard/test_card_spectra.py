"""Cards of models that are fitted to a table of spectra, and what uses them again."""

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

import marsbench
from marsbench.leaderboard.card.write import write_card
from marsbench.predict.submissions import write_submission
from tests.challenges import write_challenge


def test_a_table_model_of_spectra_in_folds(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"task": "ega_ms", "model": "logistic_regression", "mode": "scratch"}
    keys |= {"source": "demo", "size": 0.1, "folds": 2, "store": str(tmp_path / "runs")}
    record = marsbench.run(**keys)
    done = write_card([record.run_id], tmp_path / "card", store=tmp_path / "runs")
    assert {"fold_0/model/model.json", "fold_1/model/model.json"} <= {*done.files}
    card = ModelCard.load(done.folder / "README.md")
    assert card.data.pipeline_tag is None  # the hub has no name for spectra
    (result, *_) = card.data.eval_results or []
    assert (result.metric_type, result.task_type) == ("log_loss", "other")
    # No result on demo data counts as one on the published data.
    assert result.dataset_type == "ega_ms-demo"
    assert result.dataset_name.endswith(", demo data")
    assert card.data.datasets is None
    text = (done.folder / "README.md").read_text()
    assert "marsbench spectra submission model --root CHALLENGE" in text
    assert "Trained and scored on demo data, which are drawn, not measured." in text
    assert "| parameters |" not in text
    assert "None: no weights were pre-trained." in text
    data = tmp_path / "data"
    write_challenge(data / "ega_ms", {"train": 12, "test": 4}, ("train",))
    assert write_submission(str(done.folder), str(data), tmp_path / "predicted.csv") == 4
