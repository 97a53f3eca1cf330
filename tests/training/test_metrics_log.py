from mamba_mender.training.metrics_log import MetricsLog, read_metrics


def test_a_resumed_log_drops_what_came_after_the_checkpoint(tmp_path):
    log = MetricsLog(tmp_path / "deep" / "metrics.jsonl")
    log.write({"step": 1})
    kept = log.size
    log.write({"step": 2, "loss": 1.0})
    again = MetricsLog(log.path, keep=kept)
    again.write({"step": 2, "loss": 2.0})
    assert read_metrics(log.path) == [{"step": 1}, {"step": 2, "loss": 2.0}]


def test_a_new_log_starts_empty(tmp_path):
    MetricsLog(tmp_path / "m.jsonl").write({"step": 1})
    MetricsLog(tmp_path / "m.jsonl")
    assert read_metrics(tmp_path / "m.jsonl") == []


def test_what_json_lacks_becomes_null(tmp_path):
    log = MetricsLog(tmp_path / "m.jsonl")
    log.write({"gain": float("nan")})
    assert read_metrics(log.path) == [{"gain": None}]


def test_no_path_writes_nothing():
    MetricsLog(None).write({"step": 1})
