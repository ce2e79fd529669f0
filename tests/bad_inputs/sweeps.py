"""Sweeps, their profiles, and the schedulers that they are sent to."""

import http.server
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bad_inputs import Bad
from bad_inputs.weights import of


def connect_to(address: str) -> Callable[[Path], object]:
    def call(place: Path) -> object:
        import dask
        import distributed  # noqa: F401 - its settings must be there before one of them is set, or they are gone afterwards

        from cxrlib.experiment import cluster

        patience, cluster.PATIENCE = cluster.PATIENCE, 1.0
        try:
            with dask.config.set({"distributed.comm.timeouts.connect": "1s"}), cluster.connect(address, 1):
                return None
        finally:
            cluster.PATIENCE = patience

    return call


def web_server(place: Path) -> object:
    """A server of something else."""
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        return connect_to(f"tcp://127.0.0.1:{server.server_port}")(place)
    finally:
        server.shutdown()
        server.server_close()


SCHEDULER = of("scheduler", None)
STARTS = "start one with: dask scheduler"


def nothing(place: Path) -> None:
    """What is asked is wrong by itself."""


def profiles(**texts: str) -> Callable[[Path], None]:
    def make(place: Path) -> None:
        (place / "profiles").mkdir()
        for name, text in texts.items():
            (place / "profiles" / f"{name}.yaml").write_text(text)

    return make


GOOD = "description: small\n"
SWEEP = partial(Bad, "sweep", make=profiles(mine=GOOD), data=False)


def sweep(*arguments: str, profile: str = "mine") -> tuple[str, ...]:
    return ("sweep", "--profile", profile, "--data", "nowhere", *arguments)


def profile(how: str, text: str, *says: str) -> Bad:
    return Bad("profile", how, profiles(mine=text), ("profiles/mine.yaml", *says), ("plan", "--profile", "mine", "--throughput", "1"), data=False)


ROWS = [
    SCHEDULER("nobody listens there", nothing, ("no Dask scheduler answers at tcp://127.0.0.1:9", STARTS), connect_to("tcp://127.0.0.1:9")),
    SCHEDULER("its address has no port", nothing, ("no Dask scheduler answers at tcp://127.0.0.1", "missing port number", STARTS), connect_to("tcp://127.0.0.1")),
    SCHEDULER("its address has an unknown protocol", nothing, ("no Dask scheduler answers at smoke://a:1", "unknown address scheme", STARTS), connect_to("smoke://a:1")),
    SCHEDULER("its host does not exist", nothing, ("no Dask scheduler answers at tcp://no-such-host.invalid:8786", STARTS), connect_to("tcp://no-such-host.invalid:8786")),
    SCHEDULER("it speaks TLS and no key is at hand", nothing, ("no Dask scheduler answers at tls://127.0.0.1:9", STARTS), connect_to("tls://127.0.0.1:9")),
    SCHEDULER("another server answers there", nothing, ("no Dask scheduler answers at tcp://127.0.0.1:", STARTS), web_server),
    SCHEDULER("its file is a folder", lambda place: (place / "s.json").mkdir(), ("s.json is no scheduler file, or half of one",), connect_to("s.json")),
    SCHEDULER("its file is a link to nothing", lambda place: (place / "s.json").symlink_to("gone"), ("s.json is no scheduler file, or half of one",), connect_to("s.json")),
    SWEEP("its profile does not exist", call=sweep(profile="dmeo"), says=("no profile 'dmeo'; there are: mine",)),
    SWEEP("its profile is a path", call=sweep(profile="../mine"), says=("'../mine' is no name of a profile", "without .yaml")),
    SWEEP("its profile is the parent folder", call=sweep(profile=".."), says=("'..' is no name of a profile",)),
    SWEEP("its study does not exist", call=sweep("--study", "04_data"), says=("there is no study '04_data'; there are: ", "04_data_size")),
    SWEEP("its data folder does not exist", call=sweep(), says=("'nowhere' does not exist; give a folder in the COVIDx layout",)),
    SWEEP("a seed is named twice", call=sweep("-p", "seeds=[0, 0, 1]"), says=("seeds: '0' is named twice; name each value once",)),
    SWEEP("an initialisation is named twice", call=sweep("-p", "inits=[random, random]"), says=("inits: 'random' is named twice",)),
    SWEEP("a parameter is misspelt", call=sweep("-p", "resise=64"), says=("there is no parameter 'resise'; did you mean 'resize'?",)),
    SWEEP("images are to be two thousand million pixels wide", call=("train", "-p", "resize=2147483648"), says=("'resize'", "less than or equal to 8192")),
    SWEEP("it has no workers", call=sweep("--workers", "0"), says=("--workers", "greater than or equal to 1")),
    profile("it is empty", "", "it has no 'description'; say in a sentence"),
    profile("it has an unknown part", GOOD + "notebook: {}\n", "there is no part 'notebook'; did you mean 'notebooks'?"),
    profile("it has a part called parameters", GOOD + "parameters: {}\n", "there is no part 'parameters'; known parts: description, phantom, common, notebooks"),
    profile("it names no notebook", GOOD + "notebooks:\n  03_tests: {}\n", "no notebook '03_tests'; there are: "),
    profile("a common parameter is misspelt", GOOD + "common:\n  sedes: [1]\n", "no notebook has the parameter 'sedes'"),
    profile("a parameter of a notebook is misspelt", GOOD + "notebooks:\n  03_test_performance:\n    sedes: [1]\n", "03_test_performance", "did you mean 'seeds'?"),
    profile("a crop is larger than its image", GOOD + "notebooks:\n  03_test_performance:\n    resize: 32\n    crop: 64\n", "crop 64 is larger than resize 32; make crop at most 32"),
    profile("a schedule falls", GOOD + "notebooks:\n  03_test_performance:\n    schedule: [5, 3]\n", "[5, 3] must rise"),
    Bad("committed table", "its name is unknown", nothing, ("results: there is no table 'quater'; did you mean 'quarter'?",), ("results", "--data", "set", "--table", "quater"), data=True),
    Bad("phantoms", "the severity is a list", nothing, ("severity must be shares by name, such as {", "not [1, 2]"), ("data", "phantom", "new", "-p", "severity=[1, 2]"), data=False),
    Bad("phantoms", "a share of the severity is text", nothing, ("severity: the share of faint must be a number, not 'x'",), ("data", "phantom", "new", "-p", "severity={faint: x, mild: 1, moderate: 1, severe: 1}"), data=False),
    Bad("phantoms", "a severity has an unknown name", nothing, ("severity must name exactly faint, mild, moderate, severe; it names heavy",), ("data", "phantom", "new", "-p", "severity={heavy: 1}"), data=False),
    Bad("phantoms", "overwrite is neither true nor false", nothing, ("overwrite must be true or false, not 'maybe'",), ("data", "phantom", "new", "-p", "overwrite=maybe"), data=False),
    Bad("phantoms", "an image is to be two thousand million pixels wide", nothing, ("size must be a whole number from 32 to 2048, not 2147483648",), ("data", "phantom", "new", "-p", "size=2147483648"), data=False),
    Bad("upstream", "its name is unknown", nothing, ("there is no upstream 'fractal-x'; there are: fractal-s, fractal-m",), ("upstream", "fractal-x"), data=False),
]  # fmt: skip
