"""Reports: statistics over records, figures, tables and one page.

``marsbench.report`` is this package and, in the public Python API, the function that builds a
report; so the package can be called, and is `marsbench.api.report` then.
"""

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """A package that is also the function it is named for."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from marsbench.api import report

        return report(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
