import pytest

from mamba_mender.training.config import TrainConfig


def test_counts_steps():
    assert TrainConfig(steps=7).total_steps(100) == 7
    assert TrainConfig(epochs=0.5).total_steps(10) == 5
    assert TrainConfig(epochs=3, accumulate=2).total_steps(5) == 8
    assert TrainConfig().total_steps(3) == 30


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 1, "epochs": 1}, "steps or epochs, not both"),
        ({"steps": 0}, "steps must be positive or None, got 0"),
        ({"clip": -1.0}, "clip must be positive or None"),
        ({"batch_size": 0}, "batch_size must be positive"),
        ({"warmup": 1.0}, r"warmup must lie in \[0, 1\)"),
        ({"ema": 1.0}, r"ema must lie in \[0, 1\)"),
        ({"min_learning_rate": 1.0}, "min_learning_rate must lie between 0 and learning_rate=0.001, got 1.0"),
        ({"weight_decay": -0.1}, "weight_decay must not be negative"),
        ({"precision": "fp16"}, "precision must be 'fp32' or 'bf16', got 'fp16'"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_names_the_bad_setting(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**settings)
