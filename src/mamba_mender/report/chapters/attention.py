"""The page's section on hidden attention."""

from typing import Any

from mamba_mender.inspection.study import Inspection
from mamba_mender.report.chapters.exhibit import Chapter, Exhibit, ending, results_of
from mamba_mender.report.inspect_tokens import attention_grid, entropy_against_strength, over_input

SHOWN = 3  # inputs of which rollouts are shown


def _maps(kind: str) -> Any:
    def draw(found: Inspection, which: int | None) -> dict[str, Any]:
        maps = ending(results_of(found, "attention", which), kind)
        return {"": attention_grid(maps, _facts(found, which))} if maps else {}

    return draw


def _facts(found: Inspection, which: int | None) -> Any:
    return results_of(found, "input", which)["facts"]


def _rollouts(found: Inspection, which: int | None) -> dict[str, Any]:
    results = results_of(found, "attention", which)
    names = {"rollout": "scans", "block_rollout": "whole blocks"}
    values = {title: results[name].values[0].float() for name, title in names.items() if name in results}
    return {"": over_input(values, _facts(found, which), marked=results["rollout"].position)}


def _spread(found: Inspection, which: int | None) -> dict[str, Any]:
    spreads = ending(results_of(found, "attention", which), "spread")
    pairs = {name.removeprefix("layer "): (own.entropy[0], own.strength[0]) for name, own in spreads.items()}
    return {"": entropy_against_strength({name: (e.float(), s.float()) for name, (e, s) in pairs.items()})}


ATTENTION = Chapter(
    "attention",
    "Attention",
    "What each token draws from which",
    "A scan is linear in its input once the steps are fixed, so it can be written as a matrix between tokens, like "
    "attention. It is exact, may be negative, and is shown averaged over channels, with the directions of a layer "
    "summed.",
    (
        Exhibit(
            "attention",
            "Hidden attention of the scans",
            "Red adds, blue takes away. A thin diagonal: a layer that looks at the token itself; upright stripes: "
            "tokens that all later ones draw from; a wide band: long memory.",
            "attention",
            _maps("map"),
        ),
        Exhibit(
            "block-attention",
            "Attention of the whole blocks",
            "The same with the short convolution before the scan and the gate after it: what gate or convolution cut "
            "off is pale here though it is bright above.",
            "attention",
            _maps("block"),
        ),
        Exhibit(
            "rollout",
            "Rollout: what reaches the token that is read, through all layers",
            "Strong colours mark the tokens whose content arrives, by attention and the residual stream alone; it does "
            "not know which of it the prediction uses. In a text the one that is read is bordered.",
            "attention",
            _rollouts,
            inputs=SHOWN,
        ),
        Exhibit(
            "entropy",
            "Entropy against strength",
            "Top: tokens that draw evenly from everything before; bottom: tokens that draw from one. Right: tokens "
            "that draw much. A layer whose marks sit together treats all tokens alike.",
            "attention",
            _spread,
        ),
    ),
)
