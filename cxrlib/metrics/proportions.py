"""Two proportions: an interval of their difference, bounds on McNemar's p, and how many images tell them apart."""

from __future__ import annotations

import math

from cxrlib.metrics.estimate import Estimate, normal_quantile


def newcombe(right_a: int, n_a: int, right_b: int, n_b: int) -> Estimate:
    """Share a minus share b of independent samples: Newcombe's interval from Wilson's, and Fisher's exact p-value."""
    from scipy.stats import fisher_exact
    from statsmodels.stats.proportion import confint_proportions_2indep

    low, high = confint_proportions_2indep(right_a, n_a, right_b, n_b, method="newcomb")
    exact = fisher_exact([[right_a, n_a - right_a], [right_b, n_b - right_b]]).pvalue
    return Estimate(right_a / n_a - right_b / n_b, low, high, exact)


def mcnemar_bounds(right_a: int, right_b: int, n: int) -> tuple[float, float]:
    """Least and greatest exact McNemar p-value of two models on the same n images, over all ways in which their errors may overlap.

    A paper that prints only totals leaves open which images each model got wrong; the p-value cannot lie outside.
    """
    from scipy.stats import binomtest

    gap = right_a - right_b
    found = []
    for only_a in range(max(gap, 0), min(right_a, n - right_b) + 1):
        only_b = only_a - gap
        if 0 <= only_b <= min(right_b, n - right_a):
            found.append(binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0)
    return float(min(found)), float(max(found))


def images_independent(share_a: float, share_b: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Test images for each of two models, on two sets of images, to find the difference (two-sided, arcsine transformed)."""
    from statsmodels.stats.power import NormalIndPower
    from statsmodels.stats.proportion import proportion_effectsize

    return math.ceil(NormalIndPower().solve_power(proportion_effectsize(share_a, share_b), alpha=alpha, power=power))


def images_paired(share_a: float, share_b: float, discordant: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Test images that both models see (Connor 1987), if on a share ``discordant`` of them exactly one is right.

    ValueError if ``discordant`` is below the difference of the shares, which cannot be.
    """
    gap = abs(share_a - share_b)
    if not gap - 1e-12 <= discordant <= 1:
        raise ValueError(f"discordant must lie between the difference {gap:.4g} and 1, not {discordant}")
    root = normal_quantile(1 - alpha) * math.sqrt(discordant) + normal_quantile(2 * power - 1) * math.sqrt(max(discordant - gap**2, 0))
    return math.ceil(root**2 / gap**2)
