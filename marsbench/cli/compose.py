"""Composition of a `RunConfig` from ``KEY=VALUE`` words; the only code that imports hydra."""

import re
from collections.abc import Mapping, Sequence, Set
from enum import StrEnum
from typing import Any

from marsbench.base import paths
from marsbench.base.errors import ConfigError, unknown_name
from marsbench.base.keys import flatten, nest
from marsbench.config.renamed import renamed
from marsbench.config.schema import RunConfig, check_key, config_keys
from marsbench.plan.tuned import KEYS

GROUPS = ("optim", "scheduler", "trainer", "logger", "preset")
"""Groups of keys with named choices: ``optim=sgd``, ``trainer=quick``; a preset sets any key."""

_UNSET = "<unset>"
"""Placeholder for keys not set by any YAML."""


def group_choices(group: str) -> list[str]:
    """Names of the choices of a group: its YAML files and short choices."""
    files = (paths.configs() / group).glob("*.yaml")
    return sorted({*(path.stem for path in files), *_short(group)})


def _short(group: str) -> dict[str, str]:
    """Choices of a single key by name: ``optim=sgd`` is ``optim.name=sgd``."""
    if group == "logger":
        return {name: f"logger.{name}=true" for name in ("csv", "tensorboard", "wandb")}
    names = config_keys().get(f"{group}.name", str)
    return {str(n): f"{group}.name={n}" for n in names} if issubclass(names, StrEnum) else {}


def _overrides(chosen: Mapping[str, str]) -> list[str]:
    """Convert choices of groups to overrides of hydra.

    Raises:
        ConfigError: If a choice is unknown.
    """
    for group, name in chosen.items():
        if name not in group_choices(group):
            raise unknown_name(f"choice for {group}", name, group_choices(group))
    return [_short(group).get(name, f"{group}={name}") for group, name in chosen.items()]


def split_word(word: str) -> tuple[str, str]:
    """Split a ``KEY=VALUE`` word.

    Raises:
        ConfigError: If the word has another form.
    """
    key, separator, value = word.partition("=")
    if not separator or not key.strip():
        raise ConfigError(
            f"'{word}' is not of the form key=value.",
            "For example: marsbench run task=frost_cls model=vit_tiny mode=scratch source=demo",
        )
    return key.strip(), value.strip()


def compose(words: Sequence[str]) -> RunConfig:
    """Compose a run from YAML choices and overrides.

    Args:
        words: For example ``["task=frost_cls", "optim=sgd", "optim.lr=0.01"]``.

    Raises:
        ConfigError: If a key, choice or value is invalid.
    """
    given: dict[str, str] = {}
    for key, value in map(split_word, words):
        if key in given:
            raise ConfigError(f"'{key}' is given twice.", "Leave one out.")
        given[key] = value
    overrides, chosen = [], dict[str, str]()
    for key, value in renamed(given).items():
        check_key(key, GROUPS)
        if key in GROUPS:
            chosen[key] = value
        else:
            overrides.append(f"{key}={_quoted(value)}")
    composed = _compose([*_overrides(chosen), *overrides])
    if "hparams" in given:
        from marsbench.plan import tuned as hparams

        composed = hparams.filled(_given(composed, given.keys() | set_by_groups(chosen).keys()))
    return RunConfig.from_dict(composed)


def set_by_groups(chosen: Mapping[str, str]) -> dict[str, Any]:
    """Read the keys set by choices of groups, including keys set to their default.

    Args:
        chosen: Names by group, for example ``{"optim": "sgd"}``.

    Returns:
        Values by key, dotted.

    Raises:
        ConfigError: If a choice is unknown.
    """
    base = dict.fromkeys(config_keys(), _UNSET)
    composed = _compose(_overrides(chosen), nest(base))
    return {key: value for key, value in flatten(composed).items() if value != _UNSET}


def _given(composed: dict[str, Any], given: Set[str]) -> dict[str, Any]:
    """Drop tunable keys absent from the command line, so that tuned values fill them."""
    return nest({k: v for k, v in flatten(composed).items() if k in given or k not in KEYS})


def _quoted(value: str) -> str:
    """Quote a value, since hydra's grammar parses commas, colons and brackets.

    `RunConfig` takes numbers as text and checks the types.
    """
    # In hydra's grammar a backslash escapes only before a quote, including the closing quote.
    escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), value)
    return f"'{escaped}'"


def _compose(overrides: list[str], defaults: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Compose a run, by default over the defaults of `RunConfig`."""
    import hydra
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    ConfigStore.instance().store(name="run_defaults", node=dict(defaults or RunConfig().to_dict()))
    try:
        with hydra.initialize_config_dir(str(paths.configs()), version_base="1.3"):
            composed = hydra.compose("run", overrides)
        values = OmegaConf.to_container(composed, resolve=False)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(
            f"The configuration cannot be composed: {str(error).splitlines()[0]}",
            "`marsbench list keys` shows the keys.",
        ) from error
    if not isinstance(values, dict):
        raise ConfigError("The configuration is not a mapping.", "Reinstall marsbench.")
    return {str(key): value for key, value in values.items()}
