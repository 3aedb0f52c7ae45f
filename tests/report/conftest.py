from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_pdf import FigureCanvasPdf

from marsbench.report.figures import style


@pytest.fixture
def quick_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures with few pixels and an empty PDF: embedding fonts takes half of a report's time."""

    def empty(self: FigureCanvasPdf, path: str, **_: Any) -> None:
        Path(path).write_bytes(b"%PDF")

    monkeypatch.setattr(FigureCanvasPdf, "print_pdf", empty)
    monkeypatch.setattr(style, "DPI", 20)
