"""Say of each goal what was reached. A result file has three entries for that, which every benchmark writes alike.

goals: what is aimed at, by name. reached: what was measured, by the same names; a goal that this machine cannot
show is missing there. at_most: the names whose number must not be larger; the others must not be smaller.
intervals, where there are any: by name, the 95 % interval of the number.
"""

from collections.abc import Iterable, Mapping
from typing import Any


def is_reached(results: Mapping[str, Any], name: str) -> bool | None:
    """Compare a number with its goal; None if it was not measured."""
    found = results["reached"].get(name)
    if found is None:
        return None
    goal = results["goals"][name]
    return found <= goal if name in results.get("at_most", ()) else found >= goal


def judged(results: Mapping[str, Any], name: str) -> tuple[str, str, str]:
    """Put a goal into words: the goal, what was reached, and whether that is enough."""
    goal = f"{'at most' if name in results.get('at_most', ()) else 'at least'} {results['goals'][name]:g}"
    verdict = is_reached(results, name)
    if verdict is None:
        return goal, "", "not measured"
    found = f"{results['reached'][name]:.3g}"
    if name in results.get("intervals", {}):
        low, high = results["intervals"][name]
        found += f" [{low:.3g}, {high:.3g}]"
    return goal, found, "reached" if verdict else "**not reached**"


def told(results: Mapping[str, Any], *, only_measured: bool = False) -> Iterable[str]:
    """Give a line for each goal."""
    for name in results["reached"] if only_measured else results["goals"]:
        goal, found, verdict = judged(results, name)
        yield f"  {name:62} {found:>8}  goal: {goal}; {verdict.strip('*')}"
