"""Apply a trained model to a slide: a calibrated answer, or a reason why there is none."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from pathai.calibration import calibrate
from pathai.config import PredictConfig
from pathai.conformal import conformal_p
from pathai.errors import PathaiError
from pathai.heads import HEADS
from pathai.heads.base import Ensemble, collate
from pathai.reference import Reference
from pathai.store.bundle import Bundle, read_bundle
from pathai.store.commit import Commit, Skipped
from pathai.store.folders import SlideFolder
from pathai.store.groups import write_prediction
from pathai.store.records import Features, Prediction, PredictionAttrs

NO_TISSUE = "no tissue: no tile to look at"
FOREIGN = "unlike the slides the model was trained on"
NEITHER = "typical of none of the classes"


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
        except KeyError as error:
            raise PathaiError("E182", f"{spec.task.name}: array {error} is missing") from None
        scalars = spec.reference
        self.reference = Reference(
            **kind,
            floor=scalars.floor,
            root_mean=scalars.root_mean,
            root_sd=scalars.root_sd,
            n=scalars.n,
        )
        with torch.random.fork_rng(devices=[]):  # building heads draws initial weights
            sizes = (spec.dim, len(spec.task.classes), spec.hidden, spec.dropout)
            heads = [HEADS.load(spec.head)(*sizes) for _ in range(spec.members)]
        self.network = Ensemble(heads, torch.zeros(spec.dim), torch.ones(spec.dim))
        self._load({name.removeprefix("model."): a for name, a in arrays.items()})
        self.network.eval()

    def _load(self, arrays: dict[str, np.ndarray]) -> None:
        wanted = {name: tuple(t.shape) for name, t in self.network.state_dict().items()}
        given = {name: a.shape for name, a in arrays.items()}
        wrong = sorted(n for n in {*wanted, *given} if wanted.get(n) != given.get(n))
        if wrong:
            message = f"{self.spec.task.name}: weights {wrong[0]} do not fit head {self.spec.head}"
            raise PathaiError("E182", message)
        self.network.load_state_dict({n: torch.from_numpy(a.copy()) for n, a in arrays.items()})

    @torch.inference_mode()
    def answer(self, features: Features, section: PredictConfig) -> Prediction:
        """Answer for the tiles of one slide.

        Parameters
        ----------
        features : Features
            Of the model's own encoder.
        section : PredictConfig
            ``alpha`` of the conformal set, ``ood_percentile`` beyond which a slide is foreign.

        Returns
        -------
        Prediction
            Abstained, with a reason and without label and set, when there is no tile, when the
            slide is foreign, or when it is typical of no class. The probabilities are kept as
            the model's raw output, which is no answer.

        Raises
        ------
        PathaiError
            E181 for features of another encoder, E180 for features that are not finite.
        """
        self._check(features)
        torch.set_num_threads(1)  # the number of threads would change the last bits
        if len(features.x) == 0:
            return self._prediction(features, section, np.zeros(0, np.float32), reason=NO_TISSUE)
        x = torch.from_numpy(features.x.astype(np.float32))
        place = torch.from_numpy(features.places)[None]
        logits, attention = self.network(*collate([x]), place)
        weight = _sums_to_one(attention[0].double().numpy())
        percentile = self.reference.percentile(self.network.summary(x).double().numpy())
        prob = calibrate(logits[0].double().numpy(), self.spec.temperature, self.spec.log_prior)
        raw = tuple(prob.tolist())
        if percentile > section.ood_percentile:
            return self._prediction(features, section, weight, percentile, raw, reason=FOREIGN)
        p_values = conformal_p(self.spec.conformal, prob)
        kept = tuple(
            c for c, p in zip(self.spec.task.classes, p_values, strict=True) if p > section.alpha
        )
        if not kept:
            return self._prediction(features, section, weight, percentile, raw, reason=NEITHER)
        return self._prediction(features, section, weight, percentile, raw, kept)

    def _check(self, features: Features) -> None:
        made, spec = features.attrs, self.spec
        given = (made.encoder, made.encoder_digest, made.tile_px, made.mpp, features.x.shape[1])
        if given != (spec.encoder, spec.encoder_digest, spec.tile_px, spec.mpp, spec.dim):
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
        attention: np.ndarray,
        percentile: float = 0.0,
        prob: tuple[float, ...] = (),
        kept: tuple[str, ...] = (),
        *,
        reason: str = "",
    ) -> Prediction:
        task = self.spec.task
        attrs = PredictionAttrs(
            task=task.name,
            question=task.question,
            classes=task.classes,
            label="" if reason else task.classes[int(np.argmax(prob))],
            prob=tuple(round(p, 6) for p in prob),
            set=kept,
            alpha=section.alpha,
            ood_percentile=round(percentile, 4),
            out_of_distribution=percentile > section.ood_percentile,
            abstained=bool(reason),
            reason=reason,
            encoder=self.spec.encoder,
            grid_digest=features.attrs.grid_digest,
            model_digest=self.digest,
        )
        return Prediction(attention, attrs)


def _sums_to_one(attention: np.ndarray) -> np.ndarray:
    """Attention as float32, its rounding error taken out."""
    out: np.ndarray = (attention / attention.sum()).astype(np.float32)
    return out


def run(
    folder: SlideFolder, section: PredictConfig, out: Commit, *, model: Path, name: str
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

    Raises
    ------
    Skipped
        E142 when the slide's stain is none of the task's: there is no answer to give.
    PathaiError
        E182 or E183 for the bundle, E164 without features, E181 for those of another encoder,
        E180 if not finite.
    """
    loaded = load(model)
    stain, wanted = folder.read_slide().stain, loaded.spec.task.stains
    if stain not in wanted:
        message = f"stain {stain}, but {name} answers for {', '.join(wanted)}"
        raise Skipped("E142", message)
    prediction = loaded.answer(folder.read_features(loaded.spec.encoder), section)
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
