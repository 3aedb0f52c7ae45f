"""Draw five samples of a task of spectra by every preset of the rasteriser, as one picture.

python scripts/spectra_presets.py ega_ms presets.png [ROOT]      # demo data without ROOT
"""

import sys
from pathlib import Path

from marsbench.config.schema import SourceName
from marsbench.data.drawing import save
from marsbench.data.sources import open_source
from marsbench.data.tools.pictures.spectra import preset_sheet
from marsbench.tasks.catalog import get_task


def main() -> None:
    """Open the data and draw."""
    task, path, *root = sys.argv[1:]
    spec = get_task(task)
    where = SourceName.LOCAL if root else SourceName.DEMO
    source = open_source(spec, where, root[0] if root else None)
    save(preset_sheet(spec, source, source.rows("train")), Path(path))


if __name__ == "__main__":
    main()
