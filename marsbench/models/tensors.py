"""Tensors of checkpoint files, read without running any code of the file.

Safetensors hold tensors only. Files of `torch.save` are pickles, whose classes and functions run
when they are read. Here torch's weights-only unpickler reads them; every other class becomes a
`_Held`, which keeps its attributes and has no behaviour. A pickled module is therefore read as the
tree of its tensors, and its library is neither imported nor needed.
"""

import builtins
import contextlib
import pickle
import sys
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from marsbench.base.errors import WeightsError
from marsbench.base.reading import open_file

State = dict[str, Tensor]

MOST_TENSORS = 100_000
"""Largest number of tensors of a pickled module; a module may be listed more than once."""

DEEPEST = 100
"""Deepest nesting of pickled modules."""

_WRAPPERS = ("state_dict", "model", "model_state_dict", "state_dict_ema")

_UNPACKED = 10
"""Largest ratio of unpacked to packed size; `torch.save` does not compress."""

_HARMLESS = frozenset(
    ("argparse", "collections", "datetime", "enum", "functools", "pathlib", "types", "typing")
)
"""Modules of the standard library whose objects are common in honest checkpoints."""


class _Held:
    """Object of any class in a pickle: its attributes, without behaviour."""

    __slots__ = ("attributes",)

    def __new__(cls, *_args: Any, **_options: Any) -> "_Held":
        held = super().__new__(cls)
        held.attributes = {}
        return held

    def __init__(self, *_args: Any, **_options: Any) -> None:
        """Ignore the arguments of the original class."""

    def __setstate__(self, state: Any) -> None:
        self.attributes = state if isinstance(state, dict) else {}


def read_checkpoint(path: Path) -> State:
    """Read the tensors of a local checkpoint.

    Args:
        path: A ``.safetensors`` file, or one written by `torch.save`.

    Returns:
        Tensors by name, on the CPU; wrappers such as ``{"state_dict": ...}`` and pickled modules
        are opened.

    Raises:
        WeightsError: If the file is missing, damaged, holds no tensors, or names functions.
    """
    try:
        open_file(path).close()
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = _unpickled(path)
        tensors = _opened(content)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise WeightsError(
            f"The checkpoint weights={path} was not found.", "Give the path of a file."
        ) from error
    except OSError as error:
        raise WeightsError(
            f"The checkpoint weights={path} cannot be read: {error.strerror or error}.",
            "Check the file and its permissions.",
        ) from error
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"The checkpoint weights={path} is refused: it holds more than tensors, and reading it "
            f"could execute code ({str(error).splitlines()[0][:120]}).",
            "Save only the tensors, best as safetensors: "
            "safetensors.torch.save_file(model.state_dict(), 'model.safetensors').",
        ) from error
    except Exception as error:  # safetensors and torch raise many types for damaged files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"The checkpoint weights={path} is damaged or not a checkpoint: {reason[:160]}.",
            "Copy the file again.",
        ) from error
    if not tensors:
        raise WeightsError(
            f"The checkpoint weights={path} holds no tensors.", "Save a model's state_dict."
        )
    if odd := [k for k, v in tensors.items() if v.layout is not torch.strided or v.is_quantized]:
        raise WeightsError(
            f"The checkpoint weights={path} holds sparse or quantised tensors, such as {odd[0]}.",
            "Save dense tensors.",
        )
    return tensors


def _unpickled(path: Path) -> Any:
    """Content of a file of `torch.save`; objects of classes are `_Held`."""
    with _allowing(()):
        # Old files are no archives; they may hold plain types and tensors alone.
        names = _names(path) if zipfile.is_zipfile(path) else []
    if running := [name for name in names if _is_code(name)]:
        raise pickle.UnpicklingError(f"it names {running[0]}")
    # A class of its own for each name, since torch compares classes.
    stubs = [(type(name, (_Held,), {"__slots__": ()}), name) for name in names]
    with _allowing(stubs), warnings.catch_warnings(action="ignore"):
        return torch.load(path, map_location="cpu", weights_only=True)


def _names(path: Path) -> list[str]:
    """Full names of the classes and functions of an archive, but for torch's plain types."""
    with zipfile.ZipFile(path) as archive:
        size = sum(info.file_size for info in archive.infolist())
    if size > _UNPACKED * path.stat().st_size:
        raise ValueError(f"it unpacks to {size / 1e9:.1f} GB; torch.save does not compress")
    return torch.serialization.get_unsafe_globals_in_checkpoint(path)


def _is_code(name: str) -> bool:
    """Whether a name is a function, or of a library that checkpoints have no use for."""
    top, _, attribute = name.partition(".")
    if top == "builtins":
        return not isinstance(getattr(builtins, attribute, None), type)
    return top in sys.stdlib_module_names and top not in _HARMLESS


@contextlib.contextmanager
def _allowing(classes: Any) -> Iterator[None]:
    """Let torch's unpickler construct these classes, and none that other packages allowed."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(list(classes))
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _opened(content: Any) -> State:
    """Tensors by name within wrappers and pickled modules.

    Of a mapping of modules to their tensors, names begin with that of the module.
    """
    if isinstance(content, Mapping) and isinstance(content.get("ema"), _Held):
        content = content["ema"]  # averaged weights, as ultralytics prefers them
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping | _Held):
            content = content[key]
    if isinstance(content, _Held):
        content = dict(_tensors_of(content))
    if not isinstance(content, Mapping):
        return {}
    tensors = {str(k): v.detach() for k, v in content.items() if isinstance(v, Tensor)}
    return tensors or {
        f"{part}.{name}": tensor.detach()
        for part, state in content.items()
        for name, tensor in _items(state)
        if isinstance(tensor, Tensor)
    }


def _tensors_of(module: _Held) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors of a pickled module, as its `state_dict` lists them.

    Raises:
        ValueError: If the tree is deeper or larger than any model's, such as one that holds itself.
    """
    left = MOST_TENSORS
    waiting = [("", module, 0)]
    while waiting:
        prefix, current, depth = waiting.pop()
        own = current.attributes
        if depth > DEEPEST or left <= 0:
            raise ValueError(f"it nests more than {DEEPEST} modules or {MOST_TENSORS} tensors")
        left -= 1
        unsaved = own.get("_non_persistent_buffers_set") or ()
        for kind in ("_parameters", "_buffers"):
            for name, tensor in _items(own.get(kind)):
                if isinstance(tensor, Tensor) and name not in unsaved:
                    left -= 1
                    yield f"{prefix}{name}", tensor
        children = [
            (f"{prefix}{name}.", child, depth + 1)
            for name, child in _items(own.get("_modules"))
            if isinstance(child, _Held)
        ]
        waiting += reversed(children)


def _items(values: Any) -> list[tuple[Any, Any]]:
    return list(values.items()) if isinstance(values, Mapping) else []
