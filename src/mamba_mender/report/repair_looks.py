"""How each repair under test is drawn and named."""

from mamba_mender.report.palette import INK, Look

REPAIRS = {
    "none": Look("#8b8f98", "o", "none", "the bare model"),
    "guard": Look("#109a72", "D", "guard", "the state guard: unhealthy states are set back to healthy moments"),
    "median_filter": Look("#dd9a1d", "s", "median filter", "each pixel becomes the median of its neighbours"),
    "norm_statistics": Look("#b5739d", "v", "norm statistics", "norm layers take the moments of the batch"),
    "tent": Look("#2f7fc1", "^", "TENT", "norm layers learn to give sure answers"),
    "eata": Look("#d9622b", "P", "EATA", "TENT on reliable, varied images, held near the source"),
    "sar": Look("#7d4e6d", "X", "SAR", "TENT on reliable images, with sharpness-aware steps and recovery"),
    "t3a": Look("#a0622d", "p", "T3A", "class prototypes from the surest features"),
    "lame": Look("#5b6ee1", "h", "LAME", "neighbours in a batch are made to agree"),
    "memo": Look("#3aa6b9", "*", "MEMO", "each image alone, by views of it that are made to agree"),
}
OTHERS = ("#109a72", "#2f7fc1", "#d9622b", "#dd9a1d", "#5b6ee1", "#b5739d", "#a0622d", "#3aa6b9")
MARKS = "D^Psv*ph"


def look_of(model: str, models: list[str]) -> Look:
    """Give the look of a model under test; one that is no repair of ours is drawn by its place among the models.

    Example:
        >>> look_of("tent", ["none", "tent"]).label, look_of("vim", ["vim"]).colour
        ('TENT', '#109a72')
    """
    if model in REPAIRS:
        return REPAIRS[model]
    if model not in models:
        return Look(INK, "X", model, "")
    place = [name for name in models if name not in REPAIRS].index(model)
    return Look(OTHERS[place % len(OTHERS)], MARKS[place % len(MARKS)], model, "")
