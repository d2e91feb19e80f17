"""What a user writes of a sweep: its YAML, the search space and the variants."""
