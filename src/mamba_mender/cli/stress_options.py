"""What the texts on the command line of `stress` mean."""

from typing import TYPE_CHECKING, Any

from mamba_mender._check import UserError, nearest

if TYPE_CHECKING:
    from mamba_mender.stress.attacks import Attack
    from mamba_mender.stress.faults import StateFault

BARE = "none"  # the model without any repair, which the others are compared with
GUARD = "guard"


def words(text: str | None) -> tuple[str, ...]:
    """Split names at commas; "none" and nothing are no name.

    Example:
        >>> words("tent, guard"), words("none"), words("")
        (('tent', 'guard'), (), ())
    """
    found = tuple(word.strip() for word in (text or "").split(",") if word.strip())
    return () if found == ("none",) else found


def numbers(text: str | None, option: str) -> tuple[float, ...]:
    """Read numbers with commas.

    Raises:
        UserError: one is no number.

    Example:
        >>> numbers("0.1,0.3", "--noise")
        (0.1, 0.3)
    """
    try:
        return tuple(float(word) for word in words(text))
    except ValueError:
        raise UserError(f"stress: {option} takes numbers with commas, such as 0.1,0.3, got {text!r}.") from None


def whole_numbers(text: str | None, option: str) -> tuple[int, ...]:
    """Read whole numbers with commas, and ranges of them.

    Raises:
        UserError: one is none.

    Example:
        >>> whole_numbers("1-3,5", "--severities")
        (1, 2, 3, 5)
    """
    found: list[int] = []
    for word in words(text):
        first, span, last = word.partition("-")
        last = last if span else first
        if not first.isdecimal() or not last.isdecimal():
            raise UserError(f"stress: {option} takes whole numbers, such as 1-5 or 1,3,5, got {text!r}.")
        found += range(int(first), int(last) + 1)
    return tuple(dict.fromkeys(found))


def corruptions(text: str) -> str | tuple[str, ...]:
    """Read the names of corruptions; "all" for the fifteen of ImageNet-C, "none" for no corruption."""
    return "all" if text.strip() == "all" else words(text)


def repairs(text: str) -> tuple[str, ...]:
    """Read the names of repairs; the bare model always comes first.

    Raises:
        UserError: a name is unknown.

    Example:
        >>> repairs("tent,guard")
        ('none', 'tent', 'guard')
    """
    from mamba_mender.repair.peers import PEERS

    known = (BARE, GUARD, *PEERS)
    found = dict.fromkeys((BARE, *words(text)))
    for name in found:
        if name not in known:
            raise UserError(f"stress: --repair has no {name!r}; {nearest(name, known)}.")
    return tuple(found)


def attacks(text: str, eps: str, eps_l2: str, *, repaired: bool, seed: int) -> tuple["Attack", ...]:
    """Read attacks, each at each budget of its norm.

    Every attack knows the repair: it goes through it, or through its smooth stand-in, and keeps each image's worst.
    If there is a repair, images made on the bare model, which is to say by an attack that ignores the repair, stand
    beside these.

    Args:
        text: names with commas, as `Attack.parse` takes them.
        eps, eps_l2: budgets with commas, such as "8/255", for either norm.
        repaired: a repair is among the models.
        seed: of the random starts.

    Raises:
        UserError: an attack or a budget cannot be read.

    Example:
        >>> [attack.label for attack in attacks("fgsm,cw", "8/255", "0.5", repaired=True, seed=0)]
        ['fgsm-linf-1x1-adaptive', 'cw-l2-100x1-adaptive', 'transfer-linf-20x1-from-none']
    """
    from mamba_mender.stress.attacks import Attack

    found: list[Attack] = []
    for word in words(text):
        ignorant = word.startswith("transfer")
        settings = {"source": BARE} if ignorant else {"adaptive": True}
        budgets = {"linf": words(eps), "l2": words(eps_l2)}[Attack.parse(word).norm]
        if not budgets:
            raise UserError(f"stress: the attack {word!r} has no budget; give one, such as --eps 8/255.")
        found += [Attack.parse(word, eps=budget, seed=seed, **settings) for budget in budgets]
    if repaired and found and not any(attack.name == "transfer" for attack in found):
        norms = dict.fromkeys((attack.norm, attack.eps) for attack in found)
        chosen = [pair for pair in norms if pair[0] == "linf"] or list(norms)
        found += [Attack("transfer", norm=norm, eps=budget, source=BARE, seed=seed) for norm, budget in chosen]
    return tuple(found)


def faults(text: str) -> tuple["StateFault", ...]:
    """Read faults in the state, KIND:RATE@BLOCK.STATE with commas.

    KIND may name the bits of a flip, as in bit_flip-exponent. Without BLOCK the fault is in every block that has the
    state; without @ it is in every block's "h".

    Raises:
        UserError: one cannot be read.

    Example:
        >>> [(fault.label, fault.rate) for fault in faults("bit_flip:0.01@2.h,nan:0.001")]
        [('bit_flip-any-h-2', 0.01), ('nan-h-all', 0.001)]
    """
    return tuple(_fault(word) for word in words(text))


def _fault(text: str) -> "StateFault":
    from mamba_mender.stress.faults import StateFault

    what, _, place = text.partition("@")
    kind, _, rate = what.partition(":")
    kind, _, bits = kind.partition("-")
    parts = place.split(".") if place else []
    block = None
    if parts == ["embedding"]:
        block, parts = -1, ["h"]
    elif parts and parts[0].isdecimal():
        block = int(parts.pop(0))
    if len(parts) > 2 or not _is_number(rate):
        raise UserError(f"stress: a fault is KIND:RATE@BLOCK.STATE, such as bit_flip:0.01@2.h, got {text!r}.")
    where: dict[str, Any] = dict(zip(("state", "direction"), parts, strict=False)) | ({"bits": bits} if bits else {})
    return StateFault(kind, float(rate), block=block, **where)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
