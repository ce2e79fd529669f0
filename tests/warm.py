"""A Python that has imported what tests need, and forks: a process of its own for every call, without the seconds of its imports.

``python(*arguments)`` is a command for :mod:`subprocess` in place of ``[sys.executable, *arguments]``, and :func:`everywhere` has
the package start such processes. Each has its own memory, globals, threads, environment and working directory; what it
shares is that modules are there. So what tests how something starts, what it imports, or what its environment does to an import
needs a Python of its own. A command that is killed takes its process with it.
"""

import array
import contextlib
import functools
import json
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

OUTSIDE = (
    "ipykernel.kernelapp", "ipykernel.ipkernel", "IPython.core.pylabtools", "matplotlib.pyplot", "pyarrow.parquet", "scipy.stats", "torch",
    "jupyter_book.sphinx", "myst_nb.sphinx_", "sphinx.builders.html", "sphinxcontrib.bibtex",
)  # fmt: skip
"""What of other packages is imported, beside the whole of cxrlib with all that it imports."""
PYTHON = sys.executable
EXECUTABLE = "CXR_WARM_PYTHON"
"""Variable of the environment: what such processes take for their :data:`sys.executable`."""


def python(*arguments: str) -> list[str]:
    """The command of a Python with these arguments: ``-c CODE …`` or ``-m MODULE …``."""
    return [PYTHON, "-S", "-E", __file__, "ask", _server(), *arguments]


@contextlib.contextmanager
def everywhere() -> Iterator[None]:
    """Let the package start such processes meanwhile: for :data:`sys.executable`, and as the notebooks' kernel 'python3'."""
    import pytest

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        command = python()
        place, program = Path(folder) / "kernels" / "python3", Path(folder) / "python"
        place.mkdir(parents=True)
        kernel = {"argv": [*command, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "Python 3", "language": "python"}
        (place / "kernel.json").write_text(json.dumps(kernel))
        program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        program.chmod(0o755)
        patch.setenv("JUPYTER_PATH", folder)
        patch.setenv(EXECUTABLE, str(program))
        patch.setattr(sys, "executable", str(program))
        yield


@functools.cache
def _server() -> str:
    """The address of the process that forks: one for all workers of a run of tests, which ends with the run."""
    import filelock

    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    folder = Path(tempfile.gettempdir()) / f"cxr-warm-{os.getuid()}-{run or os.getpid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    address = folder / "s"
    with filelock.FileLock(folder / "lock"):
        if not address.exists():
            environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"} | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
            command = [PYTHON, __file__, str(address), str(os.getppid() if run else os.getpid())]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment, cwd=folder)
            if process.stdout.readline() != b"ready\n":
                raise RuntimeError("the process that tests fork from did not start; its reason stands above")
    return str(address)


# The process that forks


def _import_all() -> None:
    import importlib
    import pkgutil

    import cxrlib

    for name in OUTSIDE:
        importlib.import_module(name)
    for module in pkgutil.walk_packages(cxrlib.__path__, "cxrlib."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def _serve(address: str, owner: int) -> None:
    """Fork for every call as long as the owner lives; end a call if nobody waits for it any longer, and say how each ended."""
    import gc

    sys.path.pop(0)  # the folder of this file
    _import_all()
    gc.collect()
    gc.freeze()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen(64)
    ended, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes)
    calls: dict[socket.socket, int] = {}
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([listening, ended, *calls], [], [], 1)
        for connection in calls.keys() & set(ready):
            os.kill(calls[connection], signal.SIGKILL)
        if ended in ready:
            os.read(ended, 1000)
        for connection, process in list(calls.items()):
            found, status = os.waitpid(process, os.WNOHANG)
            if found:
                with contextlib.suppress(OSError):
                    connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
                connection.close()
                del calls[connection]
        if listening in ready:
            connection, _ = listening.accept()
            call, given = _received(connection)
            process = os.fork()
            if process == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for target, number in enumerate(given):
                    os.dup2(number, target)
                for number in (ended, wakes, *given):
                    os.close(number)
                for other in (listening, connection, *calls):
                    other.close()
                os._exit(_run(**call))
            calls[connection] = process
            for number in given:
                os.close(number)
        if not _alive(owner):
            for process in calls.values():
                os.kill(process, signal.SIGKILL)
            shutil.rmtree(Path(address).parent, ignore_errors=True)
            return


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _received(connection: socket.socket) -> tuple[dict, array.array]:
    """A call, and the standard streams that come with it."""
    given = array.array("i")
    size, control, _, _ = connection.recvmsg(8, socket.CMSG_LEN(3 * given.itemsize))
    given.frombytes(control[0][2])
    return json.loads(connection.recv(int.from_bytes(size), socket.MSG_WAITALL)), given


def _run(arguments: list[str], environment: dict[str, str], folder: str) -> int:
    """In the process of a call: what Python does with these arguments; its exit status."""
    import atexit
    import runpy
    import types

    how, what, *rest = arguments[1:] if arguments[0] == "-u" else arguments
    for number, name in enumerate(("stdin", "stdout", "stderr")):  # those of the process that forks know whether theirs can seek
        stream = open(number, "w" if number else "r", 1 if number == 2 else -1, errors="backslashreplace" if number == 2 else None, closefd=False)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if "JPY_PARENT_PID" in os.environ:
        os.environ["JPY_PARENT_PID"] = str(os.getppid())
    if what == "ipykernel_launcher":  # as it does itself, before Matplotlib is imported
        os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    if "MPLBACKEND" in os.environ:
        sys.modules["matplotlib"].rcParams["backend"] = os.environ["MPLBACKEND"]
    sys.executable = os.environ.get(EXECUTABLE, sys.executable)
    sys.argv = [how, *rest]
    sys.path.insert(0, "" if how == "-c" else folder)
    status: object = 0
    try:
        if how == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            sys.modules["__main__"] = types.ModuleType("__main__")
            exec(compile(what, "<string>", "exec"), sys.modules["__main__"].__dict__)
    except SystemExit as error:
        status = error.code or 0
        if not isinstance(status, int):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


# The command


def _ask(address: str, arguments: list[str]) -> int:
    """Hand over the standard streams, and wait for the exit status."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    call = json.dumps({"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}).encode()
    connection.sendmsg([len(call).to_bytes(8)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
    connection.sendall(call)
    for given in (0, 1, 2):
        os.close(given)
    status = int(connection.makefile("rb").read() or 1)
    if status < 0:
        signal.signal(-status, signal.SIG_DFL) if -status != signal.SIGKILL else None
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    os._exit(_ask(sys.argv[2], sys.argv[3:]) if sys.argv[1] == "ask" else _serve(sys.argv[1], int(sys.argv[2])) or 0)
