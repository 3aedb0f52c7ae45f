"""The typed configuration of a run.

`RunConfig` is the one place where defaults live: YAML files and command lines only choose and
override.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from marsbench.base.errors import ConfigError
from marsbench.base.keys import nest, unknown_key
from marsbench.base.values import Limit, NotBlank, Problem, build, keys_of, to_plain
from marsbench.config.renamed import renamed


class Mode(StrEnum):
    """Which weights a run starts from and which it trains."""

    SCRATCH = "scratch"
    FROZEN = "frozen"
    FINETUNE = "finetune"


class SourceName(StrEnum):
    """Where a task's bytes come from."""

    AUTO = "auto"
    LOCAL = "local"
    HUGGINGFACE = "huggingface"
    ZENODO = "zenodo"
    DEMO = "demo"


class Protocol(StrEnum):
    """How a run meets its data; reports never mix two protocols."""

    AUTO = "auto"
    ONLINE = "online"
    CACHED = "cached"


class Augment(StrEnum):
    """Random changes of train images that keep their label."""

    AUTO = "auto"
    NONE = "none"
    HFLIP = "hflip"
    D4 = "d4"
    SCALE_HFLIP = "scale_hflip"
    SCALE_D4 = "scale_d4"
    SPECTRAL = "spectral"


class Imbalance(StrEnum):
    """What is done about classes of unequal frequency (paper, D.1.1)."""

    NONE = "none"
    UNDERSAMPLE = "undersample"
    OVERSAMPLE = "oversample"
    LOSS_WEIGHT = "loss_weight"


class LossName(StrEnum):
    """Losses: the first three of classification, all but the third of segmentation."""

    AUTO = "auto"
    CROSS_ENTROPY = "cross_entropy"
    BINARY_CROSS_ENTROPY = "binary_cross_entropy"
    GENERALIZED_DICE = "generalized_dice"
    GENERALIZED_DICE_SIMPLE = "generalized_dice_simple"
    GENERALIZED_DICE_LINEAR = "generalized_dice_linear"
    COMBINED = "combined"
    MODEL = "model"


class Bands(StrEnum):
    """Which bands of images of more than three a model sees."""

    RGB = "rgb"
    ALL = "all"


class Checkpoint(StrEnum):
    """Which of a training's epochs is tested."""

    BEST = "best"
    LAST = "last"


class Negatives(StrEnum):
    """Whether a model is trained on images that show no object."""

    INCLUDE = "include"
    EXCLUDE = "exclude"


class OptimName(StrEnum):
    """The optimisers of the paper's grid, and one for heads on cached features."""

    ADAM = "adam"
    ADAMW = "adamw"
    SGD = "sgd"
    LBFGS = "lbfgs"


class SchedulerName(StrEnum):
    """The learning-rate schedules of the paper's grid."""

    NONE = "none"
    COSINE = "cosine"
    PLATEAU = "plateau"
    STEP = "step"


class Precision(StrEnum):
    """Arithmetic of a run, in Lightning's words."""

    FLOAT32 = "32-true"
    FLOAT64 = "64-true"
    BF16_MIXED = "bf16-mixed"
    FP16_MIXED = "16-mixed"


PUBLISHED_PARTITIONS = ("0.01", "0.02", "0.05", "0.10", "0.20", "0.25", "0.50")
PUBLISHED_SHOTS = ("1", "2", "5", "10", "15", "20")

DEFAULT_LR = {Mode.SCRATCH: 1e-3, Mode.FROZEN: 1e-3, Mode.FINETUNE: 1e-4}
"""Learning rates where none is given; all three are in the paper's grid (Table 3)."""


Positive = Annotated[float, Limit(above=0)]
NonNegative = Annotated[float, Limit(low=0)]
Count = Annotated[int, Limit(low=1)]
CountOrZero = Annotated[int, Limit(low=0)]
Text = Annotated[str, NotBlank]


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser."""

    name: OptimName = OptimName.ADAMW
    """adam, adamw, sgd (with Nesterov momentum); on cached features also lbfgs, to convergence."""
    lr: Positive | None = None
    """Learning rate; by default 1e-3, or 1e-4 when fine-tuning."""
    weight_decay: NonNegative = 0.05
    """Weight decay (paper, Table 3)."""
    momentum: NonNegative = 0.9
    """Momentum of sgd."""
    batch_size: Count = 32
    """Samples per step and device."""


@dataclass(frozen=True)
class SchedulerConfig:
    """Learning-rate schedule, stepped once per epoch."""

    name: SchedulerName = SchedulerName.NONE
    """none, cosine (to zero over max_epochs), plateau (on validation loss) or step."""
    step_size: Count = 10
    """Epochs between the drops of `step`."""
    gamma: Positive = 0.1
    """Factor of a drop of `step` and `plateau`."""
    patience: CountOrZero = 3
    """Epochs without a better validation loss before `plateau` drops."""


@dataclass(frozen=True)
class TrainerConfig:
    """Training loop; the names are Lightning's own, `patience` is its EarlyStopping's."""

    max_epochs: Count = 50
    """Most epochs to train (paper: 50, 100 or 200)."""
    patience: Count | None = 5
    """Epochs without a better validation loss before training stops; null never stops early."""
    checkpoint: Checkpoint = Checkpoint.BEST
    """best, the epoch that validation chooses, or last; in folds, last sets nothing aside."""
    precision: Precision = Precision.FLOAT32
    """32-true, bf16-mixed, 16-mixed or 64-true."""
    accumulate_grad_batches: Count = 1
    """Batches whose gradients are summed before a step."""
    gradient_clip_val: Positive | None = None
    """Largest gradient norm; null does not clip."""
    accelerator: str = "auto"
    """auto, cpu, gpu or another of Lightning's."""
    devices: Count = 1
    """Devices of each node, a number, since it is in the run's id: a step has so many batches."""
    num_nodes: Count = 1
    """Nodes; one process per device has to be started on each, as `srun` does."""
    strategy: str = "auto"
    """auto (ddp if there are several devices) or another of Lightning's."""
    deterministic: bool = True
    """Whether to use deterministic algorithms where there are any; false is faster on GPUs."""


@dataclass(frozen=True)
class LoggerConfig:
    """Where training curves go."""

    csv: bool = True
    """A CSV file in the run's folder."""
    tensorboard: bool = False
    """TensorBoard events in the run's folder (extra `tensorboard`)."""
    wandb: bool = False
    """Weights & Biases (extra `wandb`)."""
    project: str = "marsbench"
    """Project in Weights & Biases."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that says what one run is and how it is carried out."""

    task: str = ""
    """Task name, or path to a custom task's YAML or folder."""
    model: str = ""
    """Zoo entry or alias, `timm:NAME` or `torchvision:NAME`."""
    mode: Mode = Mode.FROZEN
    """scratch, frozen or finetune."""
    subset: str = "full"
    """full, partition_0.01 ... partition_0.50 or few_shot_1 ... few_shot_20: train split only."""
    seed: Annotated[int, Limit(low=0, high=2**32 - 1)] = 0
    """Seed of weights, order and augmentation."""
    source: SourceName = SourceName.AUTO
    """auto, local, huggingface, zenodo or demo; auto is never demo."""
    root: Text | None = None
    """Folder (the task's own or one that holds it), archive or fsspec URL of a local source."""
    size: Positive = 1.0
    """Amount of demo data, as a multiple of the recipe's default."""
    revision: str | None = None
    """Commit, tag or branch of hub data; by default what is downloaded, else the newest."""
    protocol: Protocol = Protocol.AUTO
    """online, or cached: heads are fitted on features encoded once; auto: cached where frozen."""
    side: Annotated[int, Limit(low=32)] | None = None
    """Side in pixels to which images with masks or boxes are resized; by default the model's."""
    bands: Bands = Bands.RGB
    """rgb, as the paper, or all, of images of more than three bands."""
    negatives: Negatives = Negatives.INCLUDE
    """include or exclude train images whose mask is all background, or without boxes."""
    raster: str | None = None
    """How spectra become images, such as ega_benchmark; by default the model's, else the task's."""
    draws: Count = 1
    """Random drawings of a spectrum whose predictions are averaged."""
    folds: Annotated[int, Limit(low=2)] | None = None
    """Parts of the train split that are predicted in turn by models of the others."""
    strict: bool = True
    """Whether spectra that are listed but absent or damaged stop a run; else they are left out."""
    hparams: Text | None = None
    """tuned, or a folder of what `marsbench tune` chose; keys that are given go before it."""
    weights: Text | None = None
    """Path of a local checkpoint to start from in place of the zoo entry's weights."""
    augment: Augment = Augment.AUTO
    """none, [scale_]hflip, [scale_]d4; auto: d4 from orbit, hflip on the ground, spectral."""
    imbalance: Imbalance = Imbalance.NONE
    """none, undersample, oversample (with augmentation) or loss_weight, for unequal classes."""
    loss: LossName = LossName.AUTO
    """cross_entropy, binary_cross_entropy; of masks generalized_dice[_simple|_linear], combined."""
    outputs: Annotated[int, Limit(low=1, high=2)] | None = None
    """Output nodes of a binary task: 2, or 1 with binary cross entropy (its default)."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    store: Text = "runs"
    """Folder that collects the records."""
    save_model: bool = True
    """Whether the tested weights are kept beside the record (of a frozen run: the head)."""
    pictures: bool = False
    """Whether a small grid of test images, truth and prediction is kept (samples.png)."""
    cache: bool = True
    """Whether decoded images are kept in a memory-mapped cache."""
    workers: CountOrZero | None = None
    """Processes that load data; by default none up to two cores, else up to eight."""
    channels_last: bool = True
    """Whether images and convolutions are laid out channels last, which is faster."""
    compile: bool = False
    """Whether torch.compile translates the model: slow to start, then faster on GPUs."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunConfig":
        """Build a config from plain values, nested or with dotted keys.

        Args:
            values: For example ``{"task": "frost_cls", "optim.lr": 1e-3}``, or groups nested.

        Raises:
            ConfigError: If a key is unknown or a value cannot be used; names all of them.
        """
        problems: list[Problem] = []
        config = build(cls, renamed(nest(values)), problems)
        messages = (
            [problem.message for problem in problems] if config is None else _problems(config)
        )
        if config is None or messages:
            raise ConfigError("\n".join(messages), "`marsbench list keys` shows the keys.")
        return dataclasses.replace(config, subset=canonical_subset(config.subset))

    def to_dict(self) -> dict[str, Any]:
        """Give the config as plain nested values, as `from_dict` takes them."""
        return to_plain(self)

    @property
    def effective_batch_size(self) -> int:
        """Samples behind one optimiser step."""
        return self.optim.batch_size * self.trainer.accumulate_grad_batches * self.world_size

    @property
    def views(self) -> str | int | None:
        """Views of a sample that are cached or averaged, as in a run's id: d4, a number or None."""
        if self.protocol is Protocol.CACHED and self.augment is Augment.D4:
            return "d4"
        return None if self.draws == 1 else self.draws

    @property
    def world_size(self) -> int:
        """Processes that train together, one per device."""
        return self.trainer.devices * self.trainer.num_nodes

    @property
    def learning_rate(self) -> float:
        """The learning rate given, else the mode's default."""
        return DEFAULT_LR[self.mode] if self.optim.lr is None else self.optim.lr


def config_keys() -> dict[str, type]:
    """Every key of a run, groups dotted (``optim.lr``), with the type of its value."""
    return keys_of(RunConfig)


def check_key(key: str, extra: tuple[str, ...] = ()) -> None:
    """Raise with close matches if no key of a run is called so.

    Args:
        key: For example ``"optim.lr"``.
        extra: Further names that are allowed, such as the groups a YAML is chosen for.
    """
    known = (*config_keys(), *extra)
    if key not in known:
        raise unknown_key(key, known, "`marsbench list keys` shows the keys.")


def _problems(config: RunConfig) -> list[str]:
    """Find values of the right type that still make no sense."""
    problems = []
    if not config.task:
        problems.append("No task is given: add task=NAME (`marsbench list tasks` shows them).")
    if not config.model:
        problems.append("No model is given: add model=NAME (`marsbench list models` shows them).")
    try:
        parse_subset(config.subset)
    except ConfigError as error:
        problems.append(str(error).replace("\n", " "))
    return problems


@dataclass(frozen=True)
class Subset:
    """Part of a train split; all of it if neither field is set.

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
        ConfigError: If it is none of full, partition_P with 0 < P < 1 in whole hundredths, or
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
    """Spell a subset the one way it has in files: ``partition_0.1`` is ``partition_0.10``."""
    return str(parse_subset(name))
