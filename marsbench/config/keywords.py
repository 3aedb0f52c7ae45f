"""Keys of a run as typed keyword arguments, for type checkers and editors.

Type checkers read these types from the text alone, so they restate the keys of
`marsbench.config.schema`; a test compares the two. Defaults stand in the schema only.
"""

from pathlib import Path
from typing import Literal, TypedDict

from marsbench.config.schema import (
    Augment,
    Bands,
    Channels,
    Checkpoint,
    Decoder,
    HeadName,
    Imbalance,
    LossName,
    Matmul,
    Mode,
    Negatives,
    Normalisation,
    OptimName,
    Pooling,
    Precision,
    Protocol,
    Resize,
    SchedulerName,
    SourceName,
    Stored,
    Structured,
)

ModeWord = Mode | Literal["scratch", "frozen", "finetune", "zero_shot"]
SourceWord = SourceName | Literal["auto", "local", "huggingface", "zenodo", "demo"]


class OptimKeys(TypedDict, total=False):
    """Keys of `OptimConfig`."""

    name: OptimName | Literal["adam", "adamw", "sgd", "lbfgs", "knn"]
    lr: float | None
    weight_decay: float
    momentum: float
    batch_size: int
    layer_decay: float | None


class SchedulerKeys(TypedDict, total=False):
    """Keys of `SchedulerConfig`."""

    name: SchedulerName | Literal["none", "cosine", "plateau", "step"]
    step_size: int
    gamma: float
    patience: int
    warmup: float


class TrainerKeys(TypedDict, total=False):
    """Keys of `TrainerConfig`."""

    max_epochs: int
    patience: int | None
    checkpoint: Checkpoint | Literal["best", "last"]
    precision: Precision | Literal["32-true", "64-true", "bf16-mixed", "16-mixed"]
    matmul: Matmul | Literal["highest", "high"]
    accumulate_grad_batches: int
    gradient_clip_val: float | None
    accelerator: str
    devices: int
    num_nodes: int
    strategy: str
    deterministic: bool


class LoggerKeys(TypedDict, total=False):
    """Keys of `LoggerConfig`."""

    csv: bool
    tensorboard: bool
    wandb: bool
    project: str


class ApiKeys(TypedDict, total=False):
    """Keys of `ApiConfig`."""

    base_url: str
    structured: Structured | Literal["auto", "schema", "text"]
    temperature: float | None
    max_tokens: int | None
    concurrency: int
    requests_per_minute: float | None
    timeout: float
    max_retries: int
    input_price: float | None
    output_price: float | None


class SharedKeys(TypedDict, total=False):
    """Keys of `RunConfig` that the runs of a sweep share."""

    test_samples: int | None
    train_on: str | None
    prompts: str | Path | None
    source: SourceWord
    root: str | Path | None
    size: float
    revision: str | None
    protocol: Protocol | Literal["auto", "online", "cached"]
    stored: Stored | Literal["float32", "float16"]
    side: int | None
    resize: Resize | Literal["square", "pretraining"]
    bands: Bands | Literal["rgb", "all"]
    channels: Channels | Literal["replicate", "zero", "learned"]
    normalisation: Normalisation | Literal["pretraining", "data", "minmax", "sigma2"]
    pooling: Pooling | Literal["auto", "cls", "mean", "both"]
    head: HeadName | Literal["linear", "mlp", "attention"]
    decoder: Decoder | Literal["auto", "upernet", "linear", "faster_rcnn"]
    negatives: Negatives | Literal["include", "exclude"]
    raster: str | None
    draws: int
    folds: int | None
    strict: bool
    hparams: str | Path | None
    weights: str | Path | None
    augment: Augment | Literal["auto", "none", "hflip", "d4", "scale_hflip", "scale_d4", "spectral"]
    imbalance: Imbalance | Literal["none", "undersample", "oversample", "loss_weight"]
    loss: (
        LossName
        | Literal[
            "auto",
            "cross_entropy",
            "binary_cross_entropy",
            "generalized_dice",
            "generalized_dice_simple",
            "generalized_dice_linear",
            "combined",
            "model",
        ]
    )
    outputs: int | None
    optim: OptimKeys
    scheduler: SchedulerKeys
    trainer: TrainerKeys
    logger: LoggerKeys
    api: ApiKeys
    store: str | Path
    save_model: bool
    pictures: bool
    cache: bool
    workers: int | None
    channels_last: bool
    compile: bool


class TuneKeys(SharedKeys, total=False):
    """Keys of `RunConfig` that the runs of a search share."""

    subset: str
    seed: int


class RunKeys(SharedKeys, total=False):
    """Keys of `RunConfig` beside task and model."""

    mode: ModeWord
    subset: str
    seed: int
