"""Contact sheets of spectra."""

from pathlib import Path

import matplotlib.axes
import numpy as np
import pytest

from marsbench.data.drawing import save
from marsbench.data.sources.challenge import ChallengeSource
from marsbench.data.sources.demo import DemoSource
from marsbench.data.tools.pictures.spectra import preset_sheet, sheet
from marsbench.spectra.presets import get_preset
from marsbench.tasks.catalog import get_task
from tests.spectra.helpers import write_challenge

EGA, GC = get_task("ega_ms"), get_task("gcms")


@pytest.fixture
def source(tmp_path: Path) -> ChallengeSource:
    return ChallengeSource(EGA, write_challenge(tmp_path, train=15))


def titles(axes: list[matplotlib.axes.Axes]) -> list[str]:
    return [axis.get_title(loc="left") for axis in axes]


def test_curves_beside_images(source: ChallengeSource, tmp_path: Path) -> None:
    figure = sheet(EGA, source, source.rows("train"), get_preset("ega_benchmark"))
    axes = figure.get_axes()
    curves, images = axes[::2], axes[1::2]
    assert len(curves) == len(images) == 8
    assert titles(curves)[0] == "S0000, commercial: basalt"
    assert titles(curves)[-1] == "S0014, sam_testbed: oxalate"
    for axis, image in zip(curves, images, strict=True):
        legend = axis.get_legend()
        assert legend is not None
        ions = [text.get_text() for text in legend.get_texts()]
        assert len(ions) == 8
        assert "4" not in ions
        values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axis.get_lines()])
        assert np.nanmax(values) == 1
        pixels = image.get_images()[0]
        assert tuple(pixels.get_extent()) == (-100, 1500, -0.5, 99.5)  # m/z upwards
        assert axis.get_xlim() == image.get_xlim()
        shown = np.asarray(pixels.get_array())
        assert shown.shape == (100, 16)
        assert shown.max() == 1
    save(figure, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 50_000


def test_the_rare_instrument_is_shown(tmp_path: Path) -> None:
    folder = write_challenge(tmp_path, train=30)
    table = (folder / "metadata.csv").read_text().replace("sam_testbed", "commercial")
    (folder / "metadata.csv").write_text(
        table.replace("S0011,train,commercial", "S0011,train,sam_testbed")
    )
    source = ChallengeSource(EGA, folder)
    figure = sheet(EGA, source, source.rows("train"), get_preset("ega_benchmark"))
    shown = titles(figure.get_axes()[::2])
    assert sum("sam_testbed" in title for title in shown) == 1
    assert shown[0].startswith("S0000")
    assert shown[-1].startswith("S0029")


def test_every_preset_of_five_samples() -> None:
    for spec, panels in ((EGA, 5), (GC, 5)):
        source = DemoSource(spec, size=0.03)
        figure = preset_sheet(spec, source, source.rows("train"))
        assert len(figure.get_axes()) == 5 * panels
        for axis in figure.get_axes():
            pixels = np.asarray(axis.get_images()[0].get_array())
            assert 0 < pixels.max() <= 1


def test_a_split_of_two_samples() -> None:
    source = DemoSource(GC, size=0.001)
    rows = source.rows("train")
    assert len(rows) == 2
    figure = sheet(GC, source, rows, get_preset("gcms_second_place"))
    assert len(figure.get_axes()) == 4
    assert "derivatised" in titles(figure.get_axes())[0]
