from typing import Any

import numba
import numpy as np
import pytest

from model import kernels
from model.compiled import Array
from model.kernels import LANES

RANDOM = np.random.default_rng(0)


def multiply(x: Array, numbers: Array, step: Array, bias: Array, n_threads: int = 2) -> Array:
    filled = np.pad(numbers, ((0, 0), (0, -numbers.shape[1] % LANES)))
    y = np.full((len(x), len(numbers)), np.nan, np.float32)
    kernels.multiply(x, filled, step, bias, n_threads, y)
    return y


@pytest.mark.parametrize("n_rows", [1, 2, 3, 64, 65, 130])
@pytest.mark.parametrize(("n_columns", "width"), [(4, 16), (5, 7), (33, 50), (64, 48), (7, 1)])
def test_a_product_is_that_of_the_weights(n_rows: int, n_columns: int, width: int) -> None:
    """Of every shape, and off by the rounding of its inputs only: half a step of 15 bits for each."""
    x = RANDOM.normal(size=(n_rows, width)).astype(np.float32)
    numbers = RANDOM.integers(-127, 128, (n_columns, width)).astype(np.int8)
    step = RANDOM.uniform(0.001, 0.1, n_columns).astype(np.float32)
    bias = RANDOM.normal(size=n_columns).astype(np.float32)
    weight = numbers.astype(np.float64) * step[:, None]
    most = 0.51 * np.abs(x).max(axis=1, keepdims=True) / 32767 * np.abs(weight).sum(axis=1) + 1e-5
    assert (np.abs(multiply(x, numbers, step, bias) - (x @ weight.T + bias)) <= most).all()


@pytest.mark.parametrize("lanes", [16, 32])
@pytest.mark.parametrize("n_rows", [1, 2])
def test_every_width_of_the_innermost_product_is_exact(lanes: int, n_rows: int) -> None:
    """Of one processor and of another."""
    block = kernels.new_block(n_rows, lanes)

    def run(x: Array, one: Array, weight: Array, y: Array) -> None:
        block(x, one, 0, weight, one, one, 1, y)

    not_kept: Any = numba.njit(run)
    x = RANDOM.integers(-30000, 30001, (n_rows, 96)).astype(np.int16)
    weight = RANDOM.integers(-5, 6, (5, 96)).astype(np.int8)
    y, one = np.zeros((n_rows, 5), np.float32), np.ones(5, np.float32)
    not_kept(x, one, weight, y)
    np.testing.assert_array_equal(y[:, 0], 0)
    np.testing.assert_array_equal(y[:, 1:], x.astype(np.int64) @ weight[1:].T.astype(np.int64) + 1)


@pytest.mark.parametrize("width", [512, 1024, 14336])
def test_no_sum_is_too_large(width: int) -> None:
    """The greatest of inputs and weights, all of one sign."""
    x = np.full((2, width), 3.5, np.float32)
    x[1] = -x[0]
    numbers, one = np.full((4, width), 127, np.int8), np.ones(4, np.float32)
    y = multiply(x, numbers, one, np.zeros(4, np.float32))
    np.testing.assert_allclose(y, np.outer([1, -1], 3.5 * 127 * width * one), rtol=1e-3)


def test_a_row_of_zeros_gives_the_bias() -> None:
    numbers, one = np.full((4, 16), 9, np.int8), np.ones(4, np.float32)
    y = multiply(np.zeros((1, 16), np.float32), numbers, one, 2 * one)
    np.testing.assert_array_equal(y, 2)


def test_a_row_is_multiplied_alone_as_among_others() -> None:
    x = RANDOM.normal(size=(9, 40)).astype(np.float32)
    x[3] *= 1000  # each row has a step of its own
    numbers = RANDOM.integers(-127, 128, (12, 40)).astype(np.int8)
    step = RANDOM.uniform(0.001, 0.1, 12).astype(np.float32)
    together = multiply(x, numbers, step, step)
    for n in range(9):
        np.testing.assert_array_equal(multiply(x[n : n + 1], numbers, step, step)[0], together[n])


@pytest.mark.parametrize("n_rows", [1, 8, 200])
@pytest.mark.parametrize("n_threads", [1, 3, 16])
def test_a_product_does_not_depend_on_the_threads(n_rows: int, n_threads: int) -> None:
    """Whoever takes a piece, each is done, in whatever portions."""
    x = RANDOM.normal(size=(n_rows, 40)).astype(np.float32)
    numbers = RANDOM.integers(-127, 128, (150, 40)).astype(np.int8)
    step = RANDOM.uniform(0.001, 0.1, 150).astype(np.float32)
    y = multiply(x, numbers, step, step, n_threads)
    np.testing.assert_array_equal(y, multiply(x, numbers, step, step))


def test_exponentials_of_a_loop_are_exponentials() -> None:
    def loop(x: Array, y: Array) -> None:
        for i in range(len(x)):
            y[i] = kernels.exp(x[i])

    x = np.linspace(-87, 88, 100_001, dtype=np.float32)
    y = np.empty_like(x)
    not_kept: Any = numba.njit(fastmath=True, error_model="numpy")(loop)
    not_kept(x, y)
    np.testing.assert_allclose(y, np.exp(x.astype(np.float64)), rtol=5e-6)
    near = np.abs(x) < 5
    np.testing.assert_allclose(y[near], np.exp(x[near].astype(np.float64)), rtol=5e-7)
    assert kernels.exp(np.float32(-1000)) < 1e-37
    assert kernels.exp(np.float32(0)) == 1
