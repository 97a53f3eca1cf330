"""The training step with the guard: a part of each batch is corrupted, repaired and learned from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mamba_mender._check import UserError
from mamba_mender.data import ImageSet, Normalise
from mamba_mender.data.seeding import generator_for
from mamba_mender.nn.mode import in_mode
from mamba_mender.repair.guard import GuardConfig
from mamba_mender.repair.guard.calibrate import watch
from mamba_mender.repair.guard.guarded_model import site_places
from mamba_mender.repair.guard.law import Law, law_of
from mamba_mender.repair.guard_training.guard_training import GuardTraining
from mamba_mender.repair.guard_training.homeostatic_penalty import homeostatic_penalty
from mamba_mender.repair.guard_training.running_law import RunningLaw
from mamba_mender.repair.guard_training.state_corruption import add_state_noise, change_gain, restore_moments
from mamba_mender.repair.guard_training.worst_push import worst_push
from mamba_mender.taps.record import refuse_compiled
from mamba_mender.taps.spot import Point, listen
from mamba_mender.taps.tap import Tap
from mamba_mender.training.run import Run
from mamba_mender.training.step import StepContext, classify

Edit = Callable[[Tensor], Tensor]
WEIGHTS = {"plasticity": "plasticity_weight", "homeostasis": "homeostatic_factor"}
CHUNK = 250  # images at a time when the healthy statistics are first measured


@dataclass(kw_only=True)
class GuardStep:
    """Take one step of training with the guard; it is the step and, for its running statistics, a callback too.

    With CE the criterion, on a part of the batch that is corrupted, and repaired where states were, and on the rest::

        loss = CE(rest) + w_c CE(part) + w_p mean |u' - u|^2 / var + w_h mean log(a / a*)^2

    u' are states of the part at the sites behind the corruption, and u their reference: states of the same images by
    themselves, uncorrupted, or where they are pushed, at the random start of the push. a are activities of the rest at
    all sites and of the part behind the corruption, each by itself; the mean is over all of these, so the rest weighs
    more the later the corruption. var and a* are the running healthy variances and activities. Pushed pixels are not
    repaired: at inference the guard does not flag so small a push either.

    What is corrupted, how and where depends on seed and step number alone, and the running statistics are saved with
    each checkpoint, so that a resumed run goes on as if nothing had happened. Since the reference is a forward pass of
    its own, layers that drop paths or normalise by the batch differ in it by that, too.

    Example::

        step = GuardStep(training=GuardTraining(), config=GuardConfig(), sites=default_sites(model),
                         images=data.train, normalise=Normalise(data.mean, data.std), seed=0)
        train(model, data, step=step, callbacks=[step])

    training: its settings.
    config: the guard's: strength, evidence, shrinkage.
    sites: keys of states, in the order of the model.
    images: on which the healthy statistics are first measured.
    normalise: what the model expects.
    seed: of all that is drawn.
    laws: running healthy statistics by site; None before the start.
    """

    training: GuardTraining
    config: GuardConfig
    sites: Sequence[str]
    images: ImageSet
    normalise: Normalise
    seed: int
    laws: dict[str, RunningLaw] | None = None

    def __call__(self, context: StepContext) -> dict[str, Tensor]:
        """Compute the losses of one step, "loss" being their weighted sum."""
        whole, share = len(context.images), self.training.corrupt_share
        count = min(max(round(share * whole), 1), whole - 1)
        if not share or count < 1:
            return classify(context)
        return _Draw(self, context, count).losses()

    def on_start(self, run: Run) -> None:
        """Measure the healthy statistics, unless a checkpoint gave them."""
        if not self.training.corrupt_share:
            return
        refuse_compiled("GuardStep", run.model)
        normalise = self.normalise.to(next(run.model.parameters()).device)
        if self.laws is not None:
            self.laws = {key: law.to(normalise.mean.device) for key, law in self.laws.items()}
            return
        chosen = torch.randperm(len(self.images), generator=generator_for(self.seed, "healthy"))
        done = 0
        with in_mode(run.model, training=False), torch.no_grad():
            for rows in chosen[: self.training.healthy_count].split(CHUNK):
                images = self.images.batch(rows).to(normalise.mean.device).images
                self._pool(watch(run.model, self.sites, normalise(images))[0], done)
                done += len(rows)

    def _pool(self, states: dict[str, Tensor], done: int) -> None:
        """Add the first states, by site, to the statistics of so many samples."""
        if not done:
            self.laws = {key: RunningLaw.measure(value, bands=self.training.bands) for key, value in states.items()}
            return
        for key, value in states.items():
            law = self.law(key)
            self._learn(key, law_of(value, law.modes), len(value) / (done + len(value)))

    def _learn(self, key: str, seen: Law, rate: float) -> None:
        self.laws = {**(self.laws or {}), key: self.law(key).learn(seen, rate)}

    def state_dict(self) -> dict[str, Any]:
        """Give the settings and the running statistics as JSON values."""
        laws = {key: law.to_json() for key, law in (self.laws or {}).items()}
        return {"settings": self.training.to_dict(), "laws": laws}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the running statistics of a checkpoint.

        Raises:
            UserError: the run had other settings.
        """
        was, now = state["settings"], self.training.to_dict()
        if differ := [f"{name} was {was.get(name)}, now {now[name]}" for name in now if was.get(name) != now[name]]:
            raise UserError(f"GuardStep: the run had other settings: {'; '.join(differ)}; resume with the same.")
        self.laws = {key: RunningLaw.of_json(law) for key, law in state["laws"].items()} or None

    def law(self, key: str) -> RunningLaw:
        """Give the healthy statistics of a site.

        Raises:
            UserError: they were never measured.
        """
        if self.laws is None:
            raise UserError("GuardStep: no healthy statistics; pass the step to train in callbacks, too.")
        return self.laws[key]

    def refresh(self, states: dict[str, Tensor]) -> None:
        """Learn from the clean states of a step, by site."""
        for key, value in states.items():
            law = self.law(key)
            self._learn(key, shared(law_of(value.detach().float(), law.modes)), self.training.hebbian_rate)


class _Draw:
    """What is drawn for one step, and the losses that follow."""

    def __init__(self, step: GuardStep, context: StepContext, count: int) -> None:
        self.step, self.context, self.count = step, context, count
        self.training = step.training
        self.generator = generator_for(step.seed, "guard", context.number)
        kinds = self.training.kinds
        drawn = torch.multinomial(torch.tensor(list(kinds.values())), 1, generator=self.generator)
        self.kind = list(kinds)[int(drawn)]
        place = int(torch.randint(len(step.sites), (1,), generator=self.generator))
        self.place = {"pixels": -1, "push": 0}.get(self.kind, place)
        self.bare: nn.Module = getattr(context.model, "module", context.model)  # of DDP's wrapper
        self.part = context.images[:count]
        self.reference: dict[str, Tensor] = {}  # states, by site, that those of the corrupted part are compared with

    def losses(self) -> dict[str, Tensor]:
        """Run the corrupted part and the rest together."""
        context, rest = self.context, len(self.context.images) - self.count
        part, labels = self.part, context.batch.labels
        if self.kind == "pixels":
            part = self._push_pixels(context.batch.images[: self.count])
        edit = None if self.kind == "pixels" else self._edit()
        logits, states = self._run(context.model, torch.cat([context.images[self.count :], part]), edit, rest)
        clean, corrupted = logits.split([rest, self.count])
        logs = {
            "clean": context.criterion(clean, labels[self.count :]),
            "corrupted": context.criterion(corrupted, labels[: self.count]),
            "accuracy": _accuracy(clean, labels[self.count :]),
            "corrupted_accuracy": _accuracy(corrupted, labels[: self.count]),
        }
        logs["loss"] = logs["clean"] + self.training.corrupt_weight * logs["corrupted"]
        self._add_state_losses(logs, states, rest)
        if context.number % self.training.refresh_every == 0:
            self.step.refresh({key: value[:rest] for key, value in states.items()})
        return logs

    def _add_state_losses(self, logs: dict[str, Tensor], states: dict[str, Tensor], rest: int) -> None:
        """Add what is asked of states.

        Behind the corruption those of the part are to be near their reference. All are to be as active as healthy ones,
        the part behind the corruption and the rest each by itself: taken together, too much of one would make up for
        too little of the other.
        """
        distances, penalties = [], []
        for place, key in enumerate(self.step.sites):
            law = self.step.law(key)
            clean, moved = states[key].float().split([rest, self.count])
            penalties.append(homeostatic_penalty(clean, law))
            if place > self.place:
                penalties.append(homeostatic_penalty(moved, law))
                if self.training.plasticity_weight:
                    distances.append(((moved - self.reference[key]) / law.deviation).square().mean())
        for name, parts in {"plasticity": distances, "homeostasis": penalties}.items():
            weight = getattr(self.training, WEIGHTS[name])
            if weight:
                logs[name] = torch.stack(parts).mean() if parts else logs["loss"].new_zeros(())
                logs["loss"] = logs["loss"] + weight * logs[name]

    def _push_pixels(self, pixels: Tensor) -> Tensor:
        """Push pixels, and give them normalised."""
        normalise = self.step.normalise.to(pixels.device)
        pushed = worst_push(
            lambda values: self._loss_of(normalise(values)),
            pixels,
            radius=self.training.adversarial_eps,
            steps=self.training.push_steps,
            length=self.training.push_step,
            generator=self.generator,
            bounds=(0.0, 1.0),
        )
        return normalise(pushed)

    def _edit(self) -> Edit:
        """Choose what corrupts states and repairs them."""
        law = self.step.law(self.step.sites[self.place])
        seed = int(torch.randint(2**62, (1,), generator=self.generator))
        if self.kind == "push":
            return self._pushing_edit(law)
        if self.training.plasticity_weight and self.place + 1 < len(self.step.sites):
            with torch.no_grad():
                self._loss_of(self.part)
            torch.clear_autocast_cache()  # of weights cast without a gradient

        def edit(states: Tensor) -> Tensor:
            generator = torch.Generator().manual_seed(seed)
            if self.kind == "noise":
                corrupted = add_state_noise(states, law, self.training.state_noise, generator)
            else:
                corrupted = change_gain(states, law, self.training.state_gain, generator)
            return restore_moments(corrupted, law, self.step.config)

        return edit

    def _pushing_edit(self, law: RunningLaw) -> Edit:
        """Find the push of the embedding that hurts most although it is repaired."""

        def moved(push: Tensor) -> Edit:
            return lambda states: restore_moments(states + push.to(states), law, self.step.config)

        push = worst_push(
            lambda push: self._loss_of(self.part, moved(push)),
            law.law.mean.new_zeros(self.count, *law.law.mean.shape),
            radius=self.training.state_eps * law.deviation,
            steps=self.training.push_steps,
            length=self.training.push_step,
            generator=self.generator,
        )
        return moved(push)

    def _loss_of(self, part: Tensor, edit: Edit | None = None) -> Tensor:
        """Run the part by itself, and give its loss; the states of the first such run are the reference."""
        logits, states = self._run(self.bare, part, edit, 0)
        if not self.reference:
            self.reference = {key: value.detach().float() for key, value in states.items()}
        return self.context.criterion(logits, self.context.batch.labels[: self.count])

    def _run(self, model: nn.Module, images: Tensor, edit: Edit | None, whole: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Run images, those from `whole` on edited at the place; give logits and states by site."""
        places = site_places(self.bare, self.step.sites)
        names = {point.key: str(key) for key, point in places.points.items()}
        tap = _EditTap(names, None if edit is None else self.step.sites[self.place], edit, whole)
        with listen(tap, places.spots()):
            logits = model(images)
        return logits, tap.states


def shared(law: Law) -> Law:
    """Average a law over the processes of a run, so that all go on with the same one."""
    if not (dist.is_available() and dist.is_initialized()):
        return law
    parts = [part.clone() for part in (law.mean, law.scatter)]
    for part in parts:
        dist.all_reduce(part)
    return Law(*(part / dist.get_world_size() for part in parts))


class _EditTap(Tap):
    """Keep the states of a pass, and edit those of its last samples at one site."""

    def __init__(self, names: dict, at: str | None, edit: Edit | None, whole: int) -> None:
        self.names, self.at, self.edit, self.whole = names, at, edit, whole
        self.states: dict[str, Tensor] = {}

    def point(self, point: Point, value: Tensor) -> Tensor:
        key = self.names[point.key]
        if key == self.at and self.edit is not None:
            value = torch.cat([value[: self.whole], self.edit(value[self.whole :])])
        self.states[key] = value
        return value


def _accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.detach().argmax(-1) == labels).float().mean()
