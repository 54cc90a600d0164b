"""Every option of a run: what it is called, what it accepts, what it is where nobody says, and what it means.

This file is the datasheet; a new option is a line here. It knows nothing of how options are given (`request.py`), how
they are put together (`config.py`) or what is done with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, WithJsonSchema, field_validator

from convlens.errors import ConfigError

Auto = Literal["auto"]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]
Level = Annotated[int, Field(ge=0, le=255), WithJsonSchema({"type": "integer"})]  # its range is said in words
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of red, green and blue, levels 0..1
TaskName = Literal["classify", "regress", "segment", "reconstruct", "denoise", "anomaly", "detect"]
Kind = Literal["class", "number", "mask", "picture", "pair", "boxes"]
KINDS: dict[str, Kind] = {  # what every task learns from
    "classify": "class",
    "regress": "number",
    "segment": "mask",
    "reconstruct": "picture",
    "denoise": "picture",
    "anomaly": "picture",
    "detect": "boxes",
}


def _kinds(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)


def _folder_name(name: str) -> str:
    if name in (".", "..") or any(sign in name for sign in "/\\\0"):
        raise ConfigError("It takes the name of one folder in run.directory: no / or \\ in it, and not . or .. alone")
    return name


class Section(BaseModel):
    """A frozen group of options; an option it does not know is an error.

    A string among the metadata of an option says in words what it takes, where the words of pydantic would not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth(cls, value: Any, info: ValidationInfo) -> Any:
        """To Python True is the number 1; to somebody who writes `epochs=true` it is not."""
        kinds = list(_kinds(cls.model_fields[str(info.field_name)].annotation))
        found = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(one, bool) for one in found) and bool not in kinds and (int in kinds or float in kinds):
            raise ConfigError("Input should be a number, not true or false")
        return value


class DataConfig(Section):
    """Which images, how they are labelled, how they are split, and to what size they are brought."""

    source: str = Field(default="digits", description="folder, table (.csv, .parquet), idx file, or a built-in set")
    valid: str | None = Field(default=None, description="a separate source for validation")
    test: str | None = Field(default=None, description="a separate source for the test")
    image_column: str | None = Field(default=None, description="table column with the path of the image")
    label_column: str | None = Field(
        default=None, description="table column with the class; regress: with the number, or several as a,b"
    )
    group_column: str | None = Field(
        default=None, description="table column whose equal values stay on one side of the split"
    )
    split_column: str | None = Field(default=None, description="table column with train, valid or test")
    valid_fraction: Fraction | Auto = Field(default="auto", description="share held out for validation")
    test_fraction: Fraction | Auto = Field(default="auto", description="share held out for the test")
    folds: Annotated[int, Field(ge=2)] | None = Field(
        default=None, description="cross-validation: parts of the images, each the test of one run"
    )
    fold: Count | None = Field(default=None, description="cross-validation: which of the parts is the test, from 1")
    size_px: Annotated[int, Field(ge=4, le=4096)] | Auto = Field(
        default="auto", description="side of the network's input"
    )
    store_px: Annotated[int, Field(ge=4, le=8192)] | Auto = Field(
        default="auto", description="side at which images are kept; where larger, training sees windows of size_px"
    )
    channels: Annotated[int, Field(ge=1, le=64)] | Auto = Field(
        default="auto", description="1 grey, 3 RGB, n for arrays"
    )
    fit: Literal["auto", "crop", "pad", "squash"] = Field(default="auto", description="how an image becomes a square")
    normalise: Literal["auto", "data", "imagenet", "half"] = Field(
        default="auto",
        description="mean and deviation: of the training images, of ImageNet, or 0.5; auto: what the weights expect",
    )
    background: Annotated[tuple[Level, Level, Level], "three whole numbers from 0 to 255, such as [255, 255, 255]"] = (
        Field(default=(255, 255, 255), description="colour under transparent pixels: red, green and blue, 0 to 255")
    )
    bounds: Annotated[tuple[float, float] | None, "two numbers, such as [0, 100]"] = Field(
        default=None, description="regress: every number lies between these"
    )
    masks: str | None = Field(default=None, description="segment: folder with a mask for each image, of the same name")
    mask_values: dict[str, str] | list[str] | None = Field(
        default=None, description="segment: the class that each value of the masks means, or their names from 0 up"
    )
    corruption: str = Field(
        default="gaussian:0.1", description="denoise: gaussian:SIGMA, poisson:PHOTONS or salt-and-pepper:SHARE"
    )
    clean: str | None = Field(
        default=None, description="denoise: folder with the clean picture of each noisy image, of the same name"
    )
    normal: str | None = Field(default=None, description="anomaly: the class that is normal, where there are several")
    format: Literal["auto", "voc", "coco", "yolo", "csv"] = Field(
        default="auto", description="detect: how the boxes are written"
    )
    white_level: Annotated[int, Field(ge=2)] | Auto = Field(
        default="auto", description="16-bit value shown as white; auto: 65535"
    )
    max_pixels: Count = Field(default=50_000_000, description="larger images are refused from their header")
    max_bad_fraction: Fraction = Field(default=0.01, description="more unreadable files than this stop the run")
    near_duplicates: bool = Field(default=True, description="keep near-identical photographs on one side of the split")
    memory_mb: Count = Field(default=2048, description="a larger decoded set is memory-mapped from disk")


class AugmentConfig(Section):
    """Random changes to training images; each draw is a function of (seed, epoch, sample)."""

    preset: Literal["auto", "none", "digits", "objects", "photos", "scans", "boxes"] = Field(
        default="auto", description="a starting point for the options below"
    )
    flip: Literal["none", "horizontal", "vertical", "both"] | Auto = Field(default="auto", description="mirror images")
    turn: bool | Auto = Field(
        default="auto", description="turn by a quarter; with flip=both all eight ways a square can lie"
    )
    crop: Annotated[float, Field(ge=0.0, le=8.0)] | Auto = Field(
        default="auto", description="largest shift by whole pixels, as a share of the side"
    )
    rotate_deg: Annotated[float, Field(ge=0.0, le=180.0)] | Auto = Field(default="auto", description="largest rotation")
    translate: Annotated[float, Field(ge=0.0, le=0.5)] | Auto = Field(
        default="auto", description="largest sub-pixel shift, as a share of the side"
    )
    scale: Annotated[float, Field(ge=0.0, lt=1.0)] | Auto = Field(
        default="auto", description="zoom drawn from 1-scale to 1+scale"
    )
    brightness: Annotated[float, Field(ge=0.0, le=1.0)] | Auto = Field(
        default="auto", description="largest change of level"
    )
    contrast: Annotated[float, Field(ge=0.0, lt=1.0)] | Auto = Field(
        default="auto", description="largest change of contrast"
    )
    noise: Annotated[float, Field(ge=0.0, le=1.0)] = Field(default=0.0, description="standard deviation of added noise")
    erase: Annotated[float, Field(ge=0.0, le=1.0)] = Field(default=0.0, description="chance of blanking a rectangle")
    mixup: Annotated[float, Field(ge=0.0)] = Field(default=0.0, description="alpha of mixup; 0 is off")
    cutmix: Annotated[float, Field(ge=0.0)] = Field(default=0.0, description="alpha of cutmix; 0 is off")
    mosaic: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        default=0.0, description="detect: share of pictures made of four; none in the last fifth of the epochs"
    )
    views: Count | None = Field(
        default=None, description="different pictures of an image, in turn; else always new ones"
    )


class NetworkConfig(Section):
    """Which network, from which weights."""

    name: str = Field(default="compact", description="a catalog name, timm:NAME, or 'layers' with the list below")
    layers: list[dict[str, Any]] | None = Field(default=None, description="the user's own list of layers")
    options: dict[str, Any] = Field(default_factory=dict, description="arguments of the network's builder")
    weights: str | None = Field(default=None, description="a local .safetensors, .pth or .pt file of starting weights")
    pretrained: bool = Field(default=False, description="fetch the network's published weights by name")
    freeze: str | list[str] = Field(
        default="none", description="none, backbone (all but the head), or layers by the beginning of their names"
    )


class TrainConfig(Section):
    """The optimiser, the schedule, and what ends a run."""

    epochs: Count | Auto = Field(default="auto", description="passes over the training images")
    batch_size: Count | Auto = Field(default="auto", description="images per step")
    optimiser: Literal["auto", "sgd", "rmsprop", "adam", "adamw"] = Field(default="auto", description="update rule")
    rate: Positive | Auto = Field(default="auto", description="peak learning rate")
    momentum: Fraction = Field(default=0.9, description="momentum of sgd and rmsprop")
    nesterov: bool = Field(default=True, description="look-ahead momentum, sgd only")
    beta1: Fraction = Field(default=0.9, description="adam: decay of the mean gradient")
    beta2: Fraction = Field(default=0.999, description="adam: decay of the squared gradient")
    alpha: Fraction = Field(default=0.99, description="rmsprop: decay of the squared gradient")
    eps: Positive = Field(default=1e-8, description="adam and rmsprop: added to the root")
    weight_decay: Annotated[float, Field(ge=0.0)] | Auto = Field(
        default="auto", description="decoupled decay, none on norms and biases"
    )
    l2: Annotated[float, Field(ge=0.0)] = Field(default=0.0, description="squared penalty in the loss itself")
    l1: Annotated[float, Field(ge=0.0)] = Field(default=0.0, description="absolute penalty in the loss itself")
    finetune: Literal["all", "gradual", "head"] = Field(
        default="all", description="train all layers, the head and then one stage after another, or the head alone"
    )
    depth_decay: Annotated[float, Field(gt=0.0, le=1.0)] | Auto = Field(
        default="auto", description="rate of each stage, as a share of that of the stage above it"
    )
    cache_features: bool | Auto = Field(
        default="auto", description="compute what a frozen backbone gives once, and train the head on that"
    )
    schedule: Literal["constant", "step", "exponential", "time", "cosine", "onecycle"] = Field(
        default="onecycle", description="how the rate changes"
    )
    warmup: Fraction | Auto = Field(default="auto", description="share of the steps the rate takes to rise")
    step_epochs: Count = Field(default=10, description="step: epochs between drops")
    gamma: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=0.1, description="step, exponential: factor of each drop"
    )
    decay: Annotated[float, Field(ge=0.0)] = Field(default=0.1, description="time: rate / (1 + decay x epoch)")
    loss: str = Field(
        default="auto",
        description="regress, pictures: squared, absolute, huber; segment: cross_entropy, dice, focal, or with +dice",
    )
    label_smoothing: Fraction | Auto = Field(default="auto", description="share of the target spread over all classes")
    class_weights: Literal["none", "balanced"] = Field(default="none", description="weigh the loss against imbalance")
    clip_norm: Positive | None = Field(default=None, description="largest norm of the gradient")
    accumulate: Count = Field(default=1, description="batches per optimiser step")
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] | Auto = Field(
        default="auto", description="decay of the averaged weights"
    )
    patience: Count | None = Field(default=None, description="early stopping: epochs without improvement")
    min_delta: Annotated[float, Field(ge=0.0)] = Field(
        default=0.0, description="early stopping: what counts as improvement"
    )
    monitor: str = Field(default="val_loss", description="history column that decides the best epoch")
    restore_best: bool | Auto = Field(
        default="auto", description="end with the weights of the best epoch; auto: unless the rate falls to zero"
    )
    checkpoint_seconds: Annotated[float, Field(ge=0.0)] = Field(
        default=30.0, description="at most this much work is lost"
    )
    gradient_norms: bool = Field(default=False, description="record the gradient norm of every layer")
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps")
    layout: Literal["auto", "contiguous", "channels_last"] = Field(default="auto", description="memory order of images")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="arithmetic of the forward pass"
    )
    threads: Count | Auto = Field(default="auto", description="processor threads")
    compile: bool | Auto = Field(
        default=False,
        description="compile the training steps, for about a minute; auto: where they are measured faster",
    )


class EvaluateConfig(Section):
    """How the score is stated."""

    level: Annotated[float, Field(gt=0.5, lt=1.0)] = Field(default=0.95, description="coverage of every interval")
    headline: Literal["auto", "accuracy", "balanced_accuracy", "macro_f1"] = Field(
        default="auto", description="the one number; auto: balanced accuracy when classes are unbalanced"
    )
    calibrate: bool = Field(default=True, description="fit a temperature on validation")
    linear_probe: bool = Field(
        default=True, description="beside fine-tuning, score a linear classifier on the starting weights' features"
    )
    false_alarms: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=0.05, description="anomaly: share of normal images that may raise an alarm"
    )
    overlap: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=0.5, description="detect: of two boxes of one class with a larger IoU, the more certain one stays"
    )
    abstain: Annotated[float, Field(gt=0.0, lt=1.0)] | None = Field(
        default=None, description="accuracy promised on what is answered; below it the network says 'unsure'"
    )


class RunConfig(Section):
    """Where the run is kept and what it writes."""

    directory: str = Field(default="runs", description="folder that holds the run directories")
    name: Annotated[str, AfterValidator(_folder_name)] | None = Field(
        default=None, description="name of this run; default: date, source and a number"
    )
    tensorboard: bool = Field(default=False, description="write TensorBoard events")
    strict: bool = Field(default=False, description="a warning becomes an error")
