import io

from rich.console import Console

from harness.analysis.claims import CLAIMS
from harness.analysis.formatting import metric_format
from harness.analysis.wording import baselines_sentence
from harness.cli.pick import print_claims, print_explanation, print_recommendation
from tests.studies import PERPLEXITY, config, confirm_results, make_results


def printed(results):
    console = Console(file=io.StringIO(), width=120)
    verdict = print_recommendation(results, console)
    return verdict, console.file.getvalue()


def test_without_a_pick_the_like_ones_are_those_of_the_best():
    uneven = {
        config(rank=8): [0.80, 0.90, 0.80, 0.90, 0.80],
        config(rank=32): [0.90, 0.80, 0.90, 0.80, 0.91],
    }
    verdict, text = printed(confirm_results(uneven, examples=40))
    assert verdict.pick is None
    assert verdict.indistinguishable
    assert "statistically indistinguishable from the best: " in text
    assert "from the pick" not in text


def test_a_pick_is_named_with_those_that_are_like_it():
    close = {config(rank=rank): [0.86 + 0.001 * i for i in range(10)] for rank in (8, 32)}
    verdict, text = printed(confirm_results(close, examples=400))
    assert verdict.pick is not None
    assert "statistically indistinguishable from the pick: " in text


def test_scores_have_the_digits_of_their_metric():
    close = {config(rank=rank): [0.86 + 0.001 * i for i in range(10)] for rank in (8, 32)}
    verdict, text = printed(confirm_results(close, objective=PERPLEXITY, examples=400))
    assert f"test score {verdict.score.value:.2f} (95 % CI " in text
    difference = verdict.comparison["difference_to_best"].iloc[0]
    assert metric_format(PERPLEXITY).gap(difference) in text


def test_what_is_reached_without_an_adapter_is_told():
    study = make_results(trials=5)
    _, text = printed(study)
    assert baselines_sentence(study) in text
    _, bare = printed(confirm_results({config(): [0.8] * 5}, examples=20))
    assert "Without an adapter" not in bare


def test_the_chain_is_numbered_and_ends_with_the_rule():
    console = Console(file=io.StringIO(), width=80)
    print_explanation(make_results(trials=5), console)
    text = console.file.getvalue()
    assert "1. trials" in text
    assert "8. decision rule" in text
    assert ", picked" in text
    assert "\n   incumbent: search trial " in text


def test_claims_are_told_one_a_line_with_what_is_missing():
    console = Console(file=io.StringIO(), width=80)
    print_claims(make_results(trials=5), console)
    lines = console.file.getvalue().strip().splitlines()
    *lines, advice = lines
    assert len(lines) == 1 + len(CLAIMS)
    assert "--claims --add-seeds 3" in advice
    (rank,) = [line for line in lines if "r = 16 and r = 32" in line]
    assert "r=16 minus r=32: " in rank
    (share,) = [line for line in lines if "LoRA reaches" in line]
    assert share.startswith("no data: ")
    assert "not run: full fine-tuning (--claims runs what is missing)" in share
