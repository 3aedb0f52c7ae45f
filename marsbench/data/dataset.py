"""The torch Dataset of all tasks, and the contract of its samples."""

import contextlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from marsbench.base.errors import some
from marsbench.base.text import inline
from marsbench.config.resizing import WHOLE, Resizing
from marsbench.config.schema import Bands
from marsbench.data.batches import STACKED, batch_of
from marsbench.data.cache import DirectSamples, Samples, cached_samples
from marsbench.data.encoded import EncodedImages
from marsbench.data.rendering import Rendering
from marsbench.data.resized import as_tensor, samples_at
from marsbench.data.rows import Source
from marsbench.data.samples import Decoded
from marsbench.data.spectra import PreparedSamples, Spectra, open_spectra, prepared_samples
from marsbench.data.transforms import resize, resize_mask, to_float
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import TaskSpec


class Sample(TypedDict):
    """A sample.

    Attributes:
        image: float32 (C, H, W) in [0, 1], not normalised. From 8-bit files it is uint8 in
            [0, 255] until it is on the device. Of encoded images, floats (F,).
        sample_id: Id in the task's index.
        index: Position in the dataset.
        label: int64 () class id for binary and multiclass tasks; float32 (K,) of zeros and
            ones for multilabel ones.
        mask: int64 (H, W) class ids, 255 for ignored pixels, of segmentation tasks; uint8 until
            it is on the device.
        truth: uint8, the mask at its original size if the image is resized, for evaluation.
        boxes: float32 (N, 4) left, top, right and bottom in pixels of the image, of detection
            tasks; N is 0 without objects.
        labels: int64 (N,) class ids of the boxes, from 0.
        spectrum: float32 (P, 3) temperature in degrees C or time in minutes, m/z, and abundance
            over its largest magnitude, of spectra, if points are requested.
        size: int64 (2,) height and width of the image before resizing, with masks or boxes.
        meta: Further fields of the sample, such as its region; stored with the predictions.
        seed: Seed of the augmentation, if the dataset was indexed with a `Draw`.
    """

    image: Tensor
    sample_id: str
    index: int
    label: NotRequired[Tensor]
    mask: NotRequired[Tensor]
    truth: NotRequired[Tensor]
    boxes: NotRequired[Tensor]
    labels: NotRequired[Tensor]
    spectrum: NotRequired[Tensor]
    size: NotRequired[Tensor]
    meta: NotRequired[dict[str, Any]]
    seed: NotRequired[int]


class Draw(NamedTuple):
    """Position of a training sample, and the seed of its augmentation."""

    position: int
    seed: int


class MarsDataset(Dataset[Sample]):
    """Samples of a split of a task, or of a subset of the split.

    Args:
        spec: The task.
        source: Its data, opened.
        split: train, val or test.
        indices: Positions in the split to keep, shape (n,); None keeps all.
        side: Side in pixels to which images, masks and boxes are resized; 8-bit images stay
            uint8. None keeps the size of each image and gives float32 in [0, 1].
        bands: Bands to keep of images with more than three.
        cache: Whether decoded images are kept in the memory-mapped cache, large images at `side`.
        rendering: Rasterisation of spectra; ``side=None`` keeps the size of the raster.
        resizing: Resizing of images to `side`; crops are for images with labels.
        encoded: The split's images of `side`, encoded, in place of the images; None for images.
        spectra: Spectra in place of the source's, such as corrupted ones; None for the source's.
        transform: Function of a sample that returns it changed, applied last; None for no change.

    Attributes:
        class_names: The K class names in the order of their ids.
        sample_ids: The n ids.
        targets: Class ids (n,), or zeros and ones (n, K) for multilabel tasks; (n, 0) where the
            targets are masks or boxes.
        samples: Decoded samples by position in the split; large images may be resized already.

    Indexing with an int gives a sample; indexing with a `Draw` gives it with the draw's seed.
    """

    def __init__(
        self,
        spec: TaskSpec,
        source: Source,
        split: str,
        *,
        indices: NDArray[np.int64] | None = None,
        side: int | None = None,
        bands: Bands = Bands.RGB,
        cache: bool = True,
        rendering: Rendering | None = None,
        resizing: Resizing = WHOLE,
        encoded: EncodedImages | None = None,
        spectra: Spectra | None = None,
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        rows = source.rows(split)
        self._place = f"{source.name}: {source.where}"
        self.transform = transform
        self.spec, self.split, self.side = spec, split, side
        self.class_names = source.class_names
        self.rendering, self.resizing, self.encoded = rendering, resizing, encoded
        self._draws = 1
        self._spectra: Spectra | None = None
        self._own: Samples | None = None
        self.samples: Samples
        if rendering is not None and spectra is not None:
            self.samples = PreparedSamples(spectra, rendering.raster)
            if rendering.points:
                self._spectra = spectra
        elif rendering is not None:
            self.samples = prepared_samples(spec, source, rows, rendering.raster, cache=cache)
            if rendering.points:
                self._spectra = open_spectra(spec, source, rows, cache=cache)
        else:
            direct = DirectSamples(spec, source, rows, bands)
            if not cache:
                self.samples = direct
            elif side is None:
                self.samples = cached_samples(spec, source, rows, bands)
            else:
                self.samples = samples_at(spec, source, rows, bands, side, resizing)
                self._own = direct
        self.indices = np.arange(len(rows)) if indices is None else indices
        self.sample_ids: Sequence[str] = [rows.sample_ids[int(i)] for i in self.indices]
        self.targets = rows.targets[self.indices]
        self._meta = rows.meta

    def __len__(self) -> int:
        return len(self.indices)

    def __repr__(self) -> str:
        """Task, split, number of samples, classes and place, in three lines."""
        of = "" if len(self) == len(self.samples) else f" of {len(self.samples):,}"
        names = some(self.class_names)
        lines = (
            f"MarsDataset {self.spec.name} {self.split}: {len(self):,}{of} samples",
            f"  {self.spec.kind}, {len(self.class_names)} classes: {names}",
            f"  {self._place}",
        )
        return "\n".join(map(inline, lines))

    def collate(self, samples: Sequence[Any]) -> dict[str, Any]:
        """Make a batch, as the `collate_fn` of a `torch.utils.data.DataLoader`.

        For example ``DataLoader(dataset, batch_size=8, collate_fn=dataset.collate)``.

        Args:
            samples: B samples.

        Returns:
            Tensors of the fields with equal shapes: image (B, C, H, W), label, mask, size, index.
            Lists of the others: sample_id, boxes, labels, spectrum, truth, meta, fields added by
            `transform`, and image where objects are detected in images of any size.

        Raises:
            DataError: If images or masks to stack differ in size.
        """
        is_ragged = self.spec.has_boxes and self.side is None
        return batch_of(samples, [key for key in STACKED if not (is_ragged and key == "image")])

    @contextlib.contextmanager
    def averaged(self, draws: int) -> Iterator[None]:
        """Within the block, samples hold `draws` drawings of each spectrum, (D, C, H, W)."""
        self._draws = draws if self.rendering is not None else 1
        try:
            yield
        finally:
            self._draws = 1

    def _rendered(self, rendering: Rendering, index: int, seed: int | None) -> Sample:
        """Rasterise a spectrum."""

        def read(position: int) -> Decoded:
            return self.samples[int(self.indices[position])]

        image, label = rendering.draw(read, self.targets, index, seed)
        if self._draws > 1 and seed is None:
            name = zlib.crc32(self.sample_ids[index].encode())
            image = np.stack(
                [rendering.view(read(index), [name, draw]) for draw in range(self._draws)]
            )
        pixels = torch.from_numpy(image)
        sample: Sample = {
            "image": pixels if self.side is None else resize(pixels, self.side),
            "sample_id": self.sample_ids[index],
            "index": index,
            "label": torch.from_numpy(label),
        }
        if self._spectra is not None:
            spectrum = self._spectra[int(self.indices[index])]
            sample["spectrum"] = torch.from_numpy(spectrum.points)
            sample["meta"] = dict(read(index).meta)
        if seed is not None:
            sample["seed"] = seed
        return sample

    @property
    def has_meta(self) -> bool:
        """Whether samples have `meta`; the first sample decides for all."""
        return len(self) > 0 and bool(self.meta(0))

    def meta(self, index: int) -> Mapping[str, Any]:
        """Further fields of a sample, from the index if it holds them, else from the sample."""
        position = int(self.indices[index])
        return self.samples[position].meta if self._meta is None else self._meta[position]

    def original(self, index: int) -> Decoded:
        """Decode a sample with its image at its own size."""
        position = int(self.indices[index])
        decoded = self.samples[position]
        if decoded.resized_from is None or self._own is None:
            return decoded
        return self._own[position]

    @property
    def num_dropped(self) -> int:
        """Number of dropped boxes, outside of their image."""
        return sum(self.samples[int(i)].num_dropped for i in self.indices)

    def _image(self, index: int, decoded: Decoded) -> Tensor:
        if self.encoded is not None:
            return torch.from_numpy(self.encoded[int(self.indices[index])])
        image = as_tensor(decoded)
        if decoded.resized_from is not None:
            return image
        return to_float(image) if self.side is None else resize(image, self.side, self.resizing)

    def __getitem__(self, draw: int | Draw) -> Sample:
        sample = self._sample(draw)
        return sample if self.transform is None else cast("Sample", self.transform(sample))

    def _sample(self, draw: int | Draw) -> Sample:
        index, seed = draw if isinstance(draw, Draw) else (int(draw), None)
        if self.rendering is not None:
            return self._rendered(self.rendering, index, seed)
        decoded = self.samples[int(self.indices[index])]
        sample: Sample = {
            "image": self._image(index, decoded),
            "sample_id": self.sample_ids[index],
            "index": index,
        }
        if decoded.mask is None and decoded.boxes is None:
            dtype = torch.float32 if self.spec.kind is Kind.MULTILABEL else torch.int64
            sample["label"] = torch.as_tensor(self.targets[index], dtype=dtype)
        else:
            sample["size"] = torch.tensor(decoded.size)
        if decoded.mask is not None:
            mask = torch.from_numpy(decoded.mask.copy())
            if self.side is None:
                sample["mask"] = mask.long()
            else:
                sample["mask"] = resize_mask(mask, self.side)
                if seed is None:
                    sample["truth"] = mask
        if decoded.boxes is not None:
            height, width = decoded.size
            limits = np.array([width, height, width, height])
            scale = 1.0 if self.side is None else self.side / limits
            sample["boxes"] = torch.from_numpy(decoded.boxes.xyxy * scale).float()
            sample["labels"] = torch.from_numpy(decoded.boxes.labels.copy())
        if meta := decoded.meta if self._meta is None else self.meta(index):
            sample["meta"] = dict(meta)
        if seed is not None:
            sample["seed"] = seed
        return sample
