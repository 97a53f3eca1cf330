import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import fractional_matrix_power
from torch.overrides import TorchFunctionMode

from mamba_mender.repair.guard import matrix_power as matrix_power_module
from mamba_mender.repair.guard.matrix_power import matrix_power, roots, shrink

SEEDS = st.integers(0, 999)


@given(SEEDS, st.sampled_from([0.5, -0.5, -1.0, 0.3]))
def test_powers_are_scipys(draw_law, seed, exponent):
    matrix = draw_law(seed).scatter
    for got, given_ in zip(matrix_power(matrix, exponent), matrix, strict=True):
        expected = torch.from_numpy(fractional_matrix_power(given_.numpy(), exponent).real)
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


@given(SEEDS, st.floats(-1, 1), st.floats(-1, 1))
def test_exponents_add_up(draw_law, seed, a, b):
    matrix = draw_law(seed).scatter
    torch.testing.assert_close(
        matrix_power(matrix, a) @ matrix_power(matrix, b), matrix_power(matrix, a + b), rtol=1e-9, atol=1e-9
    )


def test_a_direction_without_spread_stays_finite():
    matrix = torch.diag(torch.tensor([4.0, 0.0]))
    assert matrix_power(matrix, -0.5)[1, 1].item() == pytest.approx((4e-10) ** -0.5)
    assert matrix_power(torch.zeros(2, 2), 0.5).isfinite().all()


def test_the_dtype_is_kept():
    assert matrix_power(torch.eye(2), 0.5).dtype == torch.float32


def test_a_matrix_that_is_not_finite_gives_no_number():
    assert matrix_power(torch.full((2, 2), float("nan")), 0.5).isnan().all()


@given(SEEDS)
def test_roots_are_those_by_eigenvalues(draw_law, seed):
    matrix = draw_law(seed, channels=6).scatter
    root, inverse = roots(matrix)
    torch.testing.assert_close(root, matrix_power(matrix, 0.5), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(inverse, matrix_power(matrix, -0.5), rtol=1e-9, atol=1e-9)


def test_roots_hold_up_to_the_condition_number_they_claim():
    matrix = torch.diag(torch.tensor([1e8, 1.0, 1e4], dtype=torch.float64))
    root, inverse = roots(matrix)
    torch.testing.assert_close(root.diagonal(), matrix.diagonal().sqrt(), rtol=1e-5, atol=0)
    torch.testing.assert_close(inverse.diagonal(), matrix.diagonal().rsqrt(), rtol=1e-5, atol=0)


@given(SEEDS, st.integers(1, 4))
def test_an_early_end_changes_neither_roots_nor_their_gradients(seed, digits):
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(2, 5, 5, dtype=torch.float64, generator=generator)).Q
    values = torch.stack([torch.logspace(0, -d, 5, dtype=torch.float64) for d in (digits, 0.1)])[:, None]
    matrix = ((basis * values) @ basis.mT).requires_grad_()
    weights = torch.randn(2, 2, 5, 5, dtype=torch.float64, generator=generator)

    def found(done):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(matrix_power_module, "DONE", done)
            both = torch.stack(roots(matrix))
        return both, torch.autograd.grad((weights * both).sum(), matrix)[0]

    for early, late in zip(found(matrix_power_module.DONE), found(0.0), strict=True):
        assert (early - late).norm() < 1e-8 * late.norm()


def test_no_matrices_have_no_roots():
    assert roots(torch.zeros(0, 3, 3))[0].shape == (0, 3, 3)


def test_a_matrix_of_little_condition_takes_few_products():
    calls = 0

    class Counting(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            nonlocal calls
            calls += func in (torch.Tensor.matmul, torch.Tensor.__matmul__)
            return func(*args, **(kwargs or {}))

    with Counting():
        roots(torch.eye(4).double())
    assert 0 < calls <= 3 * 12


def test_roots_have_the_right_gradient_also_of_equal_eigenvalues():
    free = torch.randn(1, 2, 2, dtype=torch.float64, requires_grad=True)

    def both(free):
        return roots(free @ free.mT + torch.eye(2, dtype=torch.float64))

    assert torch.autograd.gradcheck(both, free)
    same = torch.zeros(1, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: roots((x + x.mT) / 2 + torch.eye(2, dtype=torch.float64)), same)


@given(SEEDS, st.floats(0.01, 0.99))
def test_shrinking_keeps_the_trace_and_bounds_the_condition_number(seed, share):
    tall = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    matrix = tall @ tall.mT  # of rank 2
    shrunk = shrink(matrix, share)
    assert shrunk.trace().item() == pytest.approx(matrix.trace().item())
    values = torch.linalg.eigvalsh(shrunk)
    assert values[-1] / values[0] <= ((1 - share) * 5 + share) / share + 1e-6
