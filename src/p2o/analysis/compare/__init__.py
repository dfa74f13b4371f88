"""``p2o compare``: methods on one recipe at equal cost, several seeds, with intervals."""
