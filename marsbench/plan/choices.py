"""Derived choices of a run, and rules against invalid combinations of keys."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from marsbench.base.errors import (
    ConfigError,
    MarsbenchError,
    NotAvailableError,
    WeightsError,
    some,
)
from marsbench.config.resizing import WHOLE, Resizing
from marsbench.config.schema import (
    Augment,
    Channels,
    Checkpoint,
    Decoder,
    HeadName,
    Imbalance,
    LossName,
    Mode,
    Negatives,
    OptimConfig,
    OptimName,
    Pooling,
    Protocol,
    Resize,
    RunConfig,
    SchedulerName,
    Stored,
)
from marsbench.data.rendering import Rendering, rendering_for
from marsbench.models.spec import Library, ModelSpec
from marsbench.plan.derived import (
    DECODERS,
    decoder_of,
    image_side,
    is_spread,
    is_table,
    loss_of,
    num_bands,
)
from marsbench.tasks.kinds import KINDS, Kind
from marsbench.tasks.spec import Platform, TaskSpec


@dataclass(frozen=True)
class Case:
    """Configuration, task and model of a run, with derived choices.

    Attributes:
        config: Configuration.
        task: Task.
        model: Model.
    """

    config: RunConfig
    task: TaskSpec
    model: ModelSpec

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
        if self.is_cached:
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
        default = RunConfig()
        for key in ("channels", "normalisation", "pooling"):
            if (value := getattr(self.config, key)) != getattr(default, key):
                return f"{key}={value}"
        return ""

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
        default = RunConfig()
        for key in ("pooling", "head", "loss", "outputs"):
            if (value := getattr(self.config, key)) != getattr(default, key):
                return f"{key}={value}"
        return ""

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


@dataclass(frozen=True)
class Rule:
    """Invalid combination of keys.

    Attributes:
        when: Whether a run has the combination.
        problem: Message with the placeholders ``{config.KEY}``, ``{task.KEY}``, ``{model.KEY}``
            and ``{case.KEY}``.
        remedy: Advice to the user, with the same placeholders.
        error: Class of the error.
    """

    when: Callable[[Case], object]
    problem: str
    remedy: str
    error: type[MarsbenchError] = ConfigError


_SHOWN = "`marsbench list models` shows the kinds of tasks of each model."
_HEADS = "{} has no effect with optim.name={{config.optim.name}}, which sees all samples at once."
_CSV = "logger.{}=true has no effect: heads on cached features write their curves as CSV only."
_AT_ONCE = " has no effect on {model.name}, which is fitted in a single step."
_ONLINE = "Leave it out, or set protocol=online."

RULES = (
    # The model serves the task.
    Rule(
        lambda c: c.model.spectra_only and not c.is_spectra,
        "Model {model.name} is for spectra; the samples of {task.name} are images.",
        _SHOWN,
        NotAvailableError,
    ),
    Rule(
        lambda c: c.config.mode not in c.model.modes and not c.model.word,
        "Model {model.name} does not support mode={config.mode}.",
        "Choose {case.modes}.",
        NotAvailableError,
    ),
    Rule(
        lambda c: c.config.mode not in c.model.modes,
        "mode={config.mode} needs random weights, and the function {model.word} has no parameter "
        "'pretrained' to ask for them.",
        "Choose mode=frozen or mode=finetune, or add the parameter pretrained.",
    ),
    Rule(
        lambda c: c.task.kind not in c.model.kinds,
        "Model {model.name} does not support {task.kind} tasks such as {task.name}.",
        _SHOWN,
        NotAvailableError,
    ),
    # Bands.
    Rule(
        lambda c: c.changed_inputs and (c.is_spectra or c.is_table),
        "{case.changed_inputs} is for images and networks, not for {task.name} with {model.name}.",
        "Leave it out.",
    ),
    Rule(
        lambda c: (
            c.num_bands > c.model.in_channels
            and not is_spread(c.config, c.task, c.model)
            and c.config.channels is not Channels.LEARNED
        ),
        "Images of {task.name} have {case.num_bands} bands, and {model.name} takes "
        "{model.in_channels} channels.",
        "{case.other_bands}",
    ),
    Rule(
        lambda c: (
            c.num_bands not in (1, 3)
            and c.num_bands < c.model.in_channels
            and c.config.channels is Channels.REPLICATE
        ),
        "Images of {task.name} have {case.num_bands} bands, and {model.name} takes "
        "{model.in_channels} channels; channels=replicate is for grey or RGB.",
        "Add channels=zero or channels=learned, or name the task's bands as the model's: "
        "{case.band_names}.",
    ),
    Rule(
        lambda c: (
            c.config.channels is not Channels.REPLICATE
            and (c.num_bands == c.model.in_channels or is_spread(c.config, c.task, c.model))
        ),
        "channels={config.channels} has no effect: {model.name} takes {case.num_bands} bands of "
        "{task.name} as they are.",
        "Leave channels out.",
    ),
    Rule(
        lambda c: c.config.pooling is not Pooling.AUTO and not c.is_labels,
        "pooling={config.pooling} is for classifiers; {task.name} is {task.kind}.",
        "Leave pooling out.",
    ),
    Rule(
        lambda c: c.config.head is not HeadName.LINEAR and (not c.is_labels or c.is_table),
        "head={config.head} is for networks that classify; {model.name} on {task.name} is none.",
        "Leave head out.",
    ),
    Rule(
        lambda c: c.answers and c.changed_answers,
        "{case.changed_answers} has no effect on {model.name}, which answers in words.",
        "Leave it out.",
    ),
    Rule(
        lambda c: c.config.head is HeadName.ATTENTION and c.config.pooling is not Pooling.AUTO,
        "head=attention pools the tokens itself, so pooling={config.pooling} has no effect.",
        "Leave pooling out.",
    ),
    # Decoders.
    Rule(
        lambda c: c.config.decoder is not Decoder.AUTO and c.is_labels,
        "decoder={config.decoder} is for masks and boxes; {task.name} is {task.kind}.",
        "Leave decoder out.",
    ),
    Rule(
        lambda c: c.config.decoder is not Decoder.AUTO and c.decoder is None,
        "decoder={config.decoder} has no effect on {model.name}, which has a decoder of its own.",
        "Leave decoder out, or choose an encoder, such as model=vit.",
    ),
    Rule(
        lambda c: c.decoder is not None and c.decoder not in DECODERS[c.task.kind],
        "decoder={config.decoder} is not for {task.kind} tasks such as {task.name}.",
        "Choose one of: {case.decoders}.",
    ),
    # Training.
    Rule(
        lambda c: c.config.optim.layer_decay is not None and c.config.mode is Mode.FROZEN,
        "optim.layer_decay={config.optim.layer_decay} has no effect with mode=frozen, whose "
        "encoder does not train.",
        "Leave it out, or choose mode=finetune or mode=scratch.",
    ),
    Rule(
        lambda c: c.config.optim.layer_decay is not None and c.is_table,
        "optim.layer_decay={config.optim.layer_decay}" + _AT_ONCE,
        "Leave optim.layer_decay out.",
    ),
    Rule(
        lambda c: c.config.scheduler.warmup > 0 and (c.is_table or c.is_at_once),
        "scheduler.warmup={config.scheduler.warmup:g} is for training in epochs, which this run "
        "does not have.",
        "Leave scheduler.warmup out.",
    ),
    Rule(
        lambda c: c.config.scheduler.warmup > 1 and c.config.scheduler.warmup % 1,
        "scheduler.warmup={config.scheduler.warmup:g} is no whole number of epochs.",
        "Give whole epochs, or a share of trainer.max_epochs below 1.",
    ),
    Rule(
        lambda c: c.warmup_epochs >= c.config.trainer.max_epochs and c.warmup_epochs,
        "scheduler.warmup={config.scheduler.warmup:g} takes {case.warmup_epochs} of "
        "{config.trainer.max_epochs} epochs, and leaves none for the schedule.",
        "Give fewer epochs of warm-up, or raise trainer.max_epochs.",
    ),
    Rule(
        lambda c: (
            c.config.trainer.checkpoint is Checkpoint.LAST
            and c.config.scheduler.name is SchedulerName.PLATEAU
        ),
        "scheduler.name=plateau needs the validation loss, which trainer.checkpoint=last leaves "
        "out.",
        "Choose another schedule.",
    ),
    Rule(
        lambda c: c.is_at_once and c.config.scheduler.name is not SchedulerName.NONE,
        _HEADS.format("scheduler.name={config.scheduler.name}"),
        "Leave scheduler.name out.",
    ),
    Rule(
        lambda c: c.config.folds is not None and c.config.world_size > 1,
        "folds={config.folds} trains its models in sequence on a single device.",
        "Leave trainer.devices and trainer.num_nodes out.",
    ),
    Rule(
        lambda c: c.config.folds is not None and not c.is_labels,
        "folds={config.folds} is for tasks of labels; {task.name} is {task.kind}.",
        "Leave folds out.",
    ),
    Rule(
        lambda c: c.config.weights is not None and c.config.mode is Mode.SCRATCH,
        "mode=scratch starts from random weights, so weights={config.weights} has no effect.",
        "Leave it out, or choose mode=frozen or mode=finetune.",
    ),
    Rule(
        lambda c: (
            c.config.mode is not Mode.SCRATCH
            and not c.config.weights
            and not c.model.weights
            and not c.is_table
        ),
        "Model {model.name} has no pre-trained weights, which mode={config.mode} needs.",
        "Add mode=scratch, or weights=PATH.",
        WeightsError,
    ),
    Rule(
        lambda c: c.config.compile and c.task.kind is Kind.DETECTION,
        "compile=true has no effect on detectors such as {model.name}.",
        "Leave compile out.",
    ),
    Rule(
        lambda c: c.config.pictures and (c.is_spectra or c.config.folds is not None),
        "pictures=true is for images, in runs without folds.",
        "Leave pictures out; `marsbench data info {task.word} --samples FILE` draws samples.",
    ),
    # Models that are fitted at once.
    Rule(
        lambda c: c.is_table and c.config.mode is not Mode.SCRATCH,
        "mode={config.mode}" + _AT_ONCE,
        "Add mode=scratch.",
    ),
    Rule(
        lambda c: c.is_table and c.config.imbalance is Imbalance.LOSS_WEIGHT,
        "imbalance={config.imbalance}" + _AT_ONCE,
        "Leave imbalance out.",
    ),
    Rule(
        lambda c: c.is_table and c.config.world_size > 1,
        "trainer.devices={config.world_size}" + _AT_ONCE,
        "Leave trainer.devices out.",
    ),
    # Cached features.
    Rule(
        lambda c: c.config.protocol is Protocol.CACHED and c.needs_images,
        "protocol=cached trains the head of a frozen network on cached features, and "
        "{case.needs_images}.",
        "Leave out one of the two, or set protocol=online.",
    ),
    Rule(
        lambda c: c.config.stored is not Stored.FLOAT32 and (not c.is_cached or c.is_labels),
        "stored={config.stored} is for cached feature maps (protocol=cached on masks).",
        "Leave stored out.",
    ),
    Rule(
        lambda c: c.is_at_once and not c.fits_heads,
        "optim.name={config.optim.name} is for heads on cached features (protocol=cached).",
        "Choose another optim.name, or mode=frozen on a task of labels.",
    ),
    Rule(lambda c: c.fits_heads and c.config.logger.wandb, _CSV.format("wandb"), _ONLINE),
    Rule(
        lambda c: c.fits_heads and c.config.logger.tensorboard, _CSV.format("tensorboard"), _ONLINE
    ),
    Rule(
        lambda c: c.is_at_once and c.augment is Augment.D4,
        _HEADS.format("augment=d4"),
        "Leave augment out.",
    ),
    Rule(
        lambda c: c.is_lbfgs and c.config.optim.weight_decay == 0,
        "optim.weight_decay=0 leaves optim.name=lbfgs without an optimum: on separable samples the "
        "weights grow without limit.",
        "Give a weight decay above 0, such as optim.weight_decay=1e-5.",
    ),
    Rule(
        lambda c: c.is_at_once and c.config.optim.lr is not None,
        _HEADS.format("optim.lr"),
        "Leave optim.lr out.",
    ),
    Rule(
        lambda c: c.is_at_once and c.config.trainer.gradient_clip_val is not None,
        _HEADS.format("trainer.gradient_clip_val"),
        "Leave trainer.gradient_clip_val out.",
    ),
    Rule(
        lambda c: c.is_knn and c.config.optim.weight_decay != OptimConfig().weight_decay,
        "optim.weight_decay has no effect with optim.name=knn, which has no weights.",
        "Leave optim.weight_decay out.",
    ),
    Rule(
        lambda c: c.is_knn and c.config.imbalance is Imbalance.LOSS_WEIGHT,
        "imbalance=loss_weight has no effect with optim.name=knn, which minimises no loss.",
        "Choose another imbalance.",
    ),
    Rule(
        lambda c: c.is_knn and c.config.trainer.checkpoint is Checkpoint.LAST,
        "optim.name=knn chooses the number of neighbours on validation, which "
        "trainer.checkpoint=last leaves out.",
        "Leave trainer.checkpoint out.",
    ),
    # Samples.
    Rule(
        lambda c: c.config.negatives is Negatives.EXCLUDE and c.is_labels,
        "negatives=exclude is for masks and boxes; {task.name} is {task.kind}.",
        "Leave negatives out.",
    ),
    Rule(
        lambda c: (
            c.augment is not Augment.NONE
            and (c.is_table or c.is_spectra != (c.augment is Augment.SPECTRAL))
        ),
        "augment={config.augment} does not apply to {task.name} with {model.name}.",
        "Leave augment out, or set augment=none.",
    ),
    Rule(
        lambda c: c.config.raster is not None and not c.is_spectra,
        "raster={config.raster} is for spectra; the samples of {task.name} are images.",
        "Leave raster out.",
    ),
    Rule(
        lambda c: c.config.draws > 1 and not c.is_spectra,
        "draws={config.draws} is for spectra; the samples of {task.name} are images.",
        "Leave draws out.",
    ),
    Rule(
        lambda c: c.config.draws > 1 and c.is_table,
        "draws={config.draws} has no effect on {model.name}, which has no random drawings.",
        "Leave draws out.",
    ),
    Rule(
        lambda c: c.config.raster is not None and c.is_table and not c.model.rasters,
        "raster={config.raster} has no effect on {model.name}, which takes engineered features.",
        "Leave raster out.",
    ),
    Rule(
        lambda c: c.config.imbalance is not Imbalance.NONE and not c.is_labels,
        "imbalance={config.imbalance} is for tasks of labels; {task.name} is {task.kind}.",
        "Leave imbalance out.",
    ),
    Rule(
        lambda c: c.config.imbalance is Imbalance.OVERSAMPLE and c.augment is Augment.NONE,
        "imbalance=oversample repeats samples and needs augmentation; augment={config.augment} is "
        "none on {task.name}.",
        "{case.oversampled}",
    ),
    # Sizes.
    Rule(
        lambda c: c.config.side is not None and c.model.spectra_only,
        "side={config.side} has no effect on {model.name}: its input size is the raster's.",
        "Leave side out.",
    ),
    Rule(
        lambda c: c.raster,
        "The raster {case.raster}, and {model.name} needs at least {model.smallest}.",
        "Add side={model.input_size}, or choose another raster.",
    ),
    Rule(
        lambda c: c.config.side is not None and c.has_one_size,
        "side={config.side} cannot be chosen: {model.name} takes images of {model.input_size} x "
        "{model.input_size} pixels.",
        "Leave side out.",
    ),
    Rule(
        lambda c: c.config.side is not None and c.config.side < c.model.smallest,
        "side={config.side} is too small: {model.name} takes images of at least {model.smallest} "
        "pixels.",
        "Give a side of at least {model.smallest}, best {model.input_size}.",
    ),
    Rule(
        lambda c: (
            c.config.side is not None
            and c.decoder is None  # whose images are resized to whole patches
            and c.model.patch
            and c.config.side % c.model.patch
        ),
        "side={config.side} is not a multiple of {model.patch}, the patches of {model.name} in "
        "pixels.",
        "Give a multiple of {model.patch}, best {model.input_size}.",
    ),
    # Resizing.
    Rule(
        lambda c: c.is_cropped and c.is_labels and c.config.side not in (None, c.model.input_size),
        "resize=pretraining gives images of {model.input_size} pixels, not side={config.side}.",
        "Leave resize or side out.",
    ),
    Rule(
        lambda c: c.is_cropped and c.is_spectra,
        "resize=pretraining is for images; the samples of {task.name} are spectra, whose borders "
        "are data.",
        "Leave resize out.",
    ),
    Rule(
        lambda c: c.is_cropped and not c.is_labels,
        "resize=pretraining crops images, and the masks or boxes of {task.name} outside of the "
        "crop would stay without predictions.",
        "Leave resize out.",
    ),
    Rule(
        lambda c: c.is_cropped and c.config.mode is Mode.SCRATCH,
        "resize=pretraining has no meaning with mode=scratch, which has no pre-training.",
        "Leave resize out, or choose mode=frozen or mode=finetune.",
    ),
    Rule(
        lambda c: c.is_cropped and c.model.resizing is None,
        "The resizing in the pre-training of {model.name} is unknown.",
        "Leave resize out.",
    ),
    # Loss.
    Rule(
        lambda c: c.config.outputs is not None and c.task.kind is not Kind.BINARY,
        "outputs={config.outputs} is for binary tasks; {task.name} is {task.kind}.",
        "Leave outputs out.",
    ),
    Rule(
        lambda c: c.loss not in KINDS[c.task.kind].losses,
        "loss={config.loss} is not for {task.kind} tasks such as {task.name}.",
        "Choose one of: {case.losses}.",
    ),
    Rule(
        lambda c: c.loss is LossName.CROSS_ENTROPY and c.config.outputs == 1,
        "loss=cross_entropy needs two output nodes; outputs=1 has a single node.",
        "Set outputs=2, or loss=binary_cross_entropy.",
    ),
)
"""Invalid combinations, checked from top to bottom; later rules rely on earlier rules."""


def check(case: Case) -> None:
    """Apply the rules to a run.

    Raises:
        MarsbenchError: If a rule applies.
    """
    values = {"config": case.config, "task": case.task, "model": case.model, "case": case}
    for rule in RULES:
        if rule.when(case):
            raise rule.error(rule.problem.format(**values), rule.remedy.format(**values))


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
    """Resolve the input size in pixels, or None for spectra at the size of their raster.

    `largest` reads the larger side of the first image in pixels.
    """
    if case.config.side is not None:
        return case.config.side
    if case.is_spectra and not case.model.fixed_size:
        return None
    return image_side(case.task, case.model, largest)
