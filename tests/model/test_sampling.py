from dataclasses import replace

import torch

from model.config import SamplingParams
from model.sampling import sample


def draw(logits: list[float], n: int, **params: float) -> list[int]:
    """`n` tokens at the positions 0 to n - 1 of one sequence, always after the same text."""
    sampling = SamplingParams(seed=1, **params)  # type: ignore[arg-type]
    tokens, _ = sample(torch.tensor([logits]).expand(n, -1), [sampling] * n, range(n))
    return tokens.tolist()


def test_frequencies_follow_the_probabilities() -> None:
    p = torch.tensor([0.5, 0.3, 0.2])
    counts = torch.bincount(torch.tensor(draw(p.log().tolist(), 4000, temperature=1.0, top_k=0)))
    torch.testing.assert_close(counts / 4000, p, atol=0.03, rtol=0)


def test_temperature_zero_takes_the_best() -> None:
    assert draw([0.1, 2.0, 1.9], 5, temperature=0) == [1] * 5


def test_top_k_and_top_p_leave_out_the_rest() -> None:
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log().tolist()
    assert set(draw(logits, 300, temperature=1.0, top_k=2)) == {0, 1}
    assert set(draw(logits, 300, temperature=1.0, top_k=0, top_p=0.65)) == {0, 1}
    assert set(draw(logits, 300, temperature=1.0, top_k=0)) == {0, 1, 2, 3}


def test_the_log_probability_is_that_of_the_whole_vocabulary() -> None:
    logits = torch.tensor([[0.7, 0.2, 0.1]]).log()
    token, logp = sample(logits, [SamplingParams(top_k=1)], [0])
    assert int(token) == 0
    torch.testing.assert_close(logp.exp(), torch.tensor([0.7]))


def test_a_row_is_drawn_alike_in_any_company() -> None:
    logits = torch.randn(30, 50, generator=torch.Generator().manual_seed(0))
    params = [
        SamplingParams(seed=i, top_k=(3, 10, 0)[i % 3], top_p=(1.0, 0.7)[i % 2]) for i in range(30)
    ]
    together = sample(logits, params, range(30))[0].tolist()
    alone = [int(sample(logits[i : i + 1], [params[i]], [i])[0]) for i in range(30)]
    assert together == alone


def test_seeds_and_positions_are_independent() -> None:
    """Neighbouring seeds, and neighbouring positions of one seed, agree as often as chance has it: 1 in 8."""
    logits = torch.zeros(4000, 8)
    plain = SamplingParams(temperature=1.0, top_k=0)
    by_seed = sample(logits, [replace(plain, seed=i) for i in range(4000)], [5] * 4000)[0]
    by_position = sample(logits, [plain] * 4000, range(4000))[0]
    for drawn in (by_seed, by_position):
        assert abs(float((drawn[1:] == drawn[:-1]).float().mean()) - 1 / 8) < 0.025
        assert float(torch.bincount(drawn, minlength=8).max()) < 4000 / 8 * 1.15


def test_a_large_seed_is_a_seed() -> None:
    assert draw([0.0] * 50, 20, temperature=1.0) != [0] * 20
    large = [SamplingParams(seed=2**63 - 1 - i, temperature=1.0, top_k=0) for i in range(40)]
    assert len(set(sample(torch.zeros(40, 1000), large, [2**40] * 40)[0].tolist())) > 30


def test_a_broken_model_still_draws_a_token() -> None:
    """Numbers that are none must not become an index into nothing."""
    broken = torch.full((4, 60), torch.nan)
    ways = [SamplingParams(top_k=k, top_p=p) for k in (0, 40) for p in (1.0, 0.9)]
    assert all(0 <= token < 60 for token in sample(broken, ways, [0] * 4)[0].tolist())
