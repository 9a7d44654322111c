"""``pathai doctor``: what is missing on this machine, for this configuration, and the remedy."""

import contextlib
import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from pathai.batch import print_json, say
from pathai.errors import PathaiError
from pathai.floors import FLOORS, floor, installed, suffices

if TYPE_CHECKING:
    from pathai.config import Config


class Check(BaseModel):
    """One thing that was looked at."""

    model_config = ConfigDict(frozen=True)
    name: str
    ok: bool
    needed: bool
    found: str
    remedy: str = ""


def check(config: Path | None, profile: str = "") -> list[Check]:
    """Every check, for a configuration and a profile of Snakemake if they are given."""
    checks = [_python(), *map(_package, FLOORS), _disk(config), _cores(), _gpu()]
    checks += [_optional("napari", "viewer", "pathai review"), _display()]
    checks += [_optional("s3fs", "remote", "slides on a server")]
    checks += [_optional("openai", "llm", "report drafts by a local language model")]
    checks += [_optional("onnxruntime", "onnx", "detectors from ONNX files")]
    checks += [_optional("cellpose", "cellpose", "the detector Cellpose")]
    checks += _profile(profile) if profile else []
    return checks + (_configuration(config) if config else [_weights()])


def _profile(profile: str) -> list[Check]:
    """What a profile needs of this machine: nothing, or the commands of a cluster."""
    from pathai import cluster
    from pathai.run import profile_folder

    executor = cluster.executor(profile_folder(profile))
    found = f"{profile}: {executor or 'this machine'}"
    checks = [Check(name="profile", ok=True, needed=True, found=found)]
    if executor == "slurm":
        lacking = cluster.lacking()
        for name in (cluster.PLUGIN_NAME, *cluster.COMMANDS):
            remedy = lacking.get(name, "")
            found = "missing" if remedy else "yes"
            checks.append(Check(name=name, ok=not remedy, needed=True, found=found, remedy=remedy))
        if not lacking:
            said = cluster.answer()
            remedy = "ask who runs the cluster; sinfo must show a node" if not said else ""
            found = said or "does not answer"
            checks.append(
                Check(name="slurm", ok=bool(said), needed=True, found=found, remedy=remedy)
            )
    return checks


def _python() -> Check:
    found = sys.version.split()[0]
    return Check(name="python", ok=sys.version_info >= (3, 11), needed=True, found=found)


def _package(name: str) -> Check:
    found = installed(name)
    ok = suffices(name, found)
    remedy = "" if ok else f"pip install '{name}>={floor(name)}'"
    return Check(name=name, ok=ok, needed=True, found=found or "missing", remedy=remedy)


def _optional(name: str, extra: str, use: str) -> Check:
    try:
        found = version(name)
    except PackageNotFoundError:
        remedy = f"for {use}: pip install 'pathai[{extra}]'"
        return Check(name=name, ok=False, needed=False, found="missing", remedy=remedy)
    return Check(name=name, ok=True, needed=False, found=found)


def _disk(config: Path | None) -> Check:
    folder = config.absolute().parent if config else Path.cwd()
    free = shutil.disk_usage(folder).free / 2**30
    remedy = "" if free > 5 else "free space; a slide may need several times its own size"
    return Check(name="disk", ok=free > 5, needed=True, found=f"{free:.0f} GiB free", remedy=remedy)


def _cores() -> Check:
    return Check(name="cores", ok=True, needed=False, found=str(os.cpu_count()))


def _gpu() -> Check:
    driver = Path("/proc/driver/nvidia/version").exists()
    found = "NVIDIA driver" if driver else "none (the processor is used)"
    return Check(name="gpu", ok=True, needed=False, found=found)


def _display() -> Check:
    ok = sys.platform != "linux" or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    remedy = "" if ok else "for pathai review: start it on a desktop, or under xvfb-run"
    found = "yes" if ok else "none"
    return Check(name="display", ok=ok, needed=False, found=found, remedy=remedy)


def _weights() -> Check:
    """Which published encoders have weights here, which are gated, and how to ask for those."""
    from pathai.encoders.cards import CARDS
    from pathai.encoders.weights import here

    present = sorted(card.name for card in here(Path("weights")))
    gated = [name for name, card in CARDS.items() if card.gated and name not in present]
    named = f" ({', '.join(present)})" if present else ""
    found = f"of {len(present)} of {len(CARDS)} published encoders{named}, in weights/ or the hub's"
    found += f" cache; gated: {', '.join(gated)}"
    remedy = "pathai weights check NAME says where to ask, pathai weights fetch NAME brings them"
    return Check(name="weights", ok=True, needed=False, found=found, remedy=remedy)


def _encoder(settings: "Config", name: str) -> str:
    """Where an encoder's weights are and what they may be used for; no weights are read."""
    from pathai.chain import check_encoder, encoder_setup
    from pathai.encoders.cards import CARDS, require_licence
    from pathai.encoders.weights import find, missing, prove, recorded

    if name not in CARDS:
        check_encoder(settings, name)
        return name
    card, setup = CARDS[name], encoder_setup(settings)
    require_licence(card, setup.licence)
    licence = f"licence {card.licence} ({card.terms}), weights.licence: {setup.licence}"
    found = find(card, setup.weights)
    if found is None:
        if setup.network and not card.gated:
            return f"{name}: no weights here, the run fetches them; {licence}"
        lacking = missing(card, setup.weights)
        raise PathaiError(lacking.code, f"{lacking.message}; {licence}", lacking.remedy)
    sha256 = recorded(card, found, setup.weights)
    if sha256:
        prove(card, found, setup.weights)  # as the lock says: nothing is read
    known = f"SHA-256 {sha256[:12]}" if sha256 else f"not hashed yet: pathai weights check {name}"
    return f"{name}: {card.file} ({found.place}), {known}; {licence}"


def _detector(name: str) -> str:
    """What a detector is, if it can be used; networks are not loaded."""
    from pathai.detectors import check_ready, weights_file
    from pathai.detectors.cards import CARDS

    check_ready(name)
    card = CARDS.get(name.partition("@")[0])
    said = f"{name}: {card.title}; licence {card.licence}" if card else name
    return said + (f"; {weights_file(name)} is there" if weights_file(name) else "")


def _slide_encoders(settings: "Config") -> str:
    """The slide encoders of a configuration, if all of them can be used."""
    from pathai.chain import encoder_setup
    from pathai.slide_level import check_slide_encoders

    check_slide_encoders(settings, encoder_setup(settings))
    return ", ".join(settings.slide.encoders)


def _configuration(config: Path) -> list[Check]:
    from pathai.drafters import DRAFTERS
    from pathai.plan import Plan

    checks = []

    def attempt(name: str, act: Callable[[], object], found: str = "") -> None:
        try:
            said = act()
            checks.append(Check(name=name, ok=True, needed=True, found=found or str(said)))
        except PathaiError as error:
            text = f"{error.code}: {error.message}"
            checks.append(Check(name=name, ok=False, needed=True, found=text, remedy=error.remedy))

    plan: list[Plan] = []
    attempt("configuration", lambda: plan.append(Plan(config)), config.name)
    if not plan:
        return checks
    settings = plan[0].config
    attempt("sheet", lambda: plan[0].sheet, settings.sheet)
    attempt("tasks and models", lambda: (plan[0].tasks, plan[0].models), "readable")
    with contextlib.chdir(plan[0].root):
        for name in settings.features.encoders:
            attempt("encoder", partial(_encoder, settings, name))
        if settings.slide.encoders:
            attempt("slide encoders", partial(_slide_encoders, settings))
    detector, drafter = settings.cells.detector, settings.report.drafter
    with contextlib.chdir(plan[0].root):
        attempt("detector", partial(_detector, detector))
        if settings.cells.classifier:
            attempt("cell classes", partial(_class_model, settings), settings.cells.classifier)
    attempt("drafter", lambda: DRAFTERS[drafter], drafter)
    writable = os.access(plan[0].root, os.W_OK)
    remedy = "" if writable else "choose a folder that this user may write"
    found = "writable" if writable else "read-only"
    checks.append(Check(name="run folder", ok=writable, needed=True, found=found, remedy=remedy))
    return checks


def _class_model(settings: "Config") -> str:
    from pathai.cell_classes import load_model, model_file

    return load_model(model_file(settings.cells.classifier)).digest


def show(checks: list[Check], *, as_json: bool) -> int:
    """Print the checks; 1 if something needed is missing."""
    if as_json:
        print_json([c.model_dump(mode="json") for c in checks])
    else:
        for c in checks:
            state = "ok" if c.ok else "MISSING" if c.needed else "missing"
            say(f"{state:<8} {c.name:<17} {c.found}" + (f"; {c.remedy}" if c.remedy else ""))
    return int(any(c.needed and not c.ok for c in checks))
