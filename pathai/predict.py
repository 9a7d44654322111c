"""Apply a trained model to a slide: a calibrated answer, or a reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pathai.answers import Said, say, spec_of
from pathai.config import PredictConfig
from pathai.errors import PathaiError
from pathai.heads import HEADS
from pathai.heads.base import Ensemble
from pathai.labels import read_covariates
from pathai.outputs import columns
from pathai.reference import Reference
from pathai.store.bundle import Bundle, NetworkSpec, TargetState, read_bundle
from pathai.store.commit import Commit, Skipped
from pathai.store.folders import SlideFolder
from pathai.store.groups import write_prediction
from pathai.store.records import Answer, Features, Prediction, PredictionAttrs
from pathai.tile_tables import with_tables

NO_TISSUE = "no tissue: no tile to look at"
LITTLE_TISSUE = "too little tissue for this model"
FOREIGN = "unlike the slides the model was trained on"
NEITHER = "typical of none of the classes"
TOO_MANY = "typical of too many classes"
UNSURE = "no class is likely enough"
TOP_TILES = 8

Floats = NDArray[np.float64]


class Model:
    """A checked bundle, ready to answer.

    Parameters
    ----------
    bundle : Bundle
        From ``read_bundle``.

    Raises
    ------
    PathaiError
        E182 when the weights do not fit the head that the bundle names.
    """

    def __init__(self, bundle: Bundle) -> None:
        spec, arrays = bundle.spec, dict(bundle.arrays)
        self.spec, self.digest = spec, bundle.digest
        try:
            kind = {name: arrays.pop(f"reference.{name}") for name in ("mean", "axes", "variances")}
            mean, scale = (arrays.pop(f"reference.{name}") for name in ("location", "scale"))
        except KeyError as error:
            raise PathaiError("E182", f"{spec.task.name}: array {error} is missing") from None
        self.reference = Reference(
            **kind,
            floor=spec.reference.floor,
            root_mean=spec.reference.root_mean,
            root_sd=spec.reference.root_sd,
            n=spec.reference.n,
        )
        self.scales = Ensemble([], torch.from_numpy(mean.copy()), torch.from_numpy(scale.copy()))
        self.targets = tuple(spec_of(state) for state in spec.targets)
        self.networks = [self._network(i, one, arrays) for i, one in enumerate(spec.networks)]
        if arrays:
            raise PathaiError("E182", f"{spec.task.name}: array {min(arrays)} has no network")

    def _network(
        self, i: int, one: NetworkSpec, arrays: dict[str, NDArray[np.float32]]
    ) -> Ensemble:
        width, dim = sum(target.width for target in self.targets), self.spec.dim
        with torch.random.fork_rng(devices=[]):  # building heads draws initial weights
            build = HEADS.load(one.head)
            heads = [build(dim, width, one.hidden, one.dropout) for _ in range(one.members)]
        network = Ensemble(heads, torch.zeros(dim), torch.ones(dim))
        prefix = f"model.{i}."
        mine = {n: arrays.pop(n) for n in list(arrays) if n.startswith(prefix)}
        given = {name.removeprefix(prefix): array for name, array in mine.items()}
        wanted = {name: tuple(t.shape) for name, t in network.state_dict().items()}
        shapes = {name: a.shape for name, a in given.items()}
        wrong = sorted(n for n in {*wanted, *shapes} if wanted.get(n) != shapes.get(n))
        if wrong:
            message = f"{self.spec.task.name}: weights {wrong[0]} do not fit head {one.head}"
            raise PathaiError("E182", message)
        network.load_state_dict({n: torch.from_numpy(a.copy()) for n, a in given.items()})
        return network.eval()

    @torch.inference_mode()
    def outputs(self, features: Features, labels: Mapping[str, str]) -> tuple[Floats, Floats]:
        """Raw outputs float64[W] on the common scale, and attention float64[N] of sum 1.

        Raises
        ------
        PathaiError
            E181 for features of another encoder, E180 for features that are not finite.
        """
        self._check(features)
        torch.set_num_threads(1)  # the number of threads would change the last bits
        x = self._bag(features, labels)
        place = torch.from_numpy(features.places)
        outputs, attention = [], []
        for one, network in zip(self.spec.networks, self.networks, strict=True):
            out, weight = network.answer(x, place)
            raw = out.double().numpy()
            outputs.append(raw * (one.stretch or 1.0) + (one.shift or 0.0))
            attention.append(weight.double().numpy())
        return np.mean(outputs, axis=0), np.mean(attention, axis=0)

    def _bag(self, features: Features, labels: Mapping[str, str]) -> torch.Tensor:
        """Tiles float[N, D] with the slide's covariates beside each."""
        try:
            slide = read_covariates(self.spec.task, labels)
        except ValueError as error:
            raise PathaiError("E184", str(error), "correct the sheet") from None
        if not slide:
            return torch.from_numpy(features.x)
        beside = np.broadcast_to(np.array(slide, np.float32), (len(features.x), len(slide)))
        return torch.from_numpy(np.concatenate([features.x.astype(np.float32), beside], axis=1))

    def answer(
        self, features: Features, section: PredictConfig, labels: Mapping[str, str] | None = None
    ) -> Prediction:
        """Answer for the tiles of one slide.

        Parameters
        ----------
        features : Features
            Of the model's own encoder.
        section : PredictConfig
            ``alpha`` of the conformal set, ``ood_percentile`` beyond which a slide is foreign.
        labels : mapping, optional
            The sheet's columns, for a model with covariates.

        Returns
        -------
        Prediction
            Abstained, with a reason and without label and set, when there is no tile, when the
            slide is foreign, when it is typical of no class, or when the task's own rule says
            so. The probabilities are kept as the model's raw output, which is no answer.

        Raises
        ------
        PathaiError
            E181 for features of another encoder, E180 for features that are not finite.
        """
        self._check(features)
        rule, n = self.spec.task.abstain, len(features.x)
        if n == 0:
            return self._prediction(features, section, np.zeros(0), (), 0.0, NO_TISSUE)
        outputs, attention = self.outputs(features, labels or {})
        with torch.inference_mode():
            center = self.scales.summary(self._bag(features, labels or {})).double().numpy()
        percentile = self.reference.percentile(center)
        said = tuple(
            say(state, outputs[part], n, section.alpha)
            for state, part in zip(self.spec.targets, columns(self.targets), strict=True)
        )
        reason = LITTLE_TISSUE if n < rule.min_tiles else self._reason(said[0], percentile, section)
        return self._prediction(features, section, attention, said, percentile, reason)

    def _reason(self, said: Said, percentile: float, section: PredictConfig) -> str:
        """Why there is no answer, or nothing."""
        rule = self.spec.task.abstain
        if percentile > section.ood_percentile:
            return FOREIGN
        if not self.spec.task.has_classes:
            return ""
        if not said.set:
            return NEITHER
        if rule.max_set and len(said.set) > rule.max_set:
            return TOO_MANY
        return UNSURE if max(said.prob) < rule.min_probability else ""

    def _check(self, features: Features) -> None:
        made, spec = features.attrs, self.spec
        width = spec.dim - len(spec.task.covariates)
        given = (made.encoder, made.encoder_digest, made.tile_px, made.mpp, features.x.shape[1])
        if given != (spec.encoder, spec.encoder_digest, spec.tile_px, spec.mpp, width):
            message = (
                f"features of {made.encoder} ({made.encoder_digest[:12]}, {made.tile_px} px, "
                f"{made.mpp:g} µm/px), but model {spec.task.name} needs {spec.encoder} "
                f"({spec.encoder_digest[:12]}, {spec.tile_px} px, {spec.mpp:g} µm/px)"
            )
            raise PathaiError("E181", message)
        if not np.isfinite(features.x).all():
            raise PathaiError("E180", "features are not finite")

    def _prediction(
        self,
        features: Features,
        section: PredictConfig,
        attention: Floats,
        said: tuple[Said, ...],
        percentile: float,
        reason: str,
    ) -> Prediction:
        states = self.spec.targets
        each = said or (Said(),) * len(states)
        main, *also = [_answer(s, w, reason) for s, w in zip(states, each, strict=True)]
        weight = _sums_to_one(attention)
        attrs = PredictionAttrs(
            **main.model_dump(),
            task=self.spec.task.name,
            also=tuple(also),
            alpha=section.alpha,
            ood_percentile=round(percentile, 4),
            out_of_distribution=percentile > section.ood_percentile,
            abstained=bool(reason),
            reason=reason,
            top_tiles=tuple(np.argsort(-weight, kind="stable")[:TOP_TILES].tolist()),
            encoder=self.spec.encoder,
            grid_digest=features.attrs.grid_digest,
            model_digest=self.digest,
        )
        return Prediction(weight, attrs)


def _answer(state: TargetState, said: Said, reason: str) -> Answer:
    """One answer; a reason takes label, set and numbers away and leaves the raw probabilities."""
    target = state.target
    classes = target.classes
    label = classes[int(np.argmax(said.prob))] if classes and said.prob and not reason else ""
    numbers = {name: getattr(said, name) for name in ("value", "low", "high", "risk")}
    rounded = {n: None if v is None or reason else round(v, 6) for n, v in numbers.items()}
    return Answer(
        name=target.name,
        question=target.question,
        kind=target.kind,
        classes=classes,
        label=label,
        prob=tuple(round(p, 6) for p in said.prob),
        set=() if reason else tuple(classes[i] for i in said.set),
        unit_of_value=target.unit_of_value,
        horizon=target.horizon,
        **rounded,
    )


def _sums_to_one(attention: Floats) -> NDArray[np.float32]:
    """Attention as float32, its rounding error taken out."""
    total = attention.sum() if len(attention) else 1.0
    out: NDArray[np.float32] = (attention / total).astype(np.float32)
    return out


def run(
    folder: SlideFolder,
    section: PredictConfig,
    out: Commit,
    *,
    model: Path,
    name: str,
    labels: Mapping[str, str],
    site: str,
) -> None:
    """Answer a model's task for one slide and write ``predictions/<name>.zarr``.

    Parameters
    ----------
    folder : SlideFolder
        With features of the model's encoder.
    section : PredictConfig
        Conformal and out-of-distribution limits.
    out : Commit
        Where to write.
    model : Path
        Folder of the bundle; it is checked and loaded once per process.
    name : str
        Name of the result.
    labels : mapping
        Columns of the slide's row in the sheet, for a model with covariates.
    site : str
        Where the slide was made, for a model with limits.

    Raises
    ------
    Skipped
        E142 when the slide's stain or site is none of the task's: there is no answer to give.
    PathaiError
        E182 or E183 for the bundle, E164 without features, E181 for those of another encoder,
        E180 if not finite.
    """
    loaded = load(model)
    task, stain = loaded.spec.task, folder.read_slide().stain
    if stain not in task.stains:
        message = f"stain {stain}, but {name} answers for {', '.join(task.stains)}"
        raise Skipped("E142", message)
    if task.sites and site not in task.sites:
        message = f"site {site or 'not known'}, but {name} answers for {', '.join(task.sites)}"
        raise Skipped("E142", message)
    features = with_tables(folder, folder.read_features(loaded.spec.encoder), task.detectors)
    prediction = loaded.answer(features, section, labels)
    write_prediction(out.part(folder.prediction(name).name), prediction)


@lru_cache(maxsize=8)
def load(folder: Path) -> Model:
    """Check every file of a bundle and load it, once per process.

    Raises
    ------
    PathaiError
        E182 when a file is damaged or does not belong there, E183 without a bundle.
    """
    return Model(read_bundle(folder))
