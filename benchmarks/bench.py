"""``make bench``: times cxrlib against the standard recipe, in pairs, each side in a fresh process, and writes one JSON file.

Both sides of a pair run in turns, so that what else the machine does meets both. A ratio is the median of the ratios of the
pairs, with the least and the greatest beside it. Nothing here knows what the numbers should be but the column 'target'.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import files
from pairs import ROOT, SPINNING, STANDARD, Bench, result, run, spread, start

from cxrlib.experiment.record import code_version
from cxrlib.files import atomic_write
from cxrlib.processes import usable_cores

LAPTOP = {"arch": "resnetv2_laptop", "channels": 1}
BIT = {"arch": "resnetv2_50x1_bit", "channels": 3}


def base_counts(bench: Bench) -> tuple[int, int]:
    """Training and test images of the phantoms that every set of files is made of."""
    return (24, 12) if bench.quick else (768, 400)


def throughput(bench: Bench, work: Path) -> None:
    """The rows about training, evaluation, cache and Grad-CAM."""
    quick = bench.quick
    train, test = base_counts(bench)
    source = files.base(work / "base", train, test)
    jpeg = files.variant(source, work / "jpeg512", 96 if quick else 512, "jpeg", train // 2, test=4)
    scored = files.variant(source, work / "jpeg512-test", 96 if quick else 512, "jpeg", 4)
    png = files.variant(source, work / "png1024", 128 if quick else 1024, "png", train // 6, test=4)
    cache, batch = work / "cache", 8 if quick else 64
    sizes = (16, 24) if quick else (64, 128)
    small, big = ({**LAPTOP, "size": size, "batch": batch} for size in sizes)
    # The paper's 10,000 steps are 39 passes over its training set; so are 234 over 384 images, and 78 over 128 large files.
    # The rows of larger inputs have fewer, which is to the disadvantage of a cache.
    steps = {"64": 3, "128": 3, "png": 2, "bit": 2} if quick else {"64": 234, "128": 78, "png": 78, "bit": 4}
    wide = {**BIT, "size": 32 if quick else 128, "batch": 4 if quick else 64}
    peers(bench, jpeg, work / "cache-peers", {**small, "steps": steps["64"]})
    bench.training("train-128", 2, jpeg, cache, f"laptop model, {sizes[1]} px, JPEG files of 512 px", **big, steps=steps["128"])
    bench.training("train-png", 5, png, cache, f"laptop model, {sizes[0]} px, PNG files of 1024 px", **small, steps=steps["png"])
    bench.training("train-bit", 1.3, jpeg, cache, f"BiT-R50x1, {wide['size']} px, JPEG files of 512 px", repeats=2, **wide, steps=steps["bit"])

    for name, settings, count in (("compute-64", small, 30), ("compute-128", big, 12), ("compute-bit", wide, 3)):
        if not bench.wanted(name):
            continue
        found = run("training_against_compute", rounds=2 if quick else 3 if settings is wide else 5, **settings, steps=3 if quick else count)
        rates = ([found["batch"] / seconds for seconds in found[side]] for side in ("ours", "theirs"))
        what = f"training on cached images, {'BiT-R50x1' if settings is wide else 'laptop model'}, {settings['size']} px"
        bench.compare(name, 0.95, what, "the same step on one batch that stays in memory", *rates)

    files_of = {"folder": str(scored), **small, "steps": 8}
    run("our_evaluation", cache=str(cache), **files_of)  # fills the cache
    bench.pair(
        "evaluate", 3, f"evaluation of {test} test images, laptop model, {sizes[0]} px, cached", "decoding them again in a DataLoader with 2 workers",
        lambda _: run("our_evaluation", cache=str(cache), **files_of), lambda _: run("standard_evaluation", **files_of),
    )  # fmt: skip
    for kind in ("JPEG", "PNG"):
        count, to = (24, 64) if quick else (2304, 512)
        folder = files.variant(source, work / f"{kind}-many", 128 if quick else 1024, kind.lower(), count, count // 12, test=4)

        def build(_: int, folder=folder, to=to, count=count) -> dict:
            shutil.rmtree(cache, ignore_errors=True)
            return run("cache_build", folder=str(folder), cache=str(cache), size=to, count=count)

        bench.pair(
            f"cache-{kind.lower()}", 1.8, f"cache of resized images, {kind} files of 1024 px to {to} px", "one process with Pillow",
            build, lambda _, folder=folder, to=to, count=count: run("pillow_resize", folder=str(folder), size=to, count=count),
        )  # fmt: skip
        for part in () if bench.only else (count // 4, count // 2, count):
            bench.add("memory", {"name": f"{kind}, {part} images", "kind": kind} | build(0, count=part))
    import numpy as np

    maps = [str(work / f"{name}.npy") for name in ("ours", "theirs")]
    cams = {"images": 8 if quick else 200, **big, "steps": 8}
    bench.pair(
        "grad-cam", 2, f"Grad-CAM of {cams['images']} images, laptop model, {sizes[1]} px", "pytorch-grad-cam, one image at a time",
        lambda _: run("our_grad_cam", out=maps[0], **cams), lambda _: run("library_grad_cam", out=maps[1], **cams),
    )  # fmt: skip
    if bench.wanted("grad-cam"):
        row = next(row for row in bench.result["rows"] if row["name"] == "grad-cam")
        row["largest_difference"] = float(np.abs(np.load(maps[0]) - np.load(maps[1])).max())


PEERS = {
    "our_training": "cxrlib, its cache made within the time",
    "standard_training": "torchvision's transforms, DataLoader with two workers",
    "timm_training": "parts of timm's train.py: its loader, optimiser and meter",
    "bit_training": "loop of the BiT authors: eight workers, a pass at a time",
    "webdataset_training": "webdataset: tar files read from end to end, written before",
}


def peers(bench: Bench, folder: Path, cache: Path, settings: dict) -> None:
    """Training from files by each of :data:`PEERS`, in turns; the ratio is how many times as fast cxrlib was in the same turn. The pair train-64 is two of them."""
    if not (bench.wanted("peers") or bench.wanted("train-64")):
        return
    found: dict[str, list[dict]] = {name: [] for name in PEERS}
    for repeat in range(bench.repeats):
        shutil.rmtree(cache, ignore_errors=True)
        for name in PEERS if repeat % 2 else reversed(PEERS):
            more = {"cache": str(cache)} if name == "our_training" else {}
            found[name].append(run(name, folder=str(folder), seed=repeat, **more, **settings))
    rates = {name: [result["images"] / result["seconds"] for result in results] for name, results in found.items()}
    losses = {name: spread([result["loss"] for result in results]) for name, results in found.items()}
    bench.compare(
        "train-64", 3, f"training from image files, laptop model, {settings['size']} px, JPEG files of 512 px", STANDARD, rates["our_training"], rates["standard_training"],
        steps=settings["steps"], loss={"ours": losses["our_training"], "theirs": losses["standard_training"]},
    )  # fmt: skip
    bench.result["peers"] = []
    for name, what in PEERS.items():
        row = {"name": name.removesuffix("_training"), "what": what, "rate": spread(rates[name]), "cxrlib": code_version()}
        row["ratio"] = spread([ours / theirs for ours, theirs in zip(rates["our_training"], rates[name])])
        bench.add("peers", row | {"loss": losses[name], "steps": settings["steps"], "size": settings["size"]})


BESIDE = {"idle": 0, "busy": 1, "crowded": 3}
"""Processes that want a core all the time, beside the measured one."""


def waiting(bench: Bench, settings: dict) -> None:
    """Steps of one run while the machine is idle, beside one busy process and beside three, in turns, by how threads wait, and by one thread."""
    if not bench.wanted("waiting"):
        return
    cores = usable_cores()
    ways = {
        f"{cores} threads that spin, as PyTorch comes": (cores, SPINNING),
        f"{cores} threads that spin shortly and then sleep, as cxrlib sets them": (cores, {}),
        f"{cores} threads that sleep at once": (cores, {"OMP_WAIT_POLICY": "PASSIVE"}),
        "1 thread, as a sweep sets it": (1, {}),
    }
    found: dict[str, dict[str, list[float]]] = {name: {state: [] for state in BESIDE} for name in ways}
    for _ in range(bench.repeats):
        for state, others in BESIDE.items():
            with contextlib.ExitStack() as beside:
                for _ in range(others):
                    beside.enter_context(busy_process())
                for name, (threads, environment) in ways.items():
                    one = run("threaded_run", environment, threads=threads, **settings, steps=4 if bench.quick else 16)
                    found[name][state].append(one["images"] / one["seconds"])
    spinning = next(iter(found.values()))["idle"]
    bench.result["waiting"] = []
    for name, rates in found.items():
        row = {"name": name, **{state: spread(rates[state]) for state in BESIDE}, "size": settings["size"], "batch": settings["batch"], "cxrlib": code_version()}
        row |= {"kept": spread([busy / idle for idle, busy in zip(rates["idle"], rates["busy"])])}
        bench.add("waiting", row | {"against_spinning": spread([ours / theirs for ours, theirs in zip(rates["idle"], spinning)])})


@contextlib.contextmanager
def busy_process() -> Iterator[None]:
    """One more process that wants a core all the time."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def starting(bench: Bench, work: Path) -> None:
    """How long until the first step, and what a sweep gains over processes one after another."""
    if not bench.wanted("sweep"):
        return
    source = files.base(work / "base", *base_counts(bench))
    folder = files.variant(source, work / "jpeg512-runs", 96 if bench.quick else 512, "jpeg", 12 if bench.quick else 384, test=12 if bench.quick else 100)
    settings = {**LAPTOP, "size": 16 if bench.quick else 64, "batch": 8 if bench.quick else 32, "steps": 4 if bench.quick else 40}
    where = {"folder": str(folder), "cache": str(work / "cache-runs")}
    run("one_run", store=str(work / "store-first"), seed=0, **where, **settings)  # fills the cache
    seconds: dict[str, list[float]] = {"python": [], "torch": [], "first step": [], "import cxrlib": [], "cxr --help": [], "typer": []}
    for repeat in range(1 if bench.quick else 5):
        for name, code in (("python", "pass"), ("torch", "import torch"), ("import cxrlib", "import cxrlib"), ("typer", "import typer, yaml, rich.console")):
            seconds[name].append(_process(["-c", code]))
        seconds["cxr --help"].append(_process(["-m", "cxrlib", "--help"]))
        began = time.perf_counter()
        found = run("one_run", store=str(work / f"store-{repeat}"), seed=0, **where, **settings)
        whole = time.perf_counter() - began
        seconds["first step"].append(whole - found["seconds"] + found["first_step"])
    bench.result["start"] = {name: spread(values) for name, values in seconds.items()}
    runs = 2 if bench.quick else 12

    def fresh(repeat: int) -> dict:
        began = time.perf_counter()
        for seed in range(runs):
            run("one_run", store=str(work / f"one-by-one-{repeat}"), seed=seed, **where, **settings)
        return {"seconds": time.perf_counter() - began, "runs": runs}

    def sweep(repeat: int) -> dict:
        began = time.perf_counter()
        run("sweep_of", store=str(work / f"sweep-{repeat}"), runs=runs, **where, **settings)
        return {"seconds": time.perf_counter() - began, "runs": runs}

    bench.pair("sweep", 1.3, f"a sweep of {runs} runs of {settings['steps']} steps", "the same runs one after another, each in a fresh process", sweep, fresh, repeats=2, unit="runs/s")


def _process(arguments: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(ROOT)})
    return time.perf_counter() - began


IDEAS = {
    "plain": "as PyTorch and the C library come",
    "keep": "keep freed memory for the next step",
    "last": "channels last",
    "keep+last": "both",
    "keep+last+pool": "and no padded copy before the pooling: what cxrlib does",
    "keep+last+pool+weights": "that, and the weights channels last too",
    "keep+last+pool+fused": "that, and fused SGD",
    "keep+last+pool+micro": "that, and the batch in four parts, for the caches",
    "keep+last+pool+bf16": "that, and bf16 autocast (precision=bf16)",
    "compile": "torch.compile, as it comes",
    "keep+last+compile": "torch.compile, memory kept, channels last",
}


BIT_IDEAS = ("plain", "keep+last+pool", "keep+last+pool+bf16")  # of the large model, which takes its time


def ideas(bench: Bench) -> None:
    """Steps of the laptop model and of BiT-R50x1 with each idea; one process each, the spread is that of its steps."""
    batch = 8 if bench.quick else 64
    small, *larger = [{**LAPTOP, "size": size, "batch": batch, "steps": 2 if bench.quick else 12} for size in ((16,) if bench.quick else (64, 128))]
    wide = {**BIT, "size": 32 if bench.quick else 128, "batch": 4 if bench.quick else batch, "steps": 2}
    for settings in (small, *larger):
        steps_with(bench, [kind for kind in IDEAS if not (bench.quick and "compile" in kind)], settings)
    steps_with(bench, BIT_IDEAS, wide)
    folding(bench, (small, wide))
    side_by_side(bench, small)


def steps_with(bench: Bench, kinds: Iterable[str], settings: dict) -> None:
    for kind in kinds:
        with contextlib.suppress(RuntimeError):  # such as no compiler
            found = run("one_step", kind=kind, **settings)
            row = {"name": IDEAS[kind], "kind": kind, "arch": settings["arch"], "size": settings["size"], "batch": settings["batch"]}
            row["rate"] = spread([found["images"] / seconds for seconds in found["times"]])
            bench.add("ideas", row | {"first_step_seconds": found["first"]})


def folding(bench: Bench, cases: Iterable[dict]) -> None:
    """How many times as fast an evaluation is with standardised weights in the place of weights to be standardised."""
    bench.result["folding"] = {}
    for settings in cases:
        found = run("folded_evaluation", batches=2 if bench.quick else 6, **settings)
        ratio = statistics.median(found["built"]) / statistics.median(found["folded"])
        bench.result["folding"][f"{settings['arch']}, {settings['size']} px"] = ratio


def side_by_side(bench: Bench, settings: dict) -> None:
    """Two runs at once, with one thread each and with as many as there are cores."""
    shared = settings | {"steps": 4 if bench.quick else 40}
    for threads in (1, usable_cores()):
        alone = run("threaded_run", threads=threads, **shared)
        both = [result(process) for process in [start("threaded_run", threads=threads, **shared) for _ in range(2)]]
        row = {"name": f"two runs side by side, {threads} thread{'s' * (threads > 1)} each", "kind": f"side by side, {threads}", "arch": shared["arch"]}
        row |= {"size": shared["size"], "batch": shared["batch"], "rate": spread([sum(r["images"] / r["seconds"] for r in both)])}
        bench.add("ideas", row | {"alone": alone["images"] / alone["seconds"]})


def scale(bench: Bench, work: Path) -> None:
    """What indexing, fingerprint, cache and an epoch cost as the data set grows to the size of COVIDx V9B."""
    counts = (24, 48) if bench.quick else (1_000, 3_000, 10_000, 30_482)
    source = files.base(work / "base", *base_counts(bench))
    for count in counts:
        folder = files.variant(source, work / "scale", 64 if bench.quick else 256, "jpeg", count, min(count, 64 if bench.quick else 1_000), test=4)
        megabytes = sum(path.stat().st_size for path in (folder / "train").iterdir()) / 1e6
        shutil.rmtree(work / "cache-scale", ignore_errors=True)
        settings = {**LAPTOP, "size": 16 if bench.quick else 32, "batch": 8 if bench.quick else 64}
        found = run("data_costs", folder=str(folder), cache=str(work / "cache-scale"), **settings)
        bench.add("scale", {"name": f"{count} training images", "train": count, "megabytes": megabytes, "crop": settings["size"], "file_pixels": 64 if bench.quick else 256} | found)
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/bench.json"))
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether it runs, not how fast")
    parser.add_argument("--only", nargs="+", default=(), metavar="NAME", help="measure these pairs or tables again, such as train-64, peers, waiting or scale; the rest of the file stays")
    parser.add_argument("--work", type=Path, help="folder for image files, kept; default a temporary one")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        work = arguments.work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cxr-bench-")))
        work.mkdir(parents=True, exist_ok=True)
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(work.resolve() / "inductor")  # so that the first compilation is one
        began, bench = time.monotonic(), Bench(arguments.out, arguments.quick, tuple(arguments.only))
        throughput(bench, work.resolve())
        starting(bench, work.resolve())
        waiting(bench, {**LAPTOP, "size": 16 if bench.quick else 64, "batch": 8 if bench.quick else 64})
        if bench.wanted("scale"):
            bench.result["scale"] = []
            scale(bench, work.resolve())
        if not bench.only:
            ideas(bench)
            bench.result["minutes"] = (time.monotonic() - began) / 60
        atomic_write(arguments.out, json.dumps(bench.result, indent=1) + "\n")
        print(f"{arguments.out}, after {(time.monotonic() - began) / 60:.0f} minutes")


if __name__ == "__main__":
    main()
