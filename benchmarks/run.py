"""Running jobs: each in a process of its own, finished ones never again."""

import argparse
import math
import os
import sys
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

import torch

from benchmarks.cost import measure_cost
from benchmarks.evaluation import batches, evaluate, open_data
from benchmarks.jobs import DEFAULT_PRECISION, Entry, Job, Settings, find_jobs, groups, share
from benchmarks.measures import build_measures
from benchmarks.metadata import commit, machine_name, processor
from benchmarks.protocol import find_suite
from benchmarks.schema import Result, ResultError, read_result, validate, video_folder
from benchmarks.training import train
from zoo.animation import find_device
from zoo.base import AnimationModule
from zoo.baselines import Baseline
from zoo.data import VideoDataModule
from zoo.errors import OptionError, ZooError
from zoo.evaluator import data_options, plain_options
from zoo.report import machine, sha256_of, versions, without_nan, write_json
from zoo.weights import load_weights, networks

Outcome = tuple[str, str]
"""A job's label, and why it failed: empty where it didn't."""


def run(options: argparse.Namespace) -> None:
    """`python -m benchmarks run`: lists the jobs, runs what isn't finished, and says what became of each.

    Raises:
        ZooError: An option is wrong, or some job failed.
    """
    settings = Settings(options.output, options.work, options.data, options.device, options.machine)
    jobs, left_out = find_jobs(
        find_suite(options.suite),
        options.methods,
        options.seeds,
        options.steps,
        options.weights,
        options.precision,
    )
    for line in left_out:
        print(f"not run: {line}")
    if options.only:
        jobs = share(jobs, *_fraction(options.only))
    for protocol in dict.fromkeys(job.protocol.name for job in jobs):
        print(f"protocol {protocol} {next(job.protocol.hash for job in jobs if job.protocol.name == protocol)}")
    for job in jobs:
        job.protocol.data_options(settings.data)  # clips that are missing end it here, not after hours
    outcomes = run_on_ray(jobs, settings, options.ray) if options.ray else run_here(jobs, settings)
    failures = [f"{label}: {problem}" for label, problem in outcomes if problem]
    if failures:
        raise ZooError(f"{len(failures)} of {len(outcomes)} runs failed:\n" + "\n".join(failures))


def run_here(jobs: Sequence[Job], settings: Settings) -> list[Outcome]:
    """Runs jobs one after the other, each in a fresh process, whose crash is its own."""
    outcomes = []
    for job in jobs:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=end_with_parent) as fresh:
            try:
                problem = fresh.submit(attempt, job, settings).result()
            except BrokenProcessPool:
                problem = "its process died (killed, or out of memory)"
        outcomes.append((job.label, problem))
    return outcomes


def end_with_parent() -> None:
    """Ends this process as soon as the one that started it is gone: nobody would know that it goes on."""
    parent = parent_process()
    assert parent is not None

    def wait_and_end() -> None:
        parent.join()
        os._exit(1)

    Thread(target=wait_and_end, daemon=True).start()


def run_on_ray(jobs: Sequence[Job], settings: Settings, address: str) -> list[Outcome]:
    """Runs jobs on a Ray cluster, those that share a training one after the other on the same node.

    Args:
        jobs: What to run.
        settings: Its folders must be the same place on every node.
        address: Of the cluster; ``local`` starts one on this machine.

    Raises:
        OptionError: Ray isn't installed.
    """
    try:
        import ray
    except ImportError as error:
        raise OptionError("--ray needs Ray; install it with `pip install 'animation-zoo[ray]'`") from error
    ray.init(address=address, include_dashboard=False, log_to_driver=True)
    try:
        # Ray shows a job the graphics cards that it asks for, and no two jobs the same one.
        takes_gpu = settings.device.startswith("cuda") or (
            settings.device == "auto" and ray.cluster_resources().get("GPU", 0) >= 1
        )
        remote = ray.remote(num_gpus=1 if takes_gpu else 0)(run_here)
        parts = ray.get([remote.remote(group, settings) for group in groups(jobs)])
        return [outcome for part in parts for outcome in part]
    finally:
        ray.shutdown()


def attempt(job: Job, settings: Settings) -> str:
    """Runs a job, unless it is finished; returns why it failed, or nothing."""
    try:
        device = find_device(settings.device)
        path = job.result(settings.output, settings.machine or machine_name(device))
        if is_finished(path, job):
            print(f"finished before: {job.label}")
            return ""
        print(f"runs now: {job.label}, {time.strftime('%H:%M')}", flush=True)
        result = run_job(job, settings, device)
        validate(result, path)
        write_json(path, result)
        print(f"{job.label}: {path}", flush=True)
    except ZooError as error:
        return str(error)
    except Exception:
        return traceback.format_exc()
    return ""


def is_finished(path: Path, job: Job) -> bool:
    """Whether a valid result of the job, its protocol and recipe as they are now, lies there, and is complete.

    It may have been trained in any precision where the job names none.
    Where every clip failed, as on a full graphics card, they are tried again.
    What was skipped for want of a network that has been installed since is measured with the weights that there are.
    """
    if not path.is_file():
        return False
    try:
        result = read_result(path)
    except ResultError:
        return False
    if result["protocol"]["hash"] != job.protocol.hash or not result["evaluation"]["measured"]:
        return False
    training = result["training"]
    if training and "config" in training and not is_same_training(training["config"], job):
        return False
    waiting = {name for name, why in result["evaluation"]["skipped"].items() if " install " in why}
    return not waiting or waiting <= build_measures(job.protocol.content).skipped.keys()


def is_same_training(recorded: dict[str, Any], job: Job) -> bool:
    """Whether a training was configured as the job would be."""
    wanted = job.training()
    if wanted is None:
        return False
    (precision, recorded), (_, wanted) = _apart(recorded), _apart(wanted)
    return recorded == wanted and job.precision in (None, precision)


def _apart(config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A training's precision, and the rest of its configuration, with the length of its epochs where that is known."""
    trainer, data = dict(config["trainer"]), dict(config["data"])
    if data["path"] is None and not data.get("by_identity"):  # generated people: their number is part of the protocol
        clips = data["synthetic"]["train_identities"] * data["synthetic"]["clips_per_identity"]
        repeats, least = data.pop("repeats", 1), data.pop("epoch_samples", 0)
        data["epoch"] = clips * max(repeats, math.ceil(least / clips))
    return trainer.pop("precision", DEFAULT_PRECISION), config | {"trainer": trainer, "data": data}


def run_job(job: Job, settings: Settings, device: torch.device) -> Result:
    """Trains where it is needed, measures cost and quality."""
    code = commit()  # now: hours later another one may be checked out
    torch.set_float32_matmul_precision("highest")
    trained = train(job, settings, device) if job.training() else None
    measures = build_measures(job.protocol.content)
    weights = trained.weights if trained else job.entry.weights
    method = _build(job.entry, weights).to(device).eval()
    data = open_data(job.protocol, settings.data, method, measures, job.entry.data_options)
    if isinstance(method, Baseline):
        method.prepare(data)
    speed = _cost(method, data, device)
    recipe = None if job.entry.kind == "baseline" else job.made_with
    films = settings.work / "videos" / job.protocol.name / video_folder(job.entry.name, recipe)
    evaluation, fingerprint = evaluate(
        job.protocol, method.test_step, data, measures, device, films if job.films else None
    )
    return without_nan(
        {
            "schema": 1,
            "protocol": {
                "name": job.protocol.name,
                "hash": job.protocol.hash,
                "title": job.protocol.content["title"],
            },
            "method": {
                "name": job.entry.name,
                "title": job.entry.title,
                "kind": job.entry.kind,
                "recipe": recipe,
                "class": job.entry.method,
            },
            "seed": job.seed,
            "training": trained.training if trained else None,
            "evaluation": evaluation,
            "speed": speed,
            "arguments": plain_options(method.hparams),
            "data": data_options(data),
            "weights": {"sha256": sha256_of(method.inference_state()), "file": weights.name if weights else None},
            "networks": {row.name: row.sha256 for row in networks.status() if row.present},
            "dataset": {"fingerprint": fingerprint},
            "versions": versions() | {name: version(name) for name in ("numpy", "scipy", "av", "decord2")},
            "machine": machine(device) | {"processor": processor()},
            "commit": code,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )


def _build(entry: Entry, weights: Path | None) -> AnimationModule:
    return entry.type() if weights is None else load_weights(weights, entry.type)


def _cost(method: AnimationModule, data: VideoDataModule, device: torch.device) -> Any:
    """None where the method fails on the first clip."""
    try:
        return measure_cost(method, next(batches(data)), device)
    except Exception as error:  # whatever a method raises; its clips are measured all the same
        print(f"cost: not measured ({type(error).__name__}: {error})", file=sys.stderr, flush=True)
        return None


def _fraction(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal()):
        raise OptionError(f"--only {text}: write I/N, such as 3/8 for the third of eight parts")
    return int(part), int(parts)
