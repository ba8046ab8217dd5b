"""The store: what one host has compiled, another one takes; what is damaged it does not take."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

import pytest
from tiny_checkpoint import write_checkpoint

import slimulator
from isa.caches import KERNELS, PROGRAMS
from slimulator.explore import store as stores
from slimulator.explore import work
from slimulator.explore.errors import StudyError
from slimulator.explore.plan import make_plan
from slimulator.explore.store import Store, kernel_folders
from slimulator.explore.study import Study
from slimulator.explore.sweep import sweep

pytestmark = pytest.mark.skipif(not find_spec("fsspec"), reason="needs the extra cluster")


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    stores.store_of.cache_clear()
    monkeypatch.setattr(stores, "kernel_folders", lambda: ())           # but where a test is about kernels


def host(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """From now on this process is on a host with this cache of programs."""
    monkeypatch.setattr(PROGRAMS, "root", folder)


@pytest.mark.parametrize("url", ["{folder}/store", "memory://store-{name}"])
def test_another_host_takes_the_program(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = url.format(folder=tmp_path, name=tmp_path.name)
    study = Study.of(model=str(write_checkpoint(tmp_path / "m")), tokens=3, prompt="abc", weights="t2")
    job = make_plan(study).points[0].job
    assert job is not None
    host(monkeypatch, tmp_path / "first")
    made = work.compile_point(job, store)
    expected = work.run_point(job, made["program"], made["digest"], store)
    Path(made["program"]).unlink()
    host(monkeypatch, tmp_path / "second")
    with monkeypatch.context() as patch:
        patch.setattr(work, "_compiled", lambda *_given: pytest.fail("it was compiled again"))
        assert work.run_point(job, made["program"], made["digest"], store) == expected
    assert [path.stat().st_size for path in (tmp_path / "second").rglob("*.elf")] == [made["bytes"]]


def test_a_damaged_program_is_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study.of(model=str(write_checkpoint(tmp_path / "m")), tokens=3, prompt="abc", weights="t2")
    host(monkeypatch, tmp_path / "first")
    results = sweep(study, tmp_path / "out", workers=0, store=str(tmp_path / "store"))
    kept, = (tmp_path / "store" / "programs").iterdir()
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == kept.stem and kept.stem.startswith(results.rows[0]["program"])
    kept.write_bytes(kept.read_bytes()[:-1])
    host(monkeypatch, tmp_path / "second")
    assert Store(str(tmp_path / "store")).program(kept.stem) is None
    assert sweep(study, tmp_path / "other", workers=0, store=str(tmp_path / "store")).hash == results.hash


def test_kernels_of_these_sources_and_this_processor_are_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = "0123456789abcdef"
    monkeypatch.setattr(stores, "kernel_folders", lambda: (folder,))
    good = hashlib.sha256(b"code").digest() + b"code"
    for name, data in (("good", good), ("bad", good + b"!")):
        path = tmp_path / "first" / "kernels" / folder / f"{name}.o"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "first" / "kernels" / ("f" * 16)).mkdir()
    (tmp_path / "first" / "kernels" / ("f" * 16) / "other.o").write_bytes(good)
    monkeypatch.setattr(KERNELS, "root", tmp_path / "first")
    Store(str(tmp_path / "store")).send_kernels()
    monkeypatch.setattr(KERNELS, "root", tmp_path / "second")
    assert Store(str(tmp_path / "store")).fetch_kernels() == 1 and Store(str(tmp_path / "store")).fetch_kernels() == 0
    assert [path.name for path in (tmp_path / "second").rglob("*.o")] == ["good.o"]


def test_the_folders_of_kernels_are_those_that_are_used() -> None:
    from emulator.native.objects import state
    assert state("emulator.loop") in kernel_folders() and state("emulator.units.vec") in kernel_folders()


def test_a_store_that_nothing_knows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StudyError, match="a URL that fsspec knows"):
        Store("nowhere://x")
    assert slimulator.invoke(["sweep", "--weights", "t2", "--store", "nowhere://x", "--out", str(tmp_path / "out")]) == 2
