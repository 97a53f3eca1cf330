"""What causal discovery makes of the blocks' outputs, graded against what interventions show."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mamba_mender._check import need
from mamba_mender.inspection.causality.effect_graph import EffectGraph
from mamba_mender.inspection.causality.observe import observe, places_of
from mamba_mender.inspection.result import Result


@dataclass(frozen=True)
class GraphGrade(Result):
    """A graph against the truth.

    precision: share of its edges that are true; NaN if it has none. recall: share of the true edges it has; NaN if
    there is none. distance: edges to add or remove (structural Hamming distance; a turned edge counts once).
    """

    precision: float
    recall: float
    distance: int


@dataclass(frozen=True)
class DiscoveredGraph(Result):
    """Causal discovery between blocks, beside the truth and two rivals that know nothing of causes.

    blocks: rows (cause) and columns (effect). truth, found, by_variance: edges, (causes, effects), bool.
    grades: of "discovery" (PC, told the order of the blocks), "sort by variance" (regression on the blocks with less
    variance) and "random" (as many edges as PC's at random in the order of the blocks; the mean of 1000).
    variances: of each block's variable before it was standardised, (blocks).
    samples: how many rows discovery saw.

    If :attr:`complete`, no grade says anything: whatever is drawn in the order of the blocks, also at random, is true.
    """

    blocks: list[int]
    truth: Tensor
    found: Tensor
    by_variance: Tensor
    grades: dict[str, GraphGrade]
    variances: Tensor
    samples: int

    @property
    def complete(self) -> bool:
        """Whether the truth has every edge that the order of the blocks allows."""
        rows, columns = self.truth.shape
        return bool(self.truth[torch.triu_indices(rows, columns, 1).unbind()].all())


def block_variables(model: nn.Module, inputs: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Reduce each block's output y to one number a token: its component along the direction of most variance.

    Args:
        model: any model that :func:`mamba_mender.taps.edit` takes.
        inputs: images or token numbers.
        mask: True at real tokens, (batch, length).

    Returns:
        (samples, blocks), a row for each real token.
    """
    columns = []
    for values in observe(model, inputs, "y", places_of(model, "y"), mask=mask).values.values():
        rows = (values.flatten(0, 1) if mask is None else values[mask.bool()]).double()
        rows = rows - rows.mean(0)
        columns.append(rows @ torch.linalg.svd(rows, full_matrices=False).Vh[0])
    return torch.stack(columns, 1)


def discover_graph(
    variables: Tensor,
    truth: EffectGraph,
    *,
    threshold: float = 0.01,
    share: float = 0.5,
    level: float = 0.01,
    seed: int = 0,
) -> DiscoveredGraph:
    """Let PC find edges between blocks, and grade them by the effects of interventions.

    PC is told the order of the blocks, and sees standardised variables: what grows along the residual stream, its
    norm, would else give the order away without any cause being found. It reads correlations of finite samples and
    cannot see what interventions see; the grade says how far that goes.

    In a network nearly every block moves every later one by more than nothing. An edge of the truth is therefore a
    direct effect of at least ``share`` of the median of those above ``threshold``. Where all are that large, the
    truth is complete and the grades say nothing (:attr:`DiscoveredGraph.complete`).

    Args:
        variables: a column for each block, in the order of ``truth.blocks``, (samples, blocks).
        truth: from :func:`effect_graph`.
        threshold: relative change of y up to which a direct effect is none.
        share: of the median direct effect above the threshold, from which one is an edge of the truth; 0 takes all
            above the threshold.
        level: significance level of PC's tests of partial correlation.
        seed: of the random graphs.

    Returns:
        The graph found, the truth, and the grades of both rivals.

    Raises:
        ModuleNotFoundError: causal-learn is not installed.
        ValueError: shapes disagree, a block's variable does not vary, or threshold or share is negative.

    Source: Spirtes, Glymour & Scheines (2000), section 5.4.2; Reisach, Seiler & Weichwald, "Beware of the simulated
    DAG" (arXiv:2102.13647), for sorting by variance.
    """
    count = len(truth.blocks)
    if variables.dim() != 2 or variables.shape[1] != count or len(variables) <= count + 3:
        raise ValueError(
            f"discover_graph: variables must be (samples, {count} blocks) with more samples than blocks + 3, got "
            f"shape {tuple(variables.shape)}."
        )
    if threshold < 0 or share < 0:
        raise ValueError(f"discover_graph: threshold and share must be 0 or more, got {threshold} and {share}.")
    exact = variables.detach().double().cpu()
    variances = exact.var(0)
    if not bool((variances > 0).all()):
        raise ValueError("discover_graph: a block's variable is constant; give inputs on which every block varies.")
    standard = (exact - exact.mean(0)) / variances.sqrt()
    real = _edges(truth, threshold, share)
    found = _pc(standard, level)
    sorted_ = _by_variance(standard, variances)
    grades = {
        "discovery": grade(found, real),
        "sort by variance": grade(sorted_, real),
        "random": _random(int(found.sum()), real, seed),
    }
    return DiscoveredGraph(truth.blocks, real, found, sorted_, grades, variances, len(exact))


def _edges(truth: EffectGraph, threshold: float, share: float) -> Tensor:
    above = truth.edges(threshold)
    if not above.any():
        return above
    return above & (truth.direct >= share * truth.direct[above].quantile(0.5))


def grade(found: Tensor, truth: Tensor) -> GraphGrade:
    """Compare two graphs, (causes, effects), bool, edge by edge.

    Example:
        >>> edge = torch.tensor([[False, True], [False, False]])
        >>> grade(edge, edge), grade(edge.T, edge).distance
        (GraphGrade(precision=1.0, recall=1.0, distance=0), 1)
    """
    hits, said, real = int((found & truth).sum()), int(found.sum()), int(truth.sum())
    wrong = found ^ truth
    turned = int((found & truth.T & ~truth & ~found.T).sum())
    return GraphGrade(
        precision=hits / said if said else float("nan"),
        recall=hits / real if real else float("nan"),
        distance=int(wrong.sum()) - turned,
    )


def _pc(standard: Tensor, level: float) -> Tensor:
    """Run PC with the order of the blocks as background knowledge."""
    pc = need("causallearn.search.ConstraintBased.PC", extra="inspect", where="discover_graph").pc
    graph_node = need("causallearn.graph.GraphNode", extra="inspect", where="discover_graph").GraphNode
    knowledge_of = need("causallearn.utils.PCUtils.BackgroundKnowledge", extra="inspect", where="discover_graph")
    names = [f"block {i}" for i in range(standard.shape[1])]
    knowledge = knowledge_of.BackgroundKnowledge()
    for tier, name in enumerate(names):
        knowledge.add_node_to_tier(graph_node(name), tier)
    result = pc(
        standard.numpy(), level, "fisherz", background_knowledge=knowledge, node_names=names, show_progress=False
    )
    adjacency = torch.from_numpy(result.G.graph)  # [j, i] = 1 and [i, j] = -1: an arrow from i to j
    return ((adjacency != 0) | (adjacency.T != 0)).triu(1)  # the order says where every edge points


def _by_variance(standard: Tensor, variances: Tensor) -> Tensor:
    """Sort by variance, and draw an edge wherever a regression on those before gives a clear coefficient."""
    order = variances.argsort().tolist()
    found = torch.zeros(len(order), len(order), dtype=torch.bool)
    for place, effect in enumerate(order[1:], start=1):
        causes = order[:place]
        design = standard[:, causes]
        fit = torch.linalg.lstsq(design, standard[:, effect, None]).solution[:, 0]
        rest = standard[:, effect] - design @ fit
        spread = torch.linalg.pinv(design.T @ design).diagonal() * rest.square().sum() / (len(design) - place - 1)
        for cause, t in zip(causes, (fit.abs() / spread.sqrt().clamp_min(1e-300)).tolist(), strict=True):
            found[cause, effect] = t > 3
    return found


def _random(edges: int, truth: Tensor, seed: int, draws: int = 1000) -> GraphGrade:
    count = len(truth)
    places = torch.triu_indices(count, count, 1)
    draw = torch.Generator().manual_seed(seed)
    grades = []
    for _ in range(draws):
        chosen = torch.randperm(places.shape[1], generator=draw)[:edges]
        graph = torch.zeros_like(truth)
        graph[places[0, chosen], places[1, chosen]] = True
        grades.append(grade(graph, truth))
    mean = {name: sum(getattr(g, name) for g in grades) / draws for name in ("precision", "recall", "distance")}
    return GraphGrade(mean["precision"], mean["recall"], round(mean["distance"]))
