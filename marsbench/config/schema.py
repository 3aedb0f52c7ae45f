"""The typed configuration of a run.

Only `RunConfig` holds defaults: YAML files and command lines only choose and
override.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from marsbench.base.errors import ConfigError
from marsbench.base.keys import flatten, nest, unknown_key
from marsbench.base.names import display_name
from marsbench.base.values import Limit, NotBlank, Problem, build, keys_of, to_plain
from marsbench.config.renamed import VIEWS, renamed


class Mode(StrEnum):
    """Initial weights of a run and the part of them to train."""

    SCRATCH = "scratch"
    FROZEN = "frozen"
    FINETUNE = "finetune"
    ZERO_SHOT = "zero_shot"


class SourceName(StrEnum):
    """Source of a task's data."""

    AUTO = "auto"
    LOCAL = "local"
    HUGGINGFACE = "huggingface"
    ZENODO = "zenodo"
    DEMO = "demo"


class Protocol(StrEnum):
    """Training protocol; reports never mix two protocols."""

    AUTO = "auto"
    ONLINE = "online"
    CACHED = "cached"


class Augment(StrEnum):
    """Label-preserving augmentation of train images."""

    AUTO = "auto"
    NONE = "none"
    HFLIP = "hflip"
    D4 = "d4"
    SCALE_HFLIP = "scale_hflip"
    SCALE_D4 = "scale_d4"
    SPECTRAL = "spectral"


class Imbalance(StrEnum):
    """Methods against class imbalance (paper, D.1.1)."""

    NONE = "none"
    UNDERSAMPLE = "undersample"
    OVERSAMPLE = "oversample"
    LOSS_WEIGHT = "loss_weight"


class LossName(StrEnum):
    """Losses; `KINDS` lists the losses of each kind of task."""

    AUTO = "auto"
    CROSS_ENTROPY = "cross_entropy"
    BINARY_CROSS_ENTROPY = "binary_cross_entropy"
    GENERALIZED_DICE = "generalized_dice"
    GENERALIZED_DICE_SIMPLE = "generalized_dice_simple"
    GENERALIZED_DICE_LINEAR = "generalized_dice_linear"
    COMBINED = "combined"
    MODEL = "model"


class Bands(StrEnum):
    """Bands passed to the model, of images with more than three."""

    RGB = "rgb"
    ALL = "all"


class Channels(StrEnum):
    """Adaptation of an image's bands to the channels of a model."""

    REPLICATE = "replicate"
    ZERO = "zero"
    LEARNED = "learned"


class Normalisation(StrEnum):
    """Normalisation of images for a model."""

    PRETRAINING = "pretraining"
    DATA = "data"
    MINMAX = "minmax"
    SIGMA2 = "sigma2"


class Pooling(StrEnum):
    """Pooling of a transformer's tokens to a feature vector."""

    AUTO = "auto"
    CLS = "cls"
    MEAN = "mean"
    BOTH = "both"


class HeadName(StrEnum):
    """Heads of classifiers."""

    LINEAR = "linear"
    MLP = "mlp"
    ATTENTION = "attention"


class Decoder(StrEnum):
    """Networks over an encoder's feature maps, for masks and boxes."""

    AUTO = "auto"
    UPERNET = "upernet"
    LINEAR = "linear"
    FASTER_RCNN = "faster_rcnn"


class Stored(StrEnum):
    """Number formats of cached feature maps."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"


class Resize(StrEnum):
    """Resizing of images to the input of a model."""

    SQUARE = "square"
    PRETRAINING = "pretraining"


class Checkpoint(StrEnum):
    """Epoch of the tested weights."""

    BEST = "best"
    LAST = "last"


class Negatives(StrEnum):
    """Use of train images without objects."""

    INCLUDE = "include"
    EXCLUDE = "exclude"


class OptimName(StrEnum):
    """Optimisers of the paper's grid; for cached features lbfgs (the optimum) and knn."""

    ADAM = "adam"
    ADAMW = "adamw"
    SGD = "sgd"
    LBFGS = "lbfgs"
    KNN = "knn"

    @property
    def has_epochs(self) -> bool:
        """Whether it steps over batches, epoch by epoch, rather than over all samples at once."""
        return self not in (OptimName.LBFGS, OptimName.KNN)


class SchedulerName(StrEnum):
    """Learning-rate schedules of the paper's grid."""

    NONE = "none"
    COSINE = "cosine"
    PLATEAU = "plateau"
    STEP = "step"


class Structured(StrEnum):
    """Form in which an endpoint is asked to answer."""

    AUTO = "auto"
    SCHEMA = "schema"
    TEXT = "text"


class Precision(StrEnum):
    """Floating-point precision, named as in Lightning."""

    FLOAT32 = "32-true"
    FLOAT64 = "64-true"
    BF16_MIXED = "bf16-mixed"
    FP16_MIXED = "16-mixed"


class Matmul(StrEnum):
    """Precision of float32 products, of matrices and convolutions alike."""

    HIGHEST = "highest"
    HIGH = "high"


PUBLISHED_PARTITIONS = ("0.01", "0.02", "0.05", "0.10", "0.20", "0.25", "0.50")
PUBLISHED_SHOTS = ("1", "2", "5", "10", "15", "20")

DEFAULT_LR = {Mode.SCRATCH: 1e-3, Mode.FROZEN: 1e-3, Mode.FINETUNE: 1e-4, Mode.ZERO_SHOT: 0.0}
"""Default learning rates, in the paper's grid (Table 3); zero_shot trains nothing."""


Positive = Annotated[float, Limit(above=0)]
NonNegative = Annotated[float, Limit(low=0)]
Count = Annotated[int, Limit(low=1)]
CountOrZero = Annotated[int, Limit(low=0)]

MOST_SIDE = 8192
"""Largest side of a model's input in pixels; vision transformers keep a vector for each patch."""

MOST_FOLDS = 1000
"""Largest number of cross-validation folds."""
Text = Annotated[str, NotBlank]


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser."""

    name: OptimName = OptimName.ADAMW
    """adam, adamw or sgd (Nesterov momentum); with cached features also lbfgs or knn."""
    lr: Positive | None = None
    """Learning rate; by default 1e-3, or 1e-4 with mode=finetune."""
    weight_decay: NonNegative = 0.05
    """Weight decay (paper, Table 3)."""
    momentum: NonNegative = 0.9
    """Momentum of sgd."""
    batch_size: Count = 32
    """Batch size per device."""
    layer_decay: Annotated[float, Limit(above=0, high=1)] | None = None
    """Factor of the learning rate from each layer of the encoder to the one before."""


@dataclass(frozen=True)
class SchedulerConfig:
    """Learning-rate schedule, stepped once per epoch."""

    name: SchedulerName = SchedulerName.NONE
    """none, cosine (to zero over max_epochs), plateau (on validation loss) or step."""
    step_size: Count = 10
    """Epochs between the drops of step."""
    gamma: Positive = 0.1
    """Factor of each drop of step and plateau."""
    patience: CountOrZero = 3
    """Epochs without a lower validation loss before plateau drops."""
    warmup: NonNegative = 0.0
    """Epochs of linear warm-up before the schedule; below 1 a share of max_epochs."""

    def warmup_epochs(self, max_epochs: int) -> int:
        """Epochs of warm-up, W: in epoch e < W the rate is (e + 1) / (W + 1) of the first one."""
        return math.ceil(self.warmup * max_epochs if self.warmup < 1 else self.warmup)


@dataclass(frozen=True)
class TrainerConfig:
    """Training loop, named as in Lightning's Trainer and EarlyStopping."""

    max_epochs: Count = 50
    """Maximum number of epochs (paper: 50, 100 or 200)."""
    patience: Count | None = 5
    """Epochs without a lower validation loss before early stopping; null disables it."""
    checkpoint: Checkpoint = Checkpoint.BEST
    """Tested epoch: best on validation, or last. With folds, last needs no validation samples."""
    precision: Precision = Precision.FLOAT32
    """32-true, bf16-mixed, 16-mixed or 64-true."""
    matmul: Matmul = Matmul.HIGHEST
    """Float32 products of matrices and convolutions: highest (IEEE), or high (TF32 on GPUs)."""
    accumulate_grad_batches: Count = 1
    """Batches per optimiser step."""
    gradient_clip_val: Positive | None = None
    """Maximum gradient norm; null disables clipping."""
    accelerator: str = "auto"
    """auto, cpu, gpu or another of Lightning's."""
    devices: Count = 1
    """Devices per node; part of the run id, since it multiplies the batch size."""
    num_nodes: Count = 1
    """Number of nodes; start one process per device on each, as `srun` does."""
    strategy: str = "auto"
    """auto (ddp on several devices) or another of Lightning's."""
    deterministic: bool = True
    """Use deterministic algorithms if available; false is faster on GPUs."""


@dataclass(frozen=True)
class LoggerConfig:
    """Loggers of training curves."""

    csv: bool = True
    """Write a CSV file to the run's folder."""
    tensorboard: bool = False
    """Write TensorBoard events to the run's folder (extra `tensorboard`)."""
    wandb: bool = False
    """Log to Weights & Biases (extra `wandb`)."""
    project: str = "marsbench"
    """Weights & Biases project."""


@dataclass(frozen=True)
class ApiConfig:
    """Endpoint of a model ``api:NAME``; keys come from the environment alone."""

    base_url: Text = "https://api.openai.com/v1"
    """Address of the OpenAI-compatible endpoint, usually ending in /v1."""
    structured: Structured = Structured.AUTO
    """schema (the endpoint enforces the form of answers), text, or auto: schema if it can."""
    temperature: NonNegative | None = 0.0
    """Sampling temperature; null leaves it to the endpoint, for models that refuse it."""
    max_tokens: Count | None = None
    """Most tokens of an answer; null leaves it to the endpoint."""
    concurrency: Count = 4
    """Requests in flight at once."""
    requests_per_minute: Positive | None = None
    """Most requests per minute; null waits only when the endpoint asks for it."""
    timeout: Positive = 120.0
    """Seconds to wait for an answer."""
    max_retries: CountOrZero = 8
    """Retries of a request that is limited (429), fails (5xx), is cut or times out."""
    input_price: NonNegative | None = None
    """Price of a million input tokens in US dollars, for the estimate and the bill."""
    output_price: NonNegative | None = None
    """Price of a million output tokens in US dollars."""


@dataclass(frozen=True)
class RunConfig:
    """Complete configuration of a run."""

    task: str = ""
    """Task name, or path of a custom task's YAML or folder."""
    model: str = ""
    """Zoo entry or alias, `timm:NAME`, `torchvision:NAME`, `smp:ARCH/ENCODER`, ./my_encoder.py."""
    mode: Mode = Mode.FROZEN
    """scratch, frozen, finetune or zero_shot (nothing is trained)."""
    subset: str = "full"
    """Train samples: full, partition_0.01 ... partition_0.50 or few_shot_1 ... few_shot_20."""
    test_samples: Count | None = None
    """Test samples of mode=zero_shot, stratified by label; null tests the whole split."""
    train_on: Text | None = None
    """Group of samples for train, val and folds: VALUE or FIELD:VALUE, such as commercial."""
    prompts: Text | None = None
    """YAML of templates, phrases and descriptions of classes, instead of the shipped one."""
    seed: Annotated[int, Limit(low=0, high=2**32 - 1)] = 0
    """Seed of initial weights, sample order and augmentation."""
    source: SourceName = SourceName.AUTO
    """auto, local, huggingface, zenodo or demo; auto never chooses demo."""
    root: Text | None = None
    """Folder, parent folder, archive or fsspec URL of local data."""
    size: Positive = 1.0
    """Amount of demo data relative to the recipe."""
    revision: str | None = None
    """Commit, tag or branch of hub data; by default the downloaded one, else the newest."""
    protocol: Protocol = Protocol.AUTO
    """online, or cached (encode once, train the head); auto is cached for frozen classification."""
    stored: Stored = Stored.FLOAT32
    """Number format of cached feature maps: float32, or float16 for half the disk."""
    side: Annotated[int, Limit(low=32, high=MOST_SIDE)] | None = None
    """Input size in pixels, of images with masks or boxes; by default the model's."""
    resize: Resize = Resize.SQUARE
    """square: the whole image; pretraining: interpolation and central crop of the weights' own."""
    bands: Bands = Bands.RGB
    """rgb (as in the paper) or all bands of images with more than three."""
    channels: Channels = Channels.REPLICATE
    """Grey or RGB for a model of more channels: replicate in turn, zero the rest, or learned."""
    normalisation: Normalisation = Normalisation.PRETRAINING
    """pretraining (the model's own), data (statistics of the train samples), minmax or sigma2."""
    pooling: Pooling = Pooling.AUTO
    """Features of a transformer: auto (the model's own), cls, mean of the tokens, or both."""
    head: HeadName = HeadName.LINEAR
    """Head of a classifier: linear, mlp (two layers), or attention over a transformer's tokens."""
    decoder: Decoder = Decoder.AUTO
    """Of an encoder on masks: upernet (default) or linear; on boxes: faster_rcnn."""
    negatives: Negatives = Negatives.INCLUDE
    """include or exclude train images without objects (empty mask or no boxes)."""
    raster: str | None = None
    """Raster preset of spectra, such as ega_benchmark; by default the model's, else the task's."""
    draws: Count = 1
    """Random drawings per spectrum to average at test time."""
    folds: Annotated[int, Limit(low=2, high=MOST_FOLDS)] | None = None
    """Number of cross-validation folds of the train split; null trains once."""
    strict: bool = True
    """Fail on missing or damaged spectra; false skips them."""
    hparams: Text | None = None
    """tuned, or a folder written by `marsbench tune`; explicit keys take precedence."""
    weights: Text | None = None
    """Checkpoint instead of the entry's: path, hf://ORG/NAME/FILE, https://HOST/FILE#sha256=HEX."""
    augment: Augment = Augment.AUTO
    """none, [scale_]hflip, [scale_]d4 or spectral; auto: d4 from orbit, hflip on the ground."""
    imbalance: Imbalance = Imbalance.NONE
    """Against class imbalance: none, undersample, oversample (with augmentation) or loss_weight."""
    loss: LossName = LossName.AUTO
    """[binary_]cross_entropy; for masks also generalized_dice[_simple|_linear] or combined."""
    outputs: Annotated[int, Limit(low=1, high=2)] | None = None
    """Output nodes of a binary task: 2, or 1 with binary_cross_entropy (its default)."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    api: ApiConfig = field(default_factory=ApiConfig)
    store: Text = "runs"
    """Folder of the records."""
    save_model: bool = True
    """Save the tested weights beside the record (only the head of frozen classifiers)."""
    pictures: bool = False
    """Save a small grid of test images, ground truth and predictions (samples.png)."""
    cache: bool = True
    """Keep decoded images in a memory-mapped cache."""
    workers: CountOrZero | None = None
    """Data loading processes; by default 0 on one or two cores, else up to 8."""
    channels_last: bool = True
    """Use the faster channels-last memory layout."""
    compile: bool = False
    """Compile the network with torch.compile: a slow start, then faster, other rounding."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunConfig":
        """Build a config from plain values, nested or with dotted keys.

        Args:
            values: For example ``{"task": "frost_cls", "optim.lr": 1e-3}``, or groups nested.

        Raises:
            ConfigError: If keys or values are invalid; the message lists all problems.
        """
        problems: list[Problem] = []
        config = build(cls, renamed(nest(values)), problems)
        messages = (
            [problem.message for problem in problems] if config is None else _problems(config)
        )
        if config is None or messages:
            raise ConfigError("\n".join(messages), "`marsbench list keys` shows the keys.")
        for key, value in flatten(nest(values)).items():
            # A record is text, so it cannot hold such a path.
            if isinstance(value, str) and (shown := display_name(value)) != value:
                raise ConfigError(
                    f"{key} is {shown}, which is not UTF-8.", "Rename the file or folder."
                )
        return dataclasses.replace(config, subset=canonical_subset(config.subset))

    def to_dict(self) -> dict[str, Any]:
        """Convert the config to nested plain values, as `from_dict` takes them."""
        return to_plain(self)

    @property
    def effective_batch_size(self) -> int:
        """Samples per optimiser step."""
        return self.optim.batch_size * self.trainer.accumulate_grad_batches * self.world_size

    @property
    def views(self) -> str | int | None:
        """Cached or averaged views of a sample, part of the run id: d4, a number or None."""
        if self.protocol is Protocol.CACHED and self.augment is Augment.D4:
            return "d4"
        return None if self.draws == 1 else self.draws

    @property
    def world_size(self) -> int:
        """Number of training processes, one per device."""
        return self.trainer.devices * self.trainer.num_nodes

    @property
    def learning_rate(self) -> float:
        """Configured learning rate, else the mode's default."""
        return DEFAULT_LR[self.mode] if self.optim.lr is None else self.optim.lr


def config_keys() -> dict[str, type]:
    """All keys of a run, dotted (``optim.lr``), with the types of their values."""
    return keys_of(RunConfig)


def check_key(key: str, extra: tuple[str, ...] = ()) -> None:
    """Raise an error with close matches for an unknown key.

    Args:
        key: For example ``"optim.lr"``.
        extra: Further valid names, such as groups with named choices.
    """
    known = (*config_keys(), *extra)
    if key not in known and key != VIEWS:
        raise unknown_key(key, known, "`marsbench list keys` shows the keys.")


def _problems(config: RunConfig) -> list[str]:
    """Check the rules of a run beyond types and limits."""
    problems = []
    if not config.task:
        problems.append("No task is given: add task=NAME (`marsbench list tasks` shows them).")
    if not config.model:
        problems.append("No model is given: add model=NAME (`marsbench list models` shows them).")
    if re.fullmatch(r"https?://[^\s@?#/]+(/[^\s@?#]*)?", config.api.base_url) is None:
        # The value may hold a password, so it is not shown.
        problems.append(
            "api.base_url is not an address such as https://HOST/v1, without user, password, query "
            "and fragment; keys come from the environment (MARSBENCH_API_KEY)."
        )
    try:
        parse_subset(config.subset)
    except ConfigError as error:
        problems.append(str(error).replace("\n", " "))
    return problems


@dataclass(frozen=True)
class Subset:
    """Subset of a train split; the full split if both fields are None.

    Attributes:
        fraction: Share of the train split kept, for a partition.
        shots: Train samples per class, for a few-shot subset.
    """

    fraction: Decimal | None = None
    shots: int | None = None

    def __str__(self) -> str:
        if self.fraction is not None:
            return f"partition_{self.fraction:.2f}"
        return "full" if self.shots is None else f"few_shot_{self.shots}"


def parse_subset(name: str) -> Subset:
    """Read a subset's name.

    Raises:
        ConfigError: If it is not full, partition_P with 0 < P < 1 in whole hundredths, or
            few_shot_K with K >= 1.
    """
    if name == "full":
        return Subset()
    if match := re.fullmatch(r"partition_(0?\.\d+)", name):
        fraction = Decimal(match[1])
        if fraction > 0 and fraction == round(fraction, 2):
            return Subset(fraction=round(fraction, 2))
    if match := re.fullmatch(r"few_shot_([1-9]\d*)", name):
        return Subset(shots=int(match[1]))
    raise ConfigError(
        f"Unknown subset '{name}'.",
        "Choose full, partition_P with P from 0.01 to 0.99 (published: "
        f"{', '.join(PUBLISHED_PARTITIONS)}) or few_shot_K (published: "
        f"{', '.join(PUBLISHED_SHOTS)}).",
    )


def canonical_subset(name: str) -> str:
    """Canonical name of a subset: ``partition_0.1`` is ``partition_0.10``."""
    return str(parse_subset(name))
