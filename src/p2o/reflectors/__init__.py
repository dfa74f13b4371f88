"""Who writes new templates."""
