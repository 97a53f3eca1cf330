"""Lay out what training and mending reached: arms, gains, and what a step costs."""

from typing import Any

LABELS = {
    "base": "base",
    "control": "control: trains on",
    "control-time": "control, for as long as +Ext",
    "swap": "background swap",
    "swap-strong": "background swap, heavier",
    "ext": "+Ext",
    "int": "+Int",
    "all": "+All",
    "clean": "trained on clean images",
}


def arms(table: dict[str, Any], splits: tuple[str, ...], rivals: tuple[str, ...] = ()) -> str:
    """Lay out a table of arms."""
    versus = ["control", *rivals]
    heads = [split.replace("_", " ") for split in splits]
    heads += [f"test, over {LABELS[other].partition(':')[0]}" for other in versus] + [
        "gap closed",
        "weights",
        "steps",
        "seconds",
    ]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name in (name for name in LABELS if name in table):
        row = table[name]
        cells = [interval(row[split]) if split in row else "" for split in splits]
        cells += [interval(row["test"][f"over_{o}"], signed=True) if f"over_{o}" in row["test"] else "" for o in versus]
        cells += [gap(table, name) if "gap_closed" in row else ""]
        cells += [", ".join(f"{loss} {weight:g}" for loss, weight in row["weights"][0].items() if weight)]
        cells += [span(row["steps"]), span(row["seconds"])]
        lines.append(f"| {LABELS[name]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdict(table: dict[str, Any]) -> str:
    """Say which arms beat the control there, and which fall behind."""
    said = []
    for name in ("ext", "int", "all"):
        gain = table[name]["test"]["over_control"]
        word = "beats" if gain["low"] > 0 else "falls behind" if gain["high"] < 0 else "cannot be told from"
        said.append(f"{LABELS[name]} {word} the control ({interval(gain, signed=True)} points)")
    return "; ".join(said) + "."


def steps(results: dict[str, Any]) -> str:
    """Lay out what a mending step costs."""
    names = list(next(iter(results["results"].values()))["steps"])
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    profiles = []
    for shape, found in results["results"].items():
        cells = [f"{found['steps'][name]['median']:.0f} ms ({found['steps'][name]['ratio']:.2f})" for name in names]
        lines.append(f"| {shape} | " + " | ".join(cells) + " |")
        shares = ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in found["path_step_profile"].items())
        profiles.append(f"- {shape}: {shares}")
    return "\n".join(lines) + "\n\nWhere the time of a path step goes:\n\n" + "\n".join(profiles)


def interval(found: dict[str, float], *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    mean, low, high = (format(100 * found[end], f"{sign}.1f") for end in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def gap(table: dict[str, Any], name: str) -> str:
    found = table[name]["gap_closed"]
    return f"{100 * found['mean']:.0f} % ({', '.join(f'{100 * share:.0f}' for share in found['by_seed'])})"


def span(values: list[float]) -> str:
    low, high = round(min(values)), round(max(values))
    return str(low) if low == high else f"{low}-{high}"
