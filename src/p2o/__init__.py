"""p2o: joint policy and prompt optimization (P²O, arXiv 2603.21877) on TRL."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .analysis.report.inline import report
    from .trl.config import P2OConfig
    from .trl.trainer import P2OTrainer

__version__ = "0.1.0"
__all__ = ["P2OConfig", "P2OTrainer", "__version__", "report"]

_WHERE = {"P2OConfig": ".trl.config", "P2OTrainer": ".trl.trainer", "report": ".analysis.report.inline"}


def __getattr__(name: str) -> Any:
    # Loaded on first use: TRL takes seconds to import, the command line's help need not.
    if name in _WHERE:
        return getattr(import_module(_WHERE[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
