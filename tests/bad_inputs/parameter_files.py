"""Parameter files, of ``cxr train --config``, and values behind ``-p``."""

import os
from functools import partial
from pathlib import Path

from bad_inputs import Bad

FILE = partial(Bad, "parameter file", call=("train", "--config", "run.yaml"), data=False)
VALUE = partial(Bad, "parameter", make=lambda place: None, data=False)


def content(data: bytes | str):
    def make(place: Path) -> None:
        (place / "run.yaml").write_bytes(data if isinstance(data, bytes) else data.encode())

    return make


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{','.join(['*' + chr(97 + level)] * 9)}]\n" for level in range(9)
)
BAD = ("run.yaml",)


def value(text: str, *words: str, how: str, command: tuple[str, ...] = ("train",)) -> Bad:
    return VALUE(how=how, says=words, call=(*command, "-p", text))


ROWS = [
    FILE("a colon is missing", content("seed 3\n"), (*BAD, "'name: value' lines")),
    FILE("a blank is missing behind a colon", content("seed:3\n"), (*BAD, "'name: value' lines")),
    FILE("a bracket is not closed", content("seed: 1\nschedule: [1, 2\n"), (*BAD, "line 3", "expected ',' or ']'")),
    FILE("a quote is not closed", content("seed: 'x\n"), (*BAD, "line 2", "unexpected end")),
    FILE("it is indented with tabs", content("seed:\n\t3\n"), (*BAD, "line 2", "cannot start any token")),
    FILE("a line is indented by mistake", content("seed: 1\n  arch: x\n"), (*BAD, "line 2", "mapping values are not allowed")),
    FILE("a value holds a colon", content("init: a: b\n"), (*BAD, "line 1", "mapping values are not allowed")),
    FILE("a value begins with an at sign", content("init: @x\n"), (*BAD, "line 1")),
    FILE("it is a list", content("- seed\n- 3\n"), (*BAD, "'name: value' lines", "such as 'seed: 1'")),
    FILE("it is a single word", content("seed"), (*BAD, "'name: value' lines")),
    FILE("a name stands twice", content("seed: 1\nbatch_size: 8\nseed: 2\n"), (*BAD, "line 3", "'seed' is given twice")),
    FILE("a name is misspelt", content("sede: 1\n"), ("there is no parameter 'sede'", "did you mean 'seed'?")),
    FILE("a name is a number", content("1: 2\n"), (*BAD, "'name: value' lines")),
    FILE("a number is a word", content("seed: many\n"), ("parameter 'seed' = 'many'", "valid integer")),
    FILE("a value is out of range", content("base_lr: -1\n"), ("parameter 'base_lr' = -1", "greater than 0")),
    FILE("a choice does not exist", content("mixup: none\n"), ("parameter 'mixup' = 'none'", "'off', 'beta' or 'fixed'")),
    FILE("its references multiply (an alias bomb)", content(BOMB), (*BAD, "unfold to more than 100,000 values")),
    FILE("a value refers to itself", content("seed: &a [*a]\n"), (*BAD, "a value refers to itself")),
    FILE("a reference leads nowhere", content("seed: *x\n"), (*BAD, "line 1", "undefined alias")),
    FILE("it is nested 5,000 deep", content("seed: " + "[" * 5000), (*BAD, "nested too deeply")),
    FILE("it asks for Python objects", content("seed: !!python/object/apply:os.system [ls]\n"), (*BAD, "line 1", "could not determine a constructor")),
    FILE("it holds two documents", content("seed: 1\n---\nseed: 2\n"), (*BAD, "line 2")),
    FILE("it is saved as UTF-16", content("seed: 1\n".encode("utf-16")), (*BAD, "byte 0 is not UTF-8")),
    FILE("it holds a control character", content("seed: \x07\n"), (*BAD, "a character that is not text")),
    FILE("it is a picture", content(b"\x89PNG\r\n\x1a\n" + bytes(100)), (*BAD, "is not UTF-8")),
    FILE("it is JSON that is cut off", content('{"seed": 1, '), (*BAD, "line 1")),
    FILE("it is larger than 1 MiB", content("# " + "x" * (1 << 21)), (*BAD, "more than 1,048,576")),
    FILE("it is a folder", lambda place: (place / "run.yaml").mkdir(), (*BAD, "not a file but a folder")),
    FILE("it is a pipe", lambda place: os.mkfifo(place / "run.yaml"), (*BAD, "a device or a pipe")),
    FILE("it does not exist", lambda place: None, (*BAD, "No such file")),
    FILE("a tag says time and the value is none", content("seed: !!timestamp 2001-99-99[\n"), (*BAD, "a tag (!!) does not fit its value", "leave it out")),
    FILE("a tag says true or false and the value is neither", content("freeze: !!bool maybe\n"), (*BAD, "a tag (!!) does not fit its value")),
    FILE("a number is infinite", content("base_lr: .inf\n"), ("parameter 'base_lr' = inf", "finite number")),
    FILE("a number is too large to be one", content("base_lr: 1e400\n"), ("parameter 'base_lr' = inf", "finite number")),
    FILE("a number is true", content("base_lr: true\n"), ("parameter 'base_lr' = True", "give a number, not true or false")),
    FILE("a number is off", content("seed: off\n"), ("'seed' = 'off'", "valid integer")),
    FILE("a step of the schedule is true", content("schedule: [true, 20]\n"), ("parameter 'schedule' = True", "give a number")),
    FILE("a name stands twice inside a value", content("seed: {a: 1, a: 2}\n"), (*BAD, "line 1", "'a' is given twice")),
    FILE("a choice is YAML's 'no'", content("mixup: no\n"), ("parameter 'mixup' = 'no'", "'off', 'beta' or 'fixed'")),
    FILE("a number has a decimal comma", content("base_lr: 0,01\n"), ("parameter 'base_lr' = '0,01'", "valid number")),
    FILE("mixup has no strength", content("mixup_value: 0\n"), ("mixup_value 0 is not positive", "mixup: off")),
    FILE("a fixed mixup weighs an image more than once", content("mixup: fixed\nmixup_value: 1.5\n"), ("mixup_value 1.5 is more than 1", "from 0 to 1")),
    FILE("it asks for a hundred thousand threads", content("threads: 100000\n"), ("parameter 'threads' = 100000", "less than or equal to 1024")),
    FILE("the data folder is empty text", content("data: ''\n"), ("parameter 'data' is empty", "'.' for this one")),
    FILE("it is written as TOML", content("seed = 1\n"), (*BAD, "'name: value' lines")),
    FILE("it is the config of a record, one level deeper", content("config:\n  seed: 1\n"), ("there is no parameter 'config'",)),
    VALUE(how="a name is given twice", says=("'seed=2': 'seed' is given twice; keep one",), call=("train", "-p", "seed=1", "-p", "seed=2")),
    value("nonsense", "'nonsense' is not NAME=VALUE", how="there is no equals sign"),
    value("=3", "'=3' is not NAME=VALUE", how="there is no name"),
    value("schedule=[1, 2", "the value is not YAML", "lists look like [1, 2]", how="a list is not closed"),
    value("seed=0x10", "parameter 'seed' = '0x10'", "valid integer", how="a number is hexadecimal"),
    value("seed=1:30", "parameter 'seed' = '1:30'", how="a number is written like a time"),
    value("seed=-1", "greater than or equal to 0", how="the seed is negative"),
    value("seed=1.5", "parameter 'seed' = 1.5", "valid integer", how="the seed is a fraction"),
    value("schedule=[3, 2, 1]", "must rise", "last warm-up step", how="the schedule falls"),
    value("resize=32", "crop 480 is larger than resize 32", "make crop at most 32", how="the crop is larger than the image"),
    value("batch_size=7", "batch_size 7 is odd", how="the batch cannot be halved"),
    value("data=no/such/folder", "folder 'no/such/folder' does not exist", how="the data folder does not exist"),
    value("data=~nobody/x", "does not exist", how="the home folder is that of nobody"),
    value("profile=x", "there is no parameter 'profile'", how="the parameter belongs to another command"),
    value("sise=64", "did you mean 'size'", how="a parameter of the phantoms is misspelt", command=("data", "phantom", "nowhere")),
]
