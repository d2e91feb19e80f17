from harness.config.sweep import load_sweep
from harness.study.ablation import plan_cells
from harness.trial import TrialConfig

SWEEP = load_sweep("ner_medical")
CENTRE = TrialConfig("lora", 16, 32.0, 0.0, "all_linear", 5e-3, seed=9)


def _configs(cells):
    return {cell.config for cell in cells}


def test_every_factor_has_at_least_two_levels_within_the_default_limit():
    for centre in (
        CENTRE,
        TrialConfig("dora", 1, 0.5, 0.05, "mlp", 5e-3, seed=0),
        TrialConfig("lora_plus", 64, 256.0, 0.1, "q", 5e-3, seed=0),
    ):
        cells, _ = plan_cells(SWEEP, centre, SWEEP.ablation.max_cells)
        assert len(_configs(cells)) <= 15
        for factor in ("rank", "alpha_ratio", "target_modules", "dropout", "variant"):
            levels = [cell.level for cell in cells if cell.factor == factor]
            assert len(levels) >= 2
            assert getattr(centre, factor) in levels


def test_one_factor_at_a_time_and_alpha_follows_the_rank():
    for cell in plan_cells(SWEEP, CENTRE, 100)[0]:
        if "@" in cell.factor:
            assert cell.config.target_modules == "qv"
            continue
        others = {"rank", "alpha_ratio", "target_modules", "dropout", "variant"} - {cell.factor}
        for other in others:
            assert getattr(cell.config, other) == getattr(CENTRE, other)
        assert getattr(cell.config, cell.factor) == cell.level


def test_what_does_not_fit_is_named():
    cells, dropped = plan_cells(SWEEP, CENTRE, 8)
    assert len(_configs(cells)) <= 8
    assert dropped
    assert all("no room for" in line for line in dropped)
    all_cells, none = plan_cells(SWEEP, CENTRE, 100)
    assert not none
    assert len(set(dropped)) >= len(_configs(all_cells) - _configs(cells))


def test_no_room_gives_no_cell():
    assert plan_cells(SWEEP, CENTRE, 0)[0] == ()


def test_the_pair_holds_its_factor_and_varies_the_rank():
    cells, _ = plan_cells(SWEEP, CENTRE, 100)
    pair = [cell for cell in cells if cell.factor == "rank@target_modules=qv"]
    assert [cell.level for cell in pair] == [4, 8, 16, 32]
