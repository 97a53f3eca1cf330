"""The loop behind train: steps, evaluations, checkpoints."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor, nn

from mamba_mender._check import UserError
from mamba_mender._progress import ProgressLine
from mamba_mender.data import Batch, ImageSet
from mamba_mender.training import checkpoint
from mamba_mender.training.batches import Batches
from mamba_mender.training.config import TrainConfig
from mamba_mender.training.ema import EMA
from mamba_mender.training.evaluate import Evaluation, evaluate, summarise
from mamba_mender.training.metrics_log import MetricsLog, read_metrics
from mamba_mender.training.random_states import random_states, set_random_states
from mamba_mender.training.run import Run
from mamba_mender.training.step import Criterion, Step, StepContext

Metric = Callable[[nn.Module, Evaluation], float]
CHANGEABLE = {"learning_rate", "min_learning_rate", "clip", "precision", "save_every", "log_every", "workers"}


@dataclass
class Loop:
    """Hold what a run works with; :meth:`go` runs it."""

    run: Run
    accelerator: Accelerator
    model: nn.Module  # what is called: run.model, or its DDP wrapper
    optimiser: torch.optim.Optimizer  # bare: accelerate's wrapper looks for packages on the disk at every step
    batches: Batches
    validation: ImageSet
    normalise: Callable[[Tensor], Tensor]
    criterion: Criterion
    step: Step
    schedule: Callable[[int, int], float]
    metrics: Mapping[str, Metric]
    callbacks: Sequence[Any]
    identity: dict[str, Any]  # what a checkpoint must agree on
    progress: bool
    ema: EMA | None = None
    best_weights: dict[str, Tensor] | None = None
    seconds: float = 0.0
    saved_at: int = -1
    log: MetricsLog = field(default_factory=lambda: MetricsLog(None))

    @property
    def config(self) -> TrainConfig:
        return self.run.config

    @property
    def checkpoints(self) -> Path | None:
        return None if self.run.out is None else self.run.out / "checkpoints"

    def go(self, *, resume: bool) -> None:
        """Run from the start or the last checkpoint to the end, and leave the chosen weights in the model."""
        run, config = self.run, self.config
        self.ema = EMA(run.model, config.ema) if config.ema else None
        peaks = [group["lr"] for group in self.optimiser.param_groups]
        if not (resume and self._load()):
            self._open_log(0)
            self._tell("on_start")
            self._save()
        else:
            self._tell("on_start")
        evaluate_every = config.evaluate_every or max(1, math.ceil(self.batches.per_epoch / config.accumulate))
        stream = self.batches.starting_at(run.step * config.accumulate)
        began, before = time.monotonic(), self.seconds
        run.model.train()
        with ProgressLine(run.steps, done=run.step, shown=self.progress and self.accelerator.is_main_process) as line:
            while run.step < run.steps and not run.stopping:
                rate = self._set_rate(peaks)
                tick = time.monotonic()
                logs = self._step(stream)
                run.step += 1
                images = config.accumulate * self.batches.batch_size * self.batches.processes
                logs |= {"learning_rate": rate, "images_per_second": images / max(time.monotonic() - tick, 1e-9)}
                line.advance(run.step, rate=logs["images_per_second"], **_pick(logs, "loss", "accuracy"))
                if run.step % config.log_every == 0 or run.step == run.steps:
                    self._log("step", logs)
                self._tell("on_step_end", run.step, logs)
                if run.step % evaluate_every == 0 or run.step == run.steps:
                    self._evaluate()
                self.seconds = before + time.monotonic() - began
                due = run.step % (config.save_every or evaluate_every) == 0
                if due or run.stopping or run.step == run.steps:
                    self._save()
        self._tell("on_end")
        self._take_best()

    def _set_rate(self, peaks: list[float]) -> float:
        """Set each group's learning rate for the coming step; give the first group's."""
        factor = self.schedule(self.run.step, self.run.steps)
        for group, peak in zip(self.optimiser.param_groups, peaks, strict=True):
            group["lr"] = peak * factor
        return self.optimiser.param_groups[0]["lr"]

    def _step(self, stream: Iterator[Batch]) -> dict[str, float]:
        """Take one optimiser step over `accumulate` batches; weights are untouched if anything is not finite."""
        config, device = self.config, self.accelerator.device
        totals: dict[str, Tensor] = {}
        for part in range(config.accumulate):
            batch = next(stream)
            if device.type != "cpu":
                batch = batch.to(device, non_blocking=True)
            last = part == config.accumulate - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model):
                with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
                    images = self.normalise(batch.images)
                    logs = self.step(StepContext(self.model, batch, images, self.criterion, self.run.step))
                _check_logs(logs)
                self.accelerator.backward(logs["loss"] / config.accumulate)
            for name, value in logs.items():
                value = value.detach() if isinstance(value, Tensor) else torch.tensor(value, device=device)
                totals[name] = totals.get(name, 0) + value.float() / config.accumulate
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, config.clip or math.inf)
        stacked = torch.stack([*totals.values(), norm.float()])
        if self.batches.processes > 1:
            stacked = self.accelerator.reduce(stacked, "mean")
        numbers = dict(zip([*totals, "gradient_norm"], stacked.tolist(), strict=True))  # pyright: ignore
        if not (math.isfinite(numbers["loss"]) and math.isfinite(numbers["gradient_norm"])):
            self.optimiser.zero_grad()
            raise UserError(self._not_finite(numbers))
        self.optimiser.step()
        self.optimiser.zero_grad()
        if self.ema is not None:
            self.ema.update(self.run.model)
        return numbers

    def _not_finite(self, numbers: dict[str, float]) -> str:
        what = "loss" if not math.isfinite(numbers["loss"]) else "gradient_norm"
        kept = None if self.checkpoints is None else checkpoint.last_checkpoint(self.checkpoints)
        after = f"the last good checkpoint is {kept}" if kept else "no folder was given, so there is no checkpoint"
        return (
            f"train: the {what.replace('_', ' ')} is {numbers[what]} at step {self.run.step + 1}, with learning rate "
            f"{self.optimiser.param_groups[0]['lr']:.3g}; stopped before the weights changed, {after}. "
            f"Lower learning_rate (now {self.config.learning_rate:.3g}) or clip (now {self.config.clip}) and go on "
            f"with resume=True (--resume)."
        )

    def _evaluate(self) -> None:
        """Judge the weights on the validation images; note them down if they are the best."""
        run, config = self.run, self.config
        if len(self.validation) == 0:
            return
        with self.ema.applied(run.model) if self.ema else contextlib.nullcontext():
            run.evaluation = self._run_validation()
            found = {"accuracy": run.evaluation.accuracy, "loss": run.evaluation.loss}
            found |= {name: float(metric(run.model, run.evaluation)) for name, metric in self.metrics.items()}
            if config.best_by not in found:
                raise UserError(f"train: best_by={config.best_by!r} is none of the metrics {sorted(found)}.")
            if not run.best or found[config.best_by] > run.best[config.best_by]:
                run.best = {"step": run.step, **found}
                self.best_weights = {n: t.detach().cpu().clone() for n, t in run.model.state_dict().items()}
            self._log("evaluation", found)
            self._tell("on_evaluation", run.step, found)
        run.model.train()

    def _run_validation(self) -> Evaluation:
        """Evaluate, each process on its share of the images."""
        size, rank, count = max(self.config.batch_size, 256), self.accelerator.process_index, self.batches.processes
        if count == 1:
            return evaluate(self.run.model, self.validation, normalise=self.normalise, batch_size=size)
        share = torch.arange(rank, len(self.validation), count)
        mine = evaluate(self.run.model, self.validation.subset(share), normalise=self.normalise, batch_size=size)
        parts = gather_object([(share, mine.probabilities.log(), mine.labels)])
        order = torch.cat([part[0] for part in parts]).argsort()
        logits, labels = (torch.cat([part[i] for part in parts])[order] for i in (1, 2))
        return summarise(logits, labels)

    def _tell(self, event: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            method = getattr(callback, event, None)
            if method is not None:
                method(self.run, *arguments)

    def _log(self, kind: str, numbers: dict[str, float]) -> None:
        epoch = self.run.step * self.config.accumulate / self.batches.per_epoch
        entry = {"kind": kind, "step": self.run.step, "epoch": round(epoch, 4), **numbers}
        self.run.history.append(entry)
        self.log.write(entry)

    def _open_log(self, keep: int) -> None:
        if self.run.out is not None and self.accelerator.is_main_process:
            self.log = MetricsLog(self.run.out / "metrics.jsonl", keep)

    def _save(self) -> None:
        """Save a checkpoint, once a step."""
        if self.checkpoints is None or self.saved_at == self.run.step:
            return
        self.saved_at = self.run.step
        generators = gather_object([random_states()]) if self.batches.processes > 1 else [random_states()]
        if self.accelerator.is_main_process:
            optimiser, rest = checkpoint.split_optimiser(self.optimiser)
            tensors = {"model": self.run.model.state_dict(), "optimiser": optimiser}
            if self.ema is not None:
                tensors["ema"] = self.ema.average
            if self.best_weights is not None:
                tensors["best"] = self.best_weights
            state = {
                "step": self.run.step,
                "config": self.config.to_dict(),
                "identity": self.identity,
                "best": self.run.best,
                "optimiser": rest,
                "ema_updates": self.ema.updates if self.ema else 0,
                "seconds": self.seconds,
                "metrics_bytes": self.log.size,
                "callbacks": [[type(c).__name__, c.state_dict()] for c in self._keepers()],
                "random": generators,
            }
            checkpoint.save_checkpoint(self.checkpoints, self.run.step, tensors, state)
        self.accelerator.wait_for_everyone()

    def _load(self) -> bool:
        """Take up the last checkpoint; False when there is none."""
        assert self.checkpoints is not None
        path = checkpoint.last_checkpoint(self.checkpoints)
        if self.batches.processes > 1:  # all processes go on from what the first one sees
            path = broadcast_object_list([path])[0]
        if path is None:
            return False
        tensors, state = checkpoint.load_checkpoint(path)
        _check_same(path, state, self.identity, self.config)
        self.run.model.load_state_dict(tensors["model"])
        checkpoint.join_optimiser(self.optimiser, tensors.get("optimiser", {}), state["optimiser"])
        if self.ema is not None:
            self.ema.average = {n: t.to(self.ema.average[n].device) for n, t in tensors["ema"].items()}
            self.ema.updates = state["ema_updates"]
        self.best_weights = tensors.get("best")
        self.run.step, self.run.best, self.seconds = state["step"], state["best"], state["seconds"]
        self.saved_at = self.run.step
        self._open_log(state["metrics_bytes"])
        if self.log.path is not None:
            self.run.history = read_metrics(self.log.path)
        self._load_callbacks(state["callbacks"])
        set_random_states(state["random"][self.accelerator.process_index])
        return True

    def _keepers(self) -> list[Any]:
        """List the callbacks that have a state to keep."""
        return [callback for callback in self.callbacks if hasattr(callback, "state_dict")]

    def _load_callbacks(self, states: list[tuple[str, Any]]) -> None:
        names, now = [name for name, _ in states], [type(callback).__name__ for callback in self._keepers()]
        if names != now:
            raise UserError(f"train: the run's callbacks with a state were {names}, now {now}; resume with the same.")
        for callback, (_, state) in zip(self._keepers(), states, strict=True):
            callback.load_state_dict(state)

    def _take_best(self) -> None:
        """Leave in the model what the run is for: the best weights, else the averaged, else the last."""
        if self.config.keep_best and self.best_weights is not None:
            self.run.model.load_state_dict(self.best_weights)
        elif self.ema is not None:
            self.run.model.load_state_dict(self.ema.average)


def _pick(logs: dict[str, float], *names: str) -> dict[str, float]:
    return {name: logs[name] for name in names if name in logs}


def _check_logs(logs: dict[str, Tensor]) -> None:
    if not isinstance(logs, dict) or not isinstance(logs.get("loss"), Tensor) or logs["loss"].ndim:
        raise TypeError('train: step must return a dict with "loss", a tensor of one number, and what is to be logged.')


def _check_same(path: Path, state: dict[str, Any], identity: dict[str, Any], config: TrainConfig) -> None:
    """Refuse to go on with another run's checkpoint, and say what differs."""
    fixed = CHANGEABLE | {"batch_size", "accumulate"}
    was = TrainConfig(**state["config"])
    now, then = replace(config).to_dict(), was.to_dict()
    differ = [f"{k} was {then[k]}, now {now[k]}" for k in now if k not in fixed and now[k] != then[k]]
    if config.batch_size * config.accumulate != was.batch_size * was.accumulate:
        differ.append(
            f"batch_size * accumulate was {was.batch_size} * {was.accumulate}, "
            f"now {config.batch_size} * {config.accumulate}"
        )
    before = state["identity"]
    differ += [f"{k} was {before.get(k)}, now {identity[k]}" for k in identity if before.get(k) != identity[k]]
    if differ:
        raise UserError(
            f"train: {path} belongs to another run: {'; '.join(differ)}. Resume with the settings it was started "
            f"with, or give a new folder."
        )
