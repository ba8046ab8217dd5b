"""Object files of compiled code: kept, linked without the compiler, and never linked when they are damaged."""

import os
import signal
import subprocess
import sys
from ctypes import CFUNCTYPE, c_int64
from pathlib import Path

import numpy as np
import pytest
from children import LIMIT
from numba import njit, types

from compiler.measuring.measure import resident
from emulator.compile_ahead import compile_ahead
from emulator.native import objects
from emulator.native.machine_code import array
from emulator.native.object_code import object_code
from isa import caches
from isa.caches import KERNELS
from slimulator.commands import shared

ROOT = Path(__file__).parents[2]
SIGNATURE = "int64(int64, int64)"


def quotient(a, b):
    return a // b


def linked(name, function):
    return CFUNCTYPE(c_int64, c_int64, c_int64)(objects.entry("emulator.native.block", name, SIGNATURE, function))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where object files of this test are kept."""
    monkeypatch.setattr(KERNELS, "root", tmp_path)
    monkeypatch.setattr(objects, "_linked", {})
    return tmp_path / "kernels" / objects.state("emulator.native.block")


def test_code_is_compiled_once_and_kept(folder, monkeypatch):
    assert linked("quotient", lambda: quotient)(42, 5) == 8
    assert [path.name for path in folder.iterdir()] == ["quotient.o"]
    monkeypatch.setattr(objects, "_linked", {})
    assert linked("quotient", lambda: pytest.fail("compiled again"))(-42, 5) == -9


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"", lambda data: data[:99] + b"\x90" + data[100:]])
def test_a_damaged_object_is_made_anew(folder, monkeypatch, damage):
    linked("quotient", lambda: quotient)
    path = folder / "quotient.o"
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    monkeypatch.setattr(objects, "_linked", {})
    assert linked("quotient", lambda: quotient)(42, 5) == 8
    assert len(path.read_bytes()) == len(whole)


def test_code_that_cannot_be_kept_runs(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(KERNELS, "root", tmp_path / "file")
    monkeypatch.setattr(caches, "_refused", {})
    monkeypatch.setattr(objects, "_linked", {})
    with pytest.warns(caches.CacheWarning, match="nothing that is compiled is kept|cannot be used"):
        assert linked("quotient", lambda: quotient)(42, 5) == 8


def test_a_function_that_raises_returns_0(folder):
    assert linked("quotient", lambda: quotient)(42, 0) == 0


def test_no_function_has_no_address(folder):
    assert objects.entry("emulator.native.block", "none", SIGNATURE, lambda: None) == 0


def test_the_listener_hears_what_is_compiled(folder, monkeypatch):
    heard = []
    monkeypatch.setattr(objects, "_listener", heard.append)
    objects.entry("emulator.native.block", "quotient", SIGNATURE, lambda: quotient, "a quotient")
    objects.entry("emulator.native.block", "quotient", SIGNATURE, lambda: quotient, "a quotient")
    assert heard == ["a quotient", ""]


def test_who_is_no_terminal_hears_of_it_once(folder, monkeypatch, capsys):
    """A pipe, which would show nothing for the first half minute; --quiet says nothing."""
    monkeypatch.setattr(shared, "_said", set())
    monkeypatch.setattr(objects, "_listener", None)
    for quiet, said in ((True, ""), (False, f"{shared.FIRST_RUN} ...\n"), (False, "")):
        shared.engine_named("fast", quiet)
        monkeypatch.setattr(objects, "_linked", {})
        objects.entry("emulator.native.block", f"quotient{quiet}{len(said)}", SIGNATURE, lambda: quotient)
        assert capsys.readouterr().err == said


@njit
def square(place, n):
    view, own = array(place, np.int64, n), np.zeros(n, np.int64)
    for i in range(n):
        own[i] = view[i] * view[i]
    view[:] = own


def squares(place, rounds):
    """Square the 1 Mi numbers at a place, again and again, with 8 MB of memory each time."""
    for _ in range(rounds):
        square(place, 1 << 20)
    return rounds


def test_memory_of_arrays_is_given_back(folder):
    numbers = np.ones(1 << 20, np.int64)
    numbers[:3] = 0, -1, 2
    function = linked("squares", lambda: squares)
    assert function(numbers.ctypes.data, 1) == 1
    assert numbers[:4].tolist() == [0, 1, 4, 1]
    before = resident()
    assert function(numbers.ctypes.data, 50) == 50
    assert resident() - before < 100 << 20                  # of 400 MB


def test_what_the_c_library_has_not_is_refused():
    missing = types.ExternalFunction("no_such_function", types.int64(types.int64))
    with pytest.raises(LookupError, match="wrong needs no_such_function, which is not in the C library"):
        object_code(lambda a, b: missing(a), "wrong", SIGNATURE)


# ---------------------------------------------------------------------------------------------------- processes


def test_several_functions_are_compiled_by_processes_of_their_own(tmp_path):
    """The first run of a program on a host: it leaves no compiler in the memory of the process that runs it."""
    (tmp_path / "p.s").write_text("_start: vec.relu.f32 x0, x0, x0\n sync.fence\n li a7, 93\n li a0, 7\n ecall\n")
    check = ("import sys, slimulator\nfrom emulator.native import objects\nheard = []\nobjects.on_compile(heard.append)\n"
             "machine = slimulator.Machine()\nmachine.load(slimulator.assemble(open(sys.argv[1]).read()))\n"
             "print(machine.run().exit_code, machine.handed_over, *sorted(heard), 'numba' in sys.modules, sep='|')")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)}
    first, second = (subprocess.run([sys.executable, "-c", check, tmp_path / "p.s"], env=environment,
                                    capture_output=True, text=True, check=True, timeout=LIMIT).stdout.strip() for _ in range(2))
    assert first == "7|{'ecall': 1}||sync.fence|the clock|the clock|the engine|vec.relu.f32|False"
    assert second == "7|{'ecall': 1}|False"


def test_who_does_not_want_to_wait_ends_these_processes(tmp_path, monkeypatch):
    def interrupt(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(KERNELS, "root", tmp_path)
    monkeypatch.setattr(objects, "_linked", {})
    monkeypatch.setattr(objects, "_listener", interrupt)
    started, start = [], subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *given, **options: started.append(start(*given, **options)) or started[-1])
    with pytest.raises(KeyboardInterrupt):
        compile_ahead(["vec.relu.f32", "vec.add.f32"])
    assert started and all(process.returncode == -signal.SIGKILL for process in started)


def test_a_run_with_kept_code_imports_no_compiler(tmp_path):
    """With threads, too: what takes long to start must not come back by some import."""
    program = tmp_path / "hello.elf"
    subprocess.run([sys.executable, "-m", "slimulator", "asm", "programs/hello.s", "-o", program], cwd=ROOT, check=True,
                   timeout=LIMIT)
    check = ("import os, sys, slimulator\nfrom emulator.threads import workers\nworkers.cores = lambda: 2\n"
             f"status = slimulator.invoke(['run', '--threads', '2', {str(program)!r}])\n"
             "assert not {'numba', 'lark', 'tokenizers'} & set(sys.modules)\nsys.exit(status)")
    for _ in range(2):                                      # the first may have to compile
        last = subprocess.run([sys.executable, "-c", check], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
                              capture_output=True, text=True, timeout=LIMIT)
    assert last.returncode == 0, last.stderr
    assert last.stdout == "Hello from the Slim machine!\n"
