"""Rules against invalid combinations of a run's keys."""

from collections.abc import Callable
from dataclasses import dataclass

from marsbench.base.errors import (
    ConfigError,
    MarsbenchError,
    NotAvailableError,
    WeightsError,
)
from marsbench.config.schema import (
    ApiConfig,
    Augment,
    Bands,
    Channels,
    Checkpoint,
    Decoder,
    HeadName,
    Imbalance,
    LossName,
    Mode,
    Negatives,
    Normalisation,
    OptimConfig,
    Pooling,
    Protocol,
    SchedulerName,
    Stored,
)
from marsbench.plan.case import Case
from marsbench.plan.derived import (
    DECODERS,
    is_spread,
)
from marsbench.tasks.kinds import KINDS, Kind


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
    # Models that are not trained.
    Rule(
        lambda c: c.is_zero_shot and not c.serves_zero_shot,
        "Model {model.name} has no words to name a class by, which mode=zero_shot needs.",
        "Choose {case.modes}, or a model of images and words: {case.zero_shot_models}.",
        NotAvailableError,
    ),
    Rule(
        lambda c: c.is_zero_shot and c.is_spectra,
        "mode=zero_shot is for images; the samples of {task.name} are spectra.",
        "Choose another task.",
        NotAvailableError,
    ),
    Rule(
        lambda c: c.is_zero_shot and c.changed_training,
        "{case.changed_training} has no effect with mode=zero_shot, which trains nothing.",
        "Leave it out.",
    ),
    Rule(
        lambda c: c.is_zero_shot and c.config.world_size > 1,
        "mode=zero_shot runs on a single device.",
        "Leave trainer.devices and trainer.num_nodes out.",
    ),
    Rule(
        lambda c: c.config.test_samples is not None and not c.is_zero_shot,
        "test_samples={config.test_samples} is for mode=zero_shot; the test split of models that "
        "are trained never changes.",
        "Leave test_samples out.",
    ),
    Rule(
        lambda c: c.config.prompts is not None and not c.is_zero_shot,
        "prompts={config.prompts} is for mode=zero_shot.",
        "Leave prompts out.",
    ),
    Rule(
        lambda c: c.is_zero_shot and c.config.normalisation is Normalisation.DATA,
        "normalisation=data takes statistics of train samples, which mode=zero_shot does not read.",
        "Leave normalisation out.",
    ),
    Rule(
        lambda c: c.is_zero_shot and c.config.channels is Channels.LEARNED,
        "channels=learned is a trained layer, and mode=zero_shot trains nothing.",
        "Leave channels out.",
    ),
    Rule(
        lambda c: c.is_zero_shot and c.config.pooling is not Pooling.AUTO,
        "pooling={config.pooling} has no effect with mode=zero_shot, where an image's vector is "
        "the model's own.",
        "Leave pooling out.",
    ),
    Rule(
        lambda c: c.is_remote and c.is_zero_shot and c.changed_pixels,
        "{case.changed_pixels} has no effect on {model.name}, whose endpoint takes images as they "
        "are.",
        "Leave it out.",
    ),
    Rule(
        lambda c: c.config.api != ApiConfig() and not c.is_remote,
        "The keys api.* have no effect on {model.name}, which is not behind an endpoint.",
        "Leave them out, or choose model=api:NAME.",
    ),
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
            c.config.bands is Bands.RGB
            and c.task.rgb_bands is None
            and is_spread(c.config, c.task, c.model)
        ),
        "bands=rgb needs red, green and blue, which {task.name} does not name among its "
        "{case.num_bands} bands.",
        "Add bands=all, or name them in the task's YAML: bands, or rgb_bands: [0, 1, 2].",
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
            and not c.is_remote
        ),
        "Model {model.name} has no pre-trained weights, which mode={config.mode} needs.",
        "Add mode=scratch, or weights=PATH.",
        WeightsError,
    ),
    Rule(
        lambda c: c.config.compile and c.task.kind is Kind.DETECTION,
        "compile=true has no effect on detectors such as {model.name}.",
        "Set compile=false.",
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
