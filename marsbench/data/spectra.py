"""Cached spectra of a split.

Reading CSV files is slow: the points of all measurements are stored unchanged in a Parquet file
with a row group per sample. The output of `raster.prepare` is stored in the cache of decoded
samples, from which images are drawn.
"""

import hashlib
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from marsbench.base import paths
from marsbench.base.environment import usable_cores
from marsbench.base.errors import DataError, some
from marsbench.base.files import once, replacing
from marsbench.base.progress import tell, track
from marsbench.config.identity import digest
from marsbench.data.cache import Samples, build_cache
from marsbench.data.rows import Raw, Rows, Source
from marsbench.data.samples import Decoded
from marsbench.spectra import background, raster
from marsbench.spectra.presets import RasterSpec
from marsbench.spectra.reading import read_spectrum
from marsbench.spectra.spectrum import Instrument, Spectrum, Technique
from marsbench.tasks.spec import TaskSpec

VERSION = 1
"""Part of the file's key: raise it when the points of a spectrum change."""

COLUMNS = ("time", "axis", "mz", "abundance")
"""Columns of the Parquet file: the arrays of a `Spectrum`."""

_AHEAD = 32
"""Spectra parsed ahead of the write; bounds memory."""


class Spectra(Protocol):
    """Spectra of a split."""

    def __len__(self) -> int:
        """Number of spectra."""

    def __getitem__(self, index: int) -> Spectrum:
        """Parse or load a spectrum."""


def to_spectrum(spec: TaskSpec, raw: Raw) -> Spectrum:
    """Parse a measurement; generated spectra are returned as they are.

    Raises:
        DataError: If the file is damaged; names it.
    """
    if raw.spectrum is not None:
        return raw.spectrum
    if not isinstance(raw.image, bytes):
        raise DataError(f"{raw.where} is not a measurement.", "Unpack the data again.")
    derivatized = raw.meta.get("derivatized")
    return read_spectrum(
        raw.image,
        technique_of(spec),
        raw.where,
        instrument=Instrument(raw.meta.get("instrument", Instrument.COMMERCIAL)),
        derivatized=None if derivatized is None else derivatized == "1",
    )


def technique_of(spec: TaskSpec) -> Technique:
    """Technique of a task; EGA by default."""
    return Technique.EGA if spec.technique is None else spec.technique


class DirectSpectra:
    """Spectra without a cache, parsed on each access."""

    def __init__(self, spec: TaskSpec, source: Source, rows: Rows) -> None:
        self.spec, self.source, self.rows = spec, source, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Spectrum:
        return to_spectrum(self.spec, self.source.read(self.rows.split, index))


class StoredSpectra:
    """Spectra of a Parquet file with a row group per sample; thread-safe."""

    def __init__(self, path: Path) -> None:
        from pyarrow import parquet

        self.path = path
        self._lock = threading.Lock()
        self._file = parquet.ParquetFile(path, memory_map=True, page_checksum_verification=True)
        content: dict[bytes, bytes] = self._file.metadata.metadata
        self._instruments = content[b"instruments"].decode().split(",")
        self._derivatized = content[b"derivatized"].decode().split(",")
        self._places = content[b"places"].decode().split("\n")

    def __reduce__(self) -> tuple[type["StoredSpectra"], tuple[Path]]:
        # Locks and files cannot be pickled; worker processes open the file again.
        return StoredSpectra, (self.path,)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Spectrum:
        try:
            with self._lock:
                table = self._file.read_row_group(index, use_threads=False)
        except (OSError, ValueError) as error:  # Arrow's own are ValueErrors
            raise DataError(
                f"The cache of spectra {self.path} is damaged: {error}.",
                "Delete it; it is made again.",
            ) from error
        told = self._derivatized[index]
        return Spectrum(
            **{name: table.column(name).to_numpy() for name in COLUMNS},
            instrument=Instrument(self._instruments[index]),
            derivatized=None if told == "" else told == "1",
            where=self._places[index],
        )


def open_spectra(spec: TaskSpec, source: Source, rows: Rows, *, cache: bool = True) -> Spectra:
    """Open the spectra of a split; a missing Parquet file is built.

    Generated spectra are not stored. A file whose MD5 differs from ``metadata.csv`` is read with
    a warning.

    Raises:
        DataError: If a file is damaged, or the Parquet file cannot be written.
    """
    if not cache:
        return DirectSpectra(spec, source, rows)
    key = digest([rows.fingerprint, VERSION, technique_of(spec)])[:16]
    path = paths.home() / "decoded" / spec.name / f"points-{rows.split}-{key}.parquet"
    if (stored := _open(path, len(rows))) is not None:
        return stored
    if source.read(rows.split, 0).spectrum is not None:  # generated: nothing to read
        return DirectSpectra(spec, source, rows)

    def build() -> StoredSpectra:
        _write(path, spec, source, rows)
        return StoredSpectra(path)

    try:
        return once(path, lambda: _open(path, len(rows)), build)
    except OSError as error:
        raise DataError(
            f"The cache of spectra {path} cannot be written: {error.strerror or error}.",
            f"Free disk space, set MARSBENCH_HOME (now {paths.home()}), or add cache=false.",
        ) from error


def _open(path: Path, count: int) -> StoredSpectra | None:
    """Open a file of spectra; None if missing or damaged."""
    try:
        found = StoredSpectra(path)
    except (OSError, ValueError, KeyError, TypeError):  # Arrow's own are ValueErrors
        return None
    return found if len(found) == count else None


def _write(path: Path, spec: TaskSpec, source: Source, rows: Rows) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    wrong: list[str] = []

    def read(index: int) -> Spectrum:
        raw = source.read(rows.split, index)
        wanted = raw.meta.get("md5")
        if wanted and isinstance(raw.image, bytes):
            found = hashlib.md5(raw.image, usedforsecurity=False).hexdigest()
            if found != wanted:
                wrong.append(raw.where)
        return to_spectrum(spec, raw)

    def all_of_them() -> Iterator[Spectrum]:
        with ThreadPoolExecutor(usable_cores()) as pool:
            coming: deque[Future[Spectrum]] = deque()
            for index in range(len(rows)):
                coming.append(pool.submit(read, index))
                if len(coming) == _AHEAD:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()

    spectra = track(all_of_them(), f"Reading {spec.name} {rows.split}", len(rows))
    instruments, derivatized, places = [], [], []
    schema = pa.schema([(name, pa.float64()) for name in COLUMNS])
    # Repeated values are stored as dictionaries. Stronger compression saves a tenth of the size
    # in nearly twice the time. Statistics are not used.
    options = {
        "compression": "snappy",
        "use_dictionary": ["time", "axis", "mz"],
        "write_statistics": False,
        "write_page_checksum": True,
    }
    with (
        replacing(path) as partial,
        parquet.ParquetWriter(partial, schema, **options) as writer,
    ):
        for spectrum in spectra:
            writer.write_table(
                pa.table({name: getattr(spectrum, name) for name in COLUMNS}, schema=schema),
                row_group_size=max(len(spectrum), 1),
            )
            instruments.append(str(spectrum.instrument))
            derivatized.append("" if spectrum.derivatized is None else str(+spectrum.derivatized))
            places.append(spectrum.where)
        content = {"instruments": ",".join(instruments), "derivatized": ",".join(derivatized)}
        writer.add_key_value_metadata(content | {"places": "\n".join(places)})
    if wrong:
        tell(
            f"Warning: {len(wrong)} measurement(s) do not have the MD5 that metadata.csv gives: "
            f"{some(sorted(wrong))}. They are read as they are."
        )


class PreparedSamples:
    """Output of `raster.prepare` for the spectra of a split, computed on each access."""

    def __init__(self, spectra: Spectra, spec: RasterSpec) -> None:
        self.spectra, self.spec = spectra, spec
        if spec.background:
            background.load()

    def __len__(self) -> int:
        return len(self.spectra)

    def __getitem__(self, index: int) -> Decoded:
        spectrum = self.spectra[index]
        meta = {"instrument": str(spectrum.instrument)}
        if spectrum.derivatized is not None:
            meta["derivatized"] = str(+spectrum.derivatized)
        return Decoded(raster.prepare(spectrum, self.spec)[:, :, None], meta=meta)


def prepared_samples(
    spec: TaskSpec, source: Source, rows: Rows, chosen: RasterSpec, *, cache: bool = True
) -> Samples:
    """Open the prepared spectra of a split; missing ones are prepared."""
    if not cache:
        return PreparedSamples(open_spectra(spec, source, rows, cache=False), chosen)
    # Augmentation happens after preparation.
    choices = {k: v for k, v in chosen.choices.items() if k not in ("name", "change")}
    key = digest([rows.fingerprint, VERSION, raster.VERSION, choices])[:16]
    folder = paths.home() / "decoded" / spec.name / f"{rows.split}-{key}"

    def make() -> PreparedSamples:
        return PreparedSamples(open_spectra(spec, source, rows), chosen)

    return build_cache(folder, make, rows, f"Rasterising {spec.name} {rows.split}")
