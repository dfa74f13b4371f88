"""Policies and generation."""
