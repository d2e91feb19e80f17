"""Tables in, verdicts out: pure functions on `StudyResults`, without any input or output."""
