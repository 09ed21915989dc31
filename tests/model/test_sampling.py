import torch

from model.config import SamplingParams
from model.sampling import sample


def draw(logits: list[float], n: int, **params: float) -> list[int]:
    generator = torch.Generator().manual_seed(1)
    sampling = SamplingParams(**params)  # type: ignore[arg-type]
    return [int(sample(torch.tensor([logits]), [sampling], [generator])[0]) for _ in range(n)]


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
    token, logp = sample(logits, [SamplingParams(top_k=1)], [torch.Generator()])
    assert int(token) == 0
    torch.testing.assert_close(logp.exp(), torch.tensor([0.7]))
