"""Whatever lies among the checkpoints, the newest whole one is found, nothing is waited for and nothing outside is read."""

import json
import os
import shutil
import socket
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from mpi4py import MPI

from hpcml.io import Checkpointer, Rows, restore
from hpcml.io.checkpoint.stored.catalog import COMMIT, prune, rank_file, survey
from hpcml.io.checkpoint.summary import summarise_run
from hpcml.io.files.record import read_record, write_record

NOBODY, ODD = 65534, "step-000000009-0dd123"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as a second user, or make a device")
not_as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root reads what it may not")
ENTRIES = {}


def entry(function):
    """An odd entry: ``function(path, whole)`` makes it at a path, beside a whole checkpoint that it may copy."""
    ENTRIES[function.__name__] = function
    return function


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run with two checkpoints, of steps 4 and 5; and a file outside."""
    folder = tmp_path_factory.mktemp("saved")
    with Checkpointer(folder / "run", MPI.COMM_SELF) as checkpointer:
        for step in (4, 5):
            checkpointer.save(step, {"w": np.arange(6.0).reshape(2, 3) + step, "rows": Rows(np.ones((2, 2))), "step": step})
            checkpointer.wait()
    with h5py.File(folder / "outside.h5", "w") as file:
        file["w"] = np.full((2, 3), 666.0)
    return folder


@pytest.fixture
def run(saved, tmp_path):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    return tmp_path / "run"


# what is no folder of a checkpoint


@entry
def an_archive(path, whole):
    path.with_name(f"{path.name}.tar").write_bytes(b"archive")


@entry
def a_copy_by_hand(path, whole):
    shutil.copytree(whole, path.with_name(f"{path.name} (copy)"))


@entry
def a_file(path, whole):
    path.write_text("a file")


@entry
def a_pipe(path, whole):
    os.mkfifo(path)


@entry
def a_socket(path, whole):
    with socket.socket(socket.AF_UNIX) as end:
        here = Path.cwd()
        os.chdir(path.parent)  # the name of a socket may have a hundred bytes
        end.bind(path.name)
        os.chdir(here)


@entry
def a_link_to_nowhere(path, whole):
    path.symlink_to("nowhere")


@entry
def a_link_to_itself(path, whole):
    path.symlink_to(path.name)


@entry
def a_link_to_a_loop(path, whole):
    (path.parent / "loop").symlink_to(path)
    path.symlink_to("loop")


@entry
def a_link_to_the_root(path, whole):
    path.symlink_to("/")


@entry
def a_link_to_a_checkpoint_outside(path, whole):
    shutil.copytree(whole, path.parents[1] / "outside")
    rewrite(path.parents[1] / "outside", sequence=99)
    path.symlink_to(path.parents[1] / "outside")


@entry
def a_name_that_is_not_utf8(path, whole):
    Path(os.fsdecode(os.fsencode(path) + b"-\xff\xfe")).mkdir()


@entry
def a_name_with_a_newline(path, whole):
    path.with_name(path.name + "-\nstep").mkdir()


@entry
def a_long_name(path, whole):
    path.with_name("step-" + 200 * "9" + "-abc123").mkdir()


@entry
def an_empty_folder(path, whole):
    path.mkdir()


@entry
def a_folder_in_a_folder(path, whole):
    shutil.copytree(whole, path / whole.name)


ENTRIES["a_device"] = pytest.param(lambda path, whole: os.mknod(path, 0o600 | 0o020000, os.makedev(5, 0)), marks=as_root)


def of_another_user(path, whole):
    rewrite(shutil.copytree(whole, path), sequence=99)
    os.chown(path, NOBODY, NOBODY)


def nobody_may_enter(path, whole):
    shutil.copytree(whole, path).chmod(0)


ENTRIES["of_another_user"] = pytest.param(of_another_user, marks=as_root)
ENTRIES["nobody_may_enter"] = pytest.param(nobody_may_enter, marks=not_as_root)

# what is no commit record


def rewrite(path, **fields):
    """Say something else in a commit record, with a right checksum; a field that is None goes."""
    record = read_record(path / COMMIT) | fields
    write_record(path / COMMIT, {name: value for name, value in record.items() if value is not None})
    return path


def with_record(name, make):
    def odd(path, whole):
        shutil.copytree(whole, path)
        (path / COMMIT).unlink()
        make(path / COMMIT, whole)

    ENTRIES[f"record_{name}"] = odd


def longer_than_a_record(path, whole):
    path.write_bytes(b'{"crc32": 1, "record": ')
    os.truncate(path, 1 << 33)  # its bytes are zero and take no room


with_record("pipe", lambda path, whole: os.mkfifo(path))
with_record("folder", lambda path, whole: path.mkdir())
with_record("link_out", lambda path, whole: path.symlink_to(whole / COMMIT))
with_record("link_to_itself", lambda path, whole: path.symlink_to(path.name))
with_record("link_to_zeros", lambda path, whole: path.symlink_to("/dev/zero"))
with_record("missing", lambda path, whole: None)
with_record("empty", lambda path, whole: path.touch())
with_record("binary", lambda path, whole: path.write_bytes(bytes(range(256))))
with_record("list", lambda path, whole: path.write_text("[]"))
with_record("object", lambda path, whole: path.write_text("{}"))
with_record("text", lambda path, whole: path.write_text('{"crc32": 5, "record": "text"}'))
with_record("nested", lambda path, whole: path.write_text("[" * 300_000))
with_record("many_digits", lambda path, whole: path.write_text('{"crc32": ' + "9" * 200_000 + ', "record": {}}'))
with_record("changed", lambda path, whole: path.write_text((whole / COMMIT).read_text().replace('"step": 5', '"step": 6')))
with_record("longer_than_a_record", longer_than_a_record)

FIELDS = {
    **{f"no_{name}": {name: None} for name in ("step", "sequence", "size", "session", "written_by", "time", "files")},
    **{f"no_{name}": {name: None} for name in ("format", "format_version")},
    "another_format": {"format": "other"},
    "a_later_format": {"format_version": 99},
    "a_format_in_words": {"format_version": "1"},
    "a_negative_step": {"step": -1},
    "a_huge_step": {"step": 1 << 90},
    "a_fractional_sequence": {"sequence": 1.5},
    "a_huge_sequence": {"sequence": 10**300},
    "no_ranks": {"size": 0, "files": []},
    "a_billion_ranks": {"size": 10**9},
    "a_time_beyond_time": {"time": 1e300},
    "files_that_are_none": {"files": [7]},
}
for name, fields in FIELDS.items():
    ENTRIES[f"record_{name}"] = lambda path, whole, fields=fields: rewrite(shutil.copytree(whole, path), **{"sequence": 99} | fields)
FILE_FIELDS = {
    "of_the_parent": {"file": f"../step-000000005-{'x'}"},
    "of_the_root": {"file": "/etc/passwd"},
    "of_another_rank": {"rank": 3},
    "of_negative_length": {"bytes": -5},
    "of_no_chunks": {"chunk_bytes": 0},
    "of_huge_chunks": {"chunk_bytes": 1 << 50},
    "of_checksums_in_words": {"crc32": ["a"]},
    "of_too_few_checksums": {"crc32": []},
}
for name, fields in FILE_FIELDS.items():

    def odd_file(path, whole, fields=fields):
        rewrite(shutil.copytree(whole, path), files=[read_record(whole / COMMIT)["files"][0] | fields])

    ENTRIES[f"record_file_{name}"] = odd_file

# what is no file of a rank


def with_file(name, make, sealed=True):
    """A file made otherwise, with right checksums if it is sealed."""

    def odd(path, whole):
        shutil.copytree(whole, path)
        file = path / rank_file(0)
        make(file, whole)
        rewrite(path, sequence=99)
        if sealed:
            data = file.read_bytes()
            said = read_record(path / COMMIT)["files"][0] | {"bytes": len(data), "crc32": [zlib.crc32(data)]}
            rewrite(path, files=[said])

    ENTRIES[f"file_{name}"] = odd


def in_place_of(file, make):
    file.unlink()
    make(file)


def array_elsewhere(make):
    """Replace the array w by what leads elsewhere."""

    def change(path, whole):
        with h5py.File(path, "r+") as file:
            del file["state/w"]
            make(file, path.parents[2] / "outside.h5")

    return change


def virtual(file, outside):
    layout = h5py.VirtualLayout((2, 3), "f8")
    layout[:] = h5py.VirtualSource(outside, "w", (2, 3))
    file.create_virtual_dataset("state/w", layout)


def beside(file, outside):
    shutil.copy(outside, Path(file.filename).parent / "beside.h5")
    file["state/w"] = h5py.ExternalLink("beside.h5", "w")


def document(name, change):
    def spoil(path, whole):
        with h5py.File(path, "r+") as file:
            text = json.loads(file[name][()].tobytes())
            data = np.frombuffer(json.dumps(change(text)).encode(), np.uint8)
            del file[name]
            file[name] = data

    return spoil


def external(file, outside):
    file.create_dataset("state/w", (2, 3), "f8", external=[(outside, 0, 48)])


with_file("missing", lambda file, whole: file.unlink(), sealed=False)
with_file("a_pipe", lambda file, whole: in_place_of(file, os.mkfifo), sealed=False)
with_file("a_folder", lambda file, whole: in_place_of(file, Path.mkdir), sealed=False)
with_file("a_link_out", lambda file, whole: in_place_of(file, lambda file: file.symlink_to(whole / file.name)), sealed=False)
with_file("cut_short", lambda file, whole: os.truncate(file, 100), sealed=False)
with_file("changed", lambda file, whole: file.write_bytes(bytes(file.stat().st_size)), sealed=False)
with_file("empty", lambda file, whole: os.truncate(file, 0), sealed=False)
with_file("not_hdf5", lambda file, whole: file.write_bytes(b"something else"))
with_file("an_external_link", array_elsewhere(lambda file, outside: file.__setitem__("state/w", h5py.ExternalLink(outside, "w"))))
with_file("an_external_link_beside", array_elsewhere(beside))
with_file("a_soft_link_in_a_circle", array_elsewhere(lambda file, outside: file.__setitem__("state/w", h5py.SoftLink("/state/w"))))
with_file("a_virtual_array", array_elsewhere(virtual))
with_file("external_storage", array_elsewhere(external))
with_file("a_group", array_elsewhere(lambda file, outside: file.create_group("state/w")))
with_file("no_array", array_elsewhere(lambda file, outside: None))
with_file("another_shape", array_elsewhere(lambda file, outside: file.__setitem__("state/w", np.ones((3, 3)))))
with_file("another_type", array_elsewhere(lambda file, outside: file.__setitem__("state/w", np.ones((2, 3), "f4"))))
with_file("chunks", array_elsewhere(lambda file, outside: file.create_dataset("state/w", data=np.ones((2, 3)), chunks=(1, 3))))
with_file("structure_list", document("structure", lambda text: []))
with_file("structure_nested", document("structure", lambda text: text | {"state": ["array", 10**30]}))
with_file("structure_of_unknown_type", document("structure", lambda text: text | {"arrays": [a | {"dtype": "x9"} for a in text["arrays"]]}))
with_file("pieces_with_a_hole", document("pieces", lambda text: [[entry, [0] * len(o), [1, *s[1:]]] for entry, o, s in text]))
with_file("pieces_before_0", document("pieces", lambda text: [[entry, [-1] * len(o), s] for entry, o, s in text]))
with_file("pieces_of_no_array", document("pieces", lambda text: [[99, *piece[1:]] for piece in text]))
with_file("pieces_of_petabytes", document("pieces", lambda text: [[entry, o, [1 << 50] * len(s)] for entry, o, s in text]))
with_file("values_text", document("values", lambda text: "text"))


@pytest.mark.parametrize("make", ENTRIES.values(), ids=ENTRIES)
def test_an_odd_entry_is_named_and_the_newest_whole_checkpoint_is_taken(run, caplog, make):
    (whole,) = run.glob("step-000000005-*")
    make(run / ODD, whole)
    before = {str(path) for path in run.rglob("*")}
    restored = restore(run, MPI.COMM_SELF)
    assert restored.step == 5 and (restored.state["w"] == np.arange(6.0).reshape(2, 3) + 5).all()
    named = [message for message in caplog.messages if "skipped" in message]
    assert len(named) == len(restored.skipped) <= 1, caplog.text  # what was only never finished is not named
    "".join(named).encode()
    summaries = summarise_run(run)
    json.dumps(summaries).encode()
    assert [summary["step"] for summary in summaries if summary["complete"]] == [5, 4]
    assert len(summaries) == 3 and summaries[[s["complete"] for s in summaries].index(False)]["problem"]
    prune(run, 9, "abc123", damaged=restored.skipped)
    assert [checkpoint.step for checkpoint in survey(run).complete][-2:] == [5, 4]
    assert not restored.skipped or before == {str(path) for path in run.rglob("*")}  # what is odd stays for who knows what it is


def test_a_run_goes_on_beside_all_of_them(run, caplog):
    (whole,) = run.glob("step-000000005-*")
    for number, make in enumerate(make for make in ENTRIES.values() if callable(make)):
        make(run / f"step-{100 + number:09d}-0dd123", whole)
    for mark in (".have-", ".spare-", ".removed-", ".secret-", ""):
        (run / f"{mark}folder-0").mkdir()
        os.mkfifo(run / f"{mark}pipe-0")
        (run / f"{mark}link-0").symlink_to("/dev/zero")
    with Checkpointer(run, MPI.COMM_SELF) as checkpointer:
        restored = checkpointer.restore()
        assert restored.step == 5
        for step in (6, 7, 8):
            checkpointer.save(step, {"step": step})
            checkpointer.wait()
    assert "the process that keeps" not in caplog.text
    assert restore(run, MPI.COMM_SELF).step == 8
