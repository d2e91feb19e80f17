"""The first trials of a search: the most capable corner of the space, at rates over its range.

The learning rate matters most, and at the highest capacity a good one shows best; that smaller
adapters do as well is for the ablation to say. A sampler that starts at random spends its first
trials on corners that no guide would try. Decides, runs nothing.
"""

import math
from typing import Final

from harness.config.sweep import Sweep
from harness.trial import TrialConfig

#: Groups of modules, the most capable first; module names joined by `+` come behind them, the
#: longer the better.
_WIDEST: Final = ("all_linear", "attention", "mlp", "qkv", "qv", "q")
#: The alpha that most guides name, as a multiple of the rank.
_ALPHA: Final = 2.0


def initial_configs(sweep: Sweep) -> tuple[TrialConfig, ...]:
    """The configurations that a search by TPE begins with, the middle rate first.

    Args:
        sweep: says how many (`search.opening`), and the space.

    Returns:
        At most `search.trials`; none for a random search, which would be none any more.
    """
    search, space = sweep.search, sweep.space
    count = min(search.opening, search.trials) if search.sampler == "tpe" else 0
    if not count:
        return ()
    rank = max(space.rank)
    ratio = min(space.alpha_ratio, key=lambda one: abs(math.log(one / _ALPHA)))
    plain = TrialConfig(
        variant=space.variant[0],
        rank=rank,
        alpha=ratio * rank,
        dropout=min(space.dropout),
        target_modules=max(space.target_modules, key=_width),
        learning_rate=1.0,
        seed=0,
    )
    for name in space.varied_settings():
        if plain.level(name) not in space.levels(name):
            plain = plain.with_level(name, space.levels(name)[0])
    rates = _rates(sweep, plain.variant, count)
    return tuple(plain.replace(learning_rate=rate) for rate in rates)


def _width(group: str) -> tuple[int, int]:
    known = group in _WIDEST
    return (len(_WIDEST) - _WIDEST.index(group) if known else 0, group.count("+"))


def _rates(sweep: Sweep, variant: str, count: int) -> list[float]:
    """The middles of equal parts of the range (by logarithm), from the middle outwards."""
    given = sweep.space.learning_rate
    if isinstance(given, tuple):
        levels = sorted(given)
        places = sorted({int((k + 0.5) / count * len(levels)) for k in range(count)})
        found = [levels[place] for place in places]
    else:
        span = given.range_of(variant)
        wide = span.high / span.low
        found = [float(f"{span.low * wide ** ((k + 0.5) / count):.3g}") for k in range(count)]
        found = [min(max(rate, span.low), span.high) for rate in found]
    middle = (len(found) - 1) / 2
    return sorted(found, key=lambda rate: (abs(found.index(rate) - middle), rate))
