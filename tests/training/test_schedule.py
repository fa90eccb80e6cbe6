import pytest

from redub.core.errors import ConfigError
from redub.training.schedule import NoamSchedule


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (1, 0.00625 * 4000**-1.5),  # 2.47e-8
        (4000, 9.882117688e-5),  # the peak: 0.00625 / sqrt(4000)
        (16_000, 9.882117688e-5 / 2),  # four times the steps, half the rate
        (300_000, 0.00625 / 300_000**0.5),
        (300_001, 0.00625 / 300_001**0.5 * 0.3),
        (500_001, 0.00625 / 500_001**0.5 * 0.027),
    ],
)
def test_the_published_curve(step, rate):
    assert NoamSchedule().learning_rate(step) == pytest.approx(rate, rel=1e-6)


def test_the_multiplier_is_not_a_learning_rate():
    highest = max(NoamSchedule().learning_rate(step) for step in range(1, 10_000))
    assert highest < 1e-4 < NoamSchedule().multiplier


@pytest.mark.parametrize("bad", [{"multiplier": 0.0}, {"warmup_steps": 0}])
def test_a_schedule_that_never_learns_is_refused(bad):
    with pytest.raises(ConfigError):
        NoamSchedule(**bad)
