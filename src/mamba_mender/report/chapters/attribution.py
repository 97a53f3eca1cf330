"""The page's section on attribution."""

from typing import Any

from mamba_mender.inspection.study import Inspection
from mamba_mender.inspection.study.parts import NotMeasured
from mamba_mender.report.chapters.exhibit import ACROSS, Chapter, Exhibit, one, results_of
from mamba_mender.report.inspect_tokens import over_input

SHOWN = 3
NAMES = {
    "gradient_times_input": "grad. \N{MULTIPLICATION SIGN} input",
    "integrated_gradients": "int. gradients",
    "mamba_lrp": "MambaLRP",
    "attention": "attention",
    "attention_rollout": "rollout",
    "mamba_attribution": "Mamba-attr.",
}


def _relevance(found: Inspection, which: int | None) -> dict[str, Any]:
    results = results_of(found, "attribution", which)
    own = {NAMES[name]: results[name] for name in NAMES if hasattr(results.get(name), "relevance")}
    if not own:
        return {}
    facts = results_of(found, "input", which)["facts"]
    return {"": over_input({name: result.relevance[0] for name, result in own.items()}, facts)}


def _say(found: Inspection, which: int | None) -> list[str]:
    results = results_of(found, "attribution", which)
    told = []
    lrp = results.get("mamba_lrp")
    if lrp is not None and not isinstance(lrp, NotMeasured) and lrp.check is not None:
        told.append(f"MambaLRP conserves the logit of the first input to {float(lrp.check.error.max()):.0e}.")
    told += [
        f"{NAMES.get(name, name)} is missing: {result.reason}"
        for name, result in results.items()
        if isinstance(result, NotMeasured) and result.failed
    ]
    return told if which == 0 else told[len(told) :]


def _say_faithful(found: Inspection, which: int | None) -> list[str]:
    result = results_of(found, "faithfulness", which)["methods"]
    if isinstance(result, NotMeasured):
        return []
    told = []
    for what, name in (("deletion_auc", "deletion"), ("insertion_auc", "insertion")):
        better = [NAMES[m] for m, own in result.faithfulness.items() if getattr(own, what).beats_random]
        told.append(f"Beyond chance by {name}: {', '.join(better) or 'none'}.")
    return [*told, f"{len(next(iter(result.faithfulness.values())).target)} inputs were judged."]


ATTRIBUTION = Chapter(
    "attribution",
    "Attribution",
    "What the prediction rests on",
    "Each method shares the score of the likeliest class or token out among the tokens of the input. Methods differ, "
    "and none is the truth; the section on causes below tests by intervening.",
    (
        Exhibit(
            "attribution",
            "Relevance of each token, by method",
            "Red tokens of a text speak for the prediction, blue ones against it; on an image, bright places speak for "
            "it. Trust what several methods agree on. "
            "Attention is that of the last layer; attention and rollout do not know which class is asked for.",
            "attribution",
            _relevance,
            inputs=SHOWN,
            say=_say,
        ),
        Exhibit(
            "faithfulness",
            "Are they true? Deletion and insertion",
            "Tokens are replaced in the order of their relevance (deletion) or shown in that order (insertion). A "
            "method is worth looking at only where it beats random orders.",
            "faithfulness",
            one("faithfulness", "methods"),
            inputs=ACROSS,
            say=_say_faithful,
        ),
    ),
)
