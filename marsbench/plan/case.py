"""A run with the choices that follow from its config, task and model."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from marsbench.base.errors import (
    some,
)
from marsbench.config.resizing import WHOLE, Resizing
from marsbench.config.schema import (
    Augment,
    Channels,
    Decoder,
    HeadName,
    Imbalance,
    LossName,
    Mode,
    OptimName,
    Protocol,
    Resize,
    RunConfig,
)
from marsbench.data.rendering import Rendering, rendering_for
from marsbench.models.spec import Library, ModelSpec
from marsbench.models.zoo.catalog import MODELS
from marsbench.plan.derived import (
    DECODERS,
    decoder_of,
    image_side,
    is_table,
    loss_of,
    num_bands,
)
from marsbench.tasks.kinds import KINDS, Kind
from marsbench.tasks.spec import Platform, TaskSpec

OF_TRAINING = (
    "train_on",
    "subset",
    "folds",
    "protocol",
    "stored",
    "augment",
    "imbalance",
    "negatives",
    "head",
    "decoder",
    "loss",
    "outputs",
    "pictures",
)
"""Keys without effect on a model that is not trained."""


@dataclass(frozen=True)
class Case:
    """Configuration, task and model of a run, with derived choices.

    Attributes:
        config: Configuration.
        task: Task, as `marsbench.plan.derived.asked_task`.
        model: Model.
    """

    config: RunConfig
    task: TaskSpec
    model: ModelSpec

    @property
    def is_zero_shot(self) -> bool:
        """Whether nothing is trained."""
        return self.config.mode is Mode.ZERO_SHOT

    @property
    def is_remote(self) -> bool:
        """Whether the model is behind an endpoint."""
        return self.model.library is Library.API

    @property
    def changed_training(self) -> str:
        """First key for training with another value than its default, or an empty text.

        Keys of the optimiser, the schedule and the loop are left to suites, which share them.
        """
        return self._first_changed(OF_TRAINING)

    @property
    def changed_pixels(self) -> str:
        """First key for the inputs of a network with another value than its default."""
        return self._first_changed(("weights", "resize", "channels", "normalisation", "pooling"))

    def _first_changed(self, keys: Iterable[str]) -> str:
        default = RunConfig()
        for key in keys:
            if (value := getattr(self.config, key)) != getattr(default, key):
                return f"{key}={value}"
        return ""

    @property
    def is_spectra(self) -> bool:
        """Whether samples are spectra."""
        return self.task.is_spectra

    @property
    def is_labels(self) -> bool:
        """Whether samples have labels, not masks or boxes."""
        return self.task.kind.is_classification

    @property
    def is_table(self) -> bool:
        """Whether the model is fitted to a table of features at once."""
        return is_table(self.model)

    @cached_property
    def protocol(self) -> Protocol:
        """Resolved protocol.

        By default frozen classification of images uses cached features. Augmentation, oversampling
        and several devices need the images in every epoch. Maps, for masks, are cached on request:
        they take many times the bytes of the images.
        """
        if self.config.protocol is not Protocol.AUTO:
            return self.config.protocol
        is_online = (
            self.needs_images
            or not self.is_labels
            or self.config.augment is Augment.D4
            or self.config.imbalance is Imbalance.OVERSAMPLE
            or self.is_spectra
        )
        return Protocol.ONLINE if is_online else Protocol.CACHED

    @property
    def is_cached(self) -> bool:
        """Whether images are encoded once."""
        return self.protocol is Protocol.CACHED

    @property
    def fits_heads(self) -> bool:
        """Whether heads are fitted to cached vectors; decoders train on cached maps in batches."""
        return self.is_cached and self.is_labels

    @property
    def needs_images(self) -> str:
        """First reason against cached features, or an empty text."""
        return next(_needs_images(self), "")

    @cached_property
    def augment(self) -> Augment:
        """Resolved augmentation: orbital images have no upright orientation, rover images do."""
        if self.config.augment is not Augment.AUTO:
            return self.config.augment
        if self.is_cached or self.is_zero_shot:
            return Augment.NONE
        if self.is_spectra:
            return Augment.NONE if self.is_table else Augment.SPECTRAL
        choices = {Platform.ORBITER: Augment.D4, Platform.ROVER: Augment.HFLIP}
        return choices.get(self.task.platform, Augment.NONE)

    @cached_property
    def rendering(self) -> Rendering | None:
        """Rendering of spectra: the config's raster, else the model's, else the task's.

        None for images, and for models that take engineered features.
        """
        if not self.is_spectra or (self.is_table and not self.model.rasters):
            return None
        change = self.augment is Augment.SPECTRAL
        return rendering_for(self.task, self.config.raster, self.model.rasters, change=change)

    @property
    def is_cropped(self) -> bool:
        """Whether images are resized and cropped as in the pre-training."""
        return self.config.resize is Resize.PRETRAINING

    @property
    def resizing(self) -> Resizing:
        """Resizing of images; rules refuse crops of models without pre-training."""
        return (self.is_cropped and self.model.resizing) or WHOLE

    @cached_property
    def decoder(self) -> Decoder | None:
        """Resolved decoder of an encoder; None for labels, and for models with their own."""
        return decoder_of(self.config, self.task, self.model)

    @property
    def decoders(self) -> str:
        """Decoders of the task's kind, separated by commas."""
        return ", ".join(DECODERS.get(self.task.kind, ()))

    @property
    def has_one_size(self) -> bool:
        """Whether the input size in pixels cannot be chosen."""
        if self.is_remote:
            return False
        if self.decoder is not None:
            return not self.model.any_dense_size
        if self.model.patch:
            return False
        return self.model.fixed_size or (self.is_labels and not self.is_spectra)

    @cached_property
    def loss(self) -> LossName:
        """Resolved loss."""
        return loss_of(self.config, self.task)

    @property
    def raster(self) -> str:
        """Raster and size of images too small for the model, or an empty text."""
        if self.config.side or not self.is_spectra or self.model.fixed_size:
            return ""
        if self.rendering is None or self.model.spectra_only:
            return ""
        raster = self.rendering.raster
        if min(raster.rows, raster.columns) >= self.model.smallest:
            return ""
        return f"{raster.name} gives images of {raster.rows} x {raster.columns}"

    @property
    def num_bands(self) -> int:
        """Number of bands of an image that reach the model."""
        return num_bands(self.config, self.task, self.model)

    @property
    def band_names(self) -> str:
        """Names of the model's bands, for messages."""
        return some(self.model.bands) or "unknown"

    @property
    def changed_inputs(self) -> str:
        """First key for bands or tokens with another value than its default, or an empty text."""
        return self._first_changed(("channels", "normalisation", "pooling"))

    @property
    def other_bands(self) -> str:
        """Advice for images of more bands than the model has channels."""
        ways = ["channels=learned, a trained first layer"]
        if self.task.rgb_bands is not None and self.model.in_channels == 3:
            ways.insert(0, "bands=rgb")
        return f"Add {' or '.join(ways)}, or choose a model of {self.num_bands} channels."

    @property
    def answers(self) -> bool:
        """Whether the model answers in words."""
        return self.model.library is Library.VLM

    @property
    def changed_answers(self) -> str:
        """First key for features or logits with another value than its default."""
        return self._first_changed(("pooling", "head", "loss", "outputs"))

    @property
    def serves_zero_shot(self) -> bool:
        """Whether the model serves ``mode=zero_shot``."""
        return Mode.ZERO_SHOT in self.model.modes

    @property
    def zero_shot_models(self) -> str:
        """Models that serve ``mode=zero_shot``, for messages."""
        named = [m.name for m in MODELS.values() if Mode.ZERO_SHOT in m.modes]
        return ", ".join([f"{Library.API}:NAME", *named])

    @property
    def modes(self) -> str:
        """Modes of the model, for messages."""
        return " or ".join(f"mode={mode}" for mode in Mode if mode in self.model.modes)

    @property
    def warmup_epochs(self) -> int:
        """Epochs of linear warm-up."""
        return self.config.scheduler.warmup_epochs(self.config.trainer.max_epochs)

    @property
    def is_lbfgs(self) -> bool:
        """Whether heads are fitted to the optimum."""
        return self.config.optim.name is OptimName.LBFGS

    @property
    def is_knn(self) -> bool:
        """Whether the nearest neighbours among the train samples classify."""
        return self.config.optim.name is OptimName.KNN

    @property
    def is_at_once(self) -> bool:
        """Whether a head sees all samples at once."""
        return not self.config.optim.name.has_epochs

    @property
    def oversampled(self) -> str:
        """Advice for oversampling without augmentation."""
        choices = ["d4"] if self.is_cached else ["d4", "hflip"]
        if self.is_spectra:
            choices = [] if self.is_cached or self.is_table else ["spectral"]
        if not choices or self.is_at_once:
            return "Choose another imbalance."
        words = " or ".join(f"augment={choice}" for choice in choices)
        return f"Set {words}, or choose another imbalance."

    @property
    def losses(self) -> str:
        """Valid losses, separated by commas."""
        return ", ".join(KINDS[self.task.kind].losses)


def _needs_images(case: Case) -> Iterator[str]:
    """Yield the reasons against cached features."""
    config = case.config
    if config.mode is not Mode.FROZEN:
        yield f"mode={config.mode} trains the backbone"
    if case.task.kind is Kind.DETECTION:
        yield f"{case.task.name} is {case.task.kind}"
    elif not case.is_labels and case.decoder is None:
        yield f"the decoder of {case.model.name} is not decoder=upernet or linear"
    views = (Augment.D4,) if case.is_labels else ()
    if config.augment not in (Augment.AUTO, Augment.NONE, *views):
        yield f"augment={config.augment} changes images at random"
    if config.channels is Channels.LEARNED:
        yield "channels=learned trains the first layer"
    if config.head is not HeadName.LINEAR:
        yield f"head={config.head} is not linear"
    if config.world_size > 1:
        yield "it fits heads on a single device"
    if config.draws > 1:
        yield f"draws={config.draws} draws spectra at random"
    if config.augment is Augment.D4 and case.is_spectra:
        yield "spectra are never flipped or rotated"


def side_of(case: Case, largest: Callable[[], int]) -> int | None:
    """Resolve the input size in pixels.

    None for spectra at the size of their raster, and for images that are sent as they are.
    `largest` reads the larger side of the first image in pixels.
    """
    if case.config.side is not None:
        return case.config.side
    if case.is_remote or (case.is_spectra and not case.model.fixed_size):
        return None
    return image_side(case.task, case.model, largest)
