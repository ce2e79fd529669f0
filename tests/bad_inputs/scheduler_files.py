"""Files of a Dask scheduler that a sweep is given."""

from functools import partial
from pathlib import Path

from bad_inputs import Bad


def use(place: Path) -> None:
    from cxrlib.experiment.cluster import connect

    with connect("scheduler.json", 1):
        pass


def content(text: str):
    return lambda place: (place / "scheduler.json").write_text(text)


SAID = ("scheduler.json is no scheduler file, or half of one", "wait until it is written")
FILE = partial(Bad, "scheduler file", says=SAID, call=use, data=False)
ROWS = [
    FILE("it is empty", content("")),
    FILE("it is half written", content('{"type": "Scheduler", "id": "Schedu')),
    FILE("it holds no address", content('{"type": "Scheduler"}')),
    FILE("its address is empty", content('{"address": ""}')),
    FILE("its address is a number", content('{"address": 8786}')),
    FILE("it is a list", content("[]")),
    FILE("it is text", content("tcp://10.0.0.1:8786")),
    FILE("it is nested 100,000 deep", content("[" * 100_000)),
]
