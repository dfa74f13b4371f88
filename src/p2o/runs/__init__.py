"""A run from recipe to result: recipes, building, the run directory, plan and model card."""
