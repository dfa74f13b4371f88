"""One self-contained HTML page of a run, or of several side by side. Works offline."""

from .page import write_report

__all__ = ["write_report"]
