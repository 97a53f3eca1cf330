import torch

from mamba_mender.stress.attacks import Attack, AttackOutcome


def outcome(correct, queries, notes=()):
    right = torch.tensor(correct)
    figures = {"images": float(len(right)), "robust_accuracy": right.double().mean().item(), "queries": queries}
    return AttackOutcome(Attack("pgd"), right, torch.zeros(len(right), 1, 1, 1), right.float(), figures, notes)


def test_batches_joined_are_weighted_by_their_images():
    joined = AttackOutcome.join([outcome([True], 10.0, ("a",)), outcome([False, False, True], 2.0, ("a", "b"))])
    assert joined.correct.tolist() == [True, False, False, True]
    assert joined.figures == {"images": 4.0, "robust_accuracy": 0.5, "queries": 4.0}
    assert joined.notes == ("a", "b")
    assert joined.accuracy.mean == 0.5
    assert joined.accuracy.contains(0.3)
    assert joined.adversarial.shape[0] == joined.distance.shape[0] == 4
