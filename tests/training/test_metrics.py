"""What is recorded: known metrics only, and cut back to the checkpoint on resume."""

import pytest

from espalier.errors import TrainingError
from espalier.training.metrics import Recorder, read_metrics


def test_a_metric_without_an_entry_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="lossy"):
        Recorder(tmp_path).write(0, {"lossy": 1.0}, {})


def test_resume_keeps_rows_up_to_the_checkpoint_and_drops_a_torn_one(tmp_path):
    recorder = Recorder(tmp_path)
    for step in range(5):
        recorder.write(step, {"loss": float(step)}, {"seconds": 1.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    Recorder(tmp_path, resume_after=2)
    assert [row["step"] for row in read_metrics(tmp_path)] == [0, 1, 2]


def test_a_new_run_starts_with_no_rows(tmp_path):
    Recorder(tmp_path).write(0, {"loss": 1.0}, {"seconds": 1.0})
    Recorder(tmp_path)
    assert read_metrics(tmp_path) == []
