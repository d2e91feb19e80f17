from harness.trial import Purpose, derive


def test_each_purpose_has_a_seed_of_its_own() -> None:
    found = {derive(seed, purpose) for seed in range(50) for purpose in Purpose}
    assert len(found) == 50 * len(Purpose)


def test_a_seed_never_changes() -> None:
    # Written down: a study that goes on under a later version must see the same numbers.
    assert derive(0, Purpose.DATA_ORDER) == 7359687707597974334
