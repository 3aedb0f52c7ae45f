"""Find and call a user's function, and describe its encoder.

``./my_encoder.py`` or ``./my_encoder.py:function``, ``package.module:function``, or the name of an
entry point in the group ``marsbench.models``. This is the only code of others that marsbench
executes, and only for a command that names it.
"""

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from marsbench.base.errors import ConfigError, MarsbenchError, NotAvailableError, unknown_name
from marsbench.base.files import file_digest
from marsbench.base.paths import expanded
from marsbench.base.values import Problem, check
from marsbench.config.schema import Mode, Normalisation
from marsbench.models.own.encoder import Encoder
from marsbench.models.spec import (
    ALWAYS,
    CLASSIFICATION,
    EVERY,
    NEVER,
    UNLESS_FROZEN,
    Library,
    ModelSpec,
    WeightSpec,
)

FUNCTION = "encoder"
"""Function of a file whose word names none."""

GROUP = "marsbench.models"
"""Group of entry points."""

PREFIX = f"{Library.OWN}:"
"""Prefix of the names in records, which execute nothing."""

_FILE = re.compile(r"(?P<place>.+\.py)(?::(?P<function>\w+))?")
_OBJECT = re.compile(r"(?P<place>[A-Za-z_]\w*(?:\.\w+)*):(?P<function>\w+)")

_HOW = (
    "An own encoder is a function in a Python file, model=./my_encoder.py or "
    "model=./my_encoder.py:function, or in a package, model=package.module:function. It returns "
    "marsbench.Encoder(module, num_features=...)."
)


class Place(NamedTuple):
    """Place of a function.

    Attributes:
        place: Python file, or name of a module.
        function: Name of the function.
    """

    place: str
    function: str

    @property
    def is_file(self) -> bool:
        """Whether the place is a file."""
        return self.place.endswith(".py")

    @property
    def word(self) -> str:
        """Word for a command line, with an absolute path."""
        return f"{self.place}:{self.function}"

    @property
    def name(self) -> str:
        """Short name: that of the file or package, and of an unusual function."""
        stem = Path(self.place).stem if self.is_file else self.place
        return stem if self.function == FUNCTION else f"{stem}.{self.function}"


def place_of(word: str) -> Place | None:
    """Place of the function that a word names; None if it names none. Executes nothing."""
    if match := _FILE.fullmatch(word):
        path = expanded(match["place"]).absolute()
        return Place(str(path), match["function"] or FUNCTION)
    if match := _OBJECT.fullmatch(word):
        known = match["place"].partition(".")[0] not in list(Library)
        return Place(match["place"], match["function"]) if known else None
    points = metadata.entry_points(group=GROUP)
    if re.fullmatch(r"[\w.-]+", word) and word in points.names:
        match = _OBJECT.fullmatch(points[word].value)
        return None if match is None else Place(match["place"], match["function"])
    return None


def describe(place: Place) -> ModelSpec:
    """Describe an encoder, which calls its function once for each state of its files.

    Raises:
        ConfigError: If the function is missing or raises, or its encoder is invalid.
    """
    digest = file_digest(_source(place))
    spec, files = _described(place, digest)
    version = f"{place.name}@{_digest(place, digest, files)[:16]}"
    # The module is not built again for other content of its files.
    return replace(
        spec, id=version, weights=spec.weights and replace(spec.weights, name=PREFIX + version)
    )


@lru_cache
def _described(place: Place, digest: str) -> tuple[ModelSpec, tuple[str, ...]]:
    """Describe an encoder without the digests of its files, and list these files."""
    from marsbench.models.base import has_batch_statistics
    from marsbench.models.encoders.timm import has_maps

    takes_pretrained = _takes_pretrained(_function(place))
    encoder = call(place, pretrained=False)
    facts = encoder.pretraining
    statistics = has_batch_statistics(encoder.module)
    is_dense = encoder.dense is not None or has_maps(encoder.module)
    spec = ModelSpec(
        name=f"{PREFIX}{place.name}",
        word=place.word,
        library=Library.OWN,
        id=place.name,
        weights=WeightSpec(
            name=place.name,
            data=facts.data,
            images=facts.images,
            licence=facts.licence,
            overlaps=facts.overlaps,
        ),
        mean=encoder.mean,
        std=encoder.std,
        bands=encoder.bands,
        normalisation=encoder.normalisation,
        input_size=encoder.size,
        fixed_size=not encoder.any_size,
        any_dense_size=encoder.any_size,
        kinds=EVERY if is_dense else CLASSIFICATION,
        batch_statistics=UNLESS_FROZEN if statistics else NEVER,
        modes=ALWAYS if takes_pretrained else frozenset({Mode.FROZEN, Mode.FINETUNE}),
        parameters=sum(p.numel() for p in encoder.module.parameters()) / 1e6,
    )
    return spec, encoder.files


def call(place: Place, *, pretrained: bool) -> Encoder:
    """Call a function and check the fields of its encoder.

    Args:
        place: Its place.
        pretrained: Value of its parameter of this name, if it has one.

    Raises:
        ConfigError: If the function raises, or a field is invalid; the message lists all.
    """
    from torch import nn

    function = _function(place)
    options = {"pretrained": pretrained} if _takes_pretrained(function) else {}
    try:
        encoder = function(**options)
    except MarsbenchError:
        raise
    except Exception as error:
        raise _failed(place, f"{place.function}() raised", error) from error
    if not isinstance(encoder, Encoder):
        raise ConfigError(
            f"{place.word} returns {type(encoder).__name__}; expected marsbench.Encoder.", _HOW
        )
    if not isinstance(encoder.module, nn.Module):
        raise ConfigError(
            f"The module of {place.word} is {type(encoder.module).__name__}; expected "
            "torch.nn.Module.",
            _HOW,
        )
    if encoder.dense is not None and not callable(encoder.dense):
        raise ConfigError(
            f"The field dense of {place.word} is {type(encoder.dense).__name__}; expected a "
            "function from images to tokens or feature maps.",
            _HOW,
        )
    code = ("module", "dense")
    values = {k: v for k, v in vars(encoder).items() if k not in code}
    problems: list[Problem] = []
    checked = check(Encoder, values, problems, strict=True, omit=code)
    messages = [problem.message for problem in problems]
    if not messages:
        messages = list(_contradictions(encoder, place))
    if messages:
        raise ConfigError(f"The encoder of {place.word} is invalid. {' '.join(messages)}", _HOW)
    return Encoder(encoder.module, dense=encoder.dense, **checked)


def _contradictions(encoder: Encoder, place: Place) -> list[str]:
    messages = []
    if len(encoder.mean) != len(encoder.std):
        messages.append(f"'mean' has {len(encoder.mean)} values, and 'std' {len(encoder.std)}.")
    if encoder.bands and len(encoder.bands) != len(encoder.mean):
        messages.append(f"'bands' names {len(encoder.bands)}, and 'mean' has {len(encoder.mean)}.")
    if encoder.normalisation is Normalisation.DATA:
        messages.append("'normalisation' is data, which is a choice of a run.")
    folder = _source(place).parent
    for name in encoder.files:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            messages.append(f"'files' names {name}, which is not below {folder}.")
        elif not path.is_file():
            messages.append(f"'files' names {name}, which is missing below {folder}.")
    return messages


def _digest(place: Place, digest: str, files: Sequence[str]) -> str:
    """SHA-256 of everything that is known to decide features."""
    content = hashlib.sha256(f"{digest}\n{place.function}\n".encode())
    folder = _source(place).parent
    for name in files:
        content.update(f"{name}\t{file_digest(folder / name)}\n".encode())
    if not place.is_file:
        content.update(_version(place.place.partition(".")[0]).encode())
    return content.hexdigest()


def _version(package: str) -> str:
    """Version of the distribution of a package; empty if it has none."""
    names = metadata.packages_distributions().get(package, [])
    return "" if not names else f"{names[0]}=={metadata.version(names[0])}"


def _source(place: Place) -> Path:
    """File of the function.

    Raises:
        ConfigError: If the file or module is missing.
    """
    if place.is_file:
        path = Path(place.place)
        if not path.is_file():
            raise ConfigError(f"{path}: no such file.", _HOW)
        return path
    try:
        spec = importlib.util.find_spec(place.place)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        known = [str(library) for library in Library]
        raise unknown_name("library or package", place.place, known, _HOW)
    return Path(spec.origin)


def _module(place: Place) -> ModuleType:
    if not place.is_file:
        try:
            return importlib.import_module(place.place)
        except Exception as error:
            raise _failed(place, "importing it raised", error) from error
    path = _source(place)
    name = f"marsbench_own_{path.stem}_{file_digest(path)[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is not a Python file.", _HOW)
    module = importlib.util.module_from_spec(spec)
    # A file may import its neighbours, also later.
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception):
            raise
        raise _failed(place, "importing it raised", error) from error
    return module


def _function(place: Place) -> Callable[..., Any]:
    module = _module(place)
    function = getattr(module, place.function, None)
    if callable(function):
        return function  # type: ignore[no-any-return]
    defined = [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    ]
    raise unknown_name(f"function of {place.place}", place.function, defined, _HOW)


def _takes_pretrained(function: Callable[..., Any]) -> bool:
    return "pretrained" in inspect.signature(function).parameters


def _failed(place: Place, what: str, error: Exception) -> ConfigError:
    """Build the message for an error in code of the user, with its last line there."""
    file = str(_source(place))
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == file
    ]
    at = f", line {lines[-1]}" if lines else ""
    text = (str(error).splitlines() or [""])[0][:200]
    return ConfigError(f"{place.word}: {what} {type(error).__name__}: {text} ({file}{at}).", _HOW)


def refuse(name: str) -> NotAvailableError:
    """Build the error for the name of an own encoder in a record, which is never executed."""
    return NotAvailableError(
        f"{name} is an encoder of a user, whose code is not part of the record.",
        "Name its file or function, if you trust it: model=./my_encoder.py, or --model.",
    )
