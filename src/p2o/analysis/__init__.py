"""Evaluations, screens, comparisons, reports."""
