"""A study: its stages, its workers and the session that runs them."""
