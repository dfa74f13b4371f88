"""The algorithm, without an engine."""
