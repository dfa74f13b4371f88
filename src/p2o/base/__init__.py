"""Files, terminal, text: what every room uses."""
