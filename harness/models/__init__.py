"""Frozen base models: loaded, counted, and the tokens they are given."""
