"""Makes a task and its sweep from a user's data: looks at it, guesses, says why, and writes."""
