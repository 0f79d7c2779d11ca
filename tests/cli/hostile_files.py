"""Hostile files for every reader that a user can reach: each must end soon, in a result or in one sentence, and never show another file.

    python tests/cli/hostile_files.py 300          300 files, with seed 0
    python tests/cli/hostile_files.py 300 --seed 7 --only pdebench
    python tests/cli/hostile_files.py 100 --first 200      numbers 200 to 299 of those with seed 0

A file that is right is changed in one way, drawn from a list: structure (links, types, shapes, attributes, names), bytes, or what kind of
thing bears its name. A process of its own then runs the commands that read it. Outside of the folder lies a file with a number that
nothing else holds, to which some of the changes lead: it must never be shown.
"""

import argparse
import contextlib
import io
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import torch
from mpi4py import MPI

from hpcml.cli.main import main
from hpcml.core.errors import HpcmlError
from hpcml.io import Field, Series, SnapshotFile, SnapshotWriter, UniformGrid
from hpcml.io.checkpoint.stored.catalog import COMMIT, describe_rank
from hpcml.io.dataset import Description, create_dataset, open_dataset
from hpcml.io.dataset import Field as DataField
from hpcml.io.files.checksum import CHUNK_BYTES, crc32
from hpcml.io.files.record import read_record, write_record

SECRET = 4321.0625
LIMIT_S = 300  # a command takes a second or two; a machine may be busy
MOST_MEMORY = 12 << 30  # of addresses: what asks for terabytes is told so, and nothing else is harmed

CASE = """
[grid]
shape = [8]
[equation]
name = "heat"
[data]
kind = "simulation"
trajectories = 2
held_out = 1
snapshots = 3
[model]
name = "fno"
channels = 2
modes = 2
layers = 1
[training]
epochs = 1
[output]
folder = "runs"
rollout_steps = 1
"""


# What is right, and the commands that read it.


def make_case(folder):
    (folder / "case.toml").write_text(CASE)
    return folder / "case.toml"


def read_case(path):
    run("config", "show", path)
    run("job", "render", "train", path)
    run("train", path, "--run", path.parent / "run")


def make_dataset(folder, layout):
    space = Description(
        "right", (DataField("u"),), 3, (0.0, 0.5, 1.0), (tuple((i + 0.5) / 8 for i in range(8)),) * 2, (True, True), {"nu": (0.5,)}
    )
    path = folder / f"data.{'h5' if layout == 'pdebench-groups' else 'hdf5'}"
    with create_dataset(path, layout, space) as dataset:
        for trajectory in range(3):
            dataset.write(trajectory, 0, np.full((3, 1, 8, 8), 1.5))
    return path


def read_dataset(path):
    run("data", "show", path, "--values")
    with contextlib.suppress(HpcmlError), open_dataset(path) as dataset:
        print([dataset.read(trajectory).max() for trajectory in range(min(3, dataset.description.num_trajectories))])
    case = CASE.replace('kind = "simulation"\ntrajectories = 2\nheld_out = 1\nsnapshots = 3', f'kind = "dataset"\npath = "{path}"')
    (path.parent / "case.toml").write_text(case.replace("[8]", "[8, 8]").replace('[equation]\nname = "heat"\n', ""))
    run("train", path.parent / "case.toml", "--run", path.parent / "run")


def make_snapshots(folder):
    path = folder / "run.h5"
    with SnapshotWriter(path, Series(UniformGrid.dealt((4, 6), (1.0, 1.5)), [Field("u", "m/s")]), MPI.COMM_SELF) as writer:
        for step in range(2):
            writer.append(step, {"u": np.full((4, 6), 1.5)})
    return path


def read_snapshots(path):
    path = path.parent / "run.h5" if path.parent.suffix != ".parts" else path.parent.with_suffix(".h5")
    run("watch", "--once", path)
    with contextlib.suppress(HpcmlError):
        file = SnapshotFile(path)
        print([file.read(name).max() for name in file.view.variables if np.prod(file.view.variables[name].shape) < 1e6])


def make_checkpoint(folder):
    run("train", make_case(folder), "--run", folder / "run")
    return next((folder / "run" / "checkpoints").glob("step-*/rank-00000.h5"))


def read_checkpoint(path):
    if path.is_file() and path.stat().st_size:  # whoever changes a file on purpose makes its checksum fit
        with contextlib.suppress(OSError, HpcmlError):
            record = read_record(path.parent / COMMIT)
            content = path.read_bytes()
            chunks = [crc32(content[start : start + CHUNK_BYTES]) for start in range(0, len(content), CHUNK_BYTES)]
            record["files"] = [describe_rank(0, path.stat().st_size, chunks)]
            write_record(path.parent / COMMIT, record)
    run("inspect", path.parent)
    run("evaluate", path.parents[2])
    run("train", path.parents[3] / "case.toml", "--run", path.parents[2])


def make_tensors(folder, suffix):
    path, values = folder / f"train{suffix}", np.full((4, 8), 1.5)
    if suffix == ".npz":
        np.savez(path, x=values, y=values)
    else:
        torch.save({"x": torch.from_numpy(values), "y": torch.from_numpy(values)}, path)
    return path


def read_tensors(path):
    case = CASE.replace('kind = "simulation"\ntrajectories = 2\nheld_out = 1\nsnapshots = 3', f'kind = "tensors"\ntrain = "{path}"')
    (path.parent / "case.toml").write_text(case.replace('[equation]\nname = "heat"\n', ""))
    run("train", path.parent / "case.toml", "--run", path.parent / "run")


def run(*words):
    """Run a command in this process; any error of ours is a sentence, any other ends the process with its traceback."""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        status = main(list(map(str, words)))
    text = errors.getvalue()
    if "Traceback" in text or "Logging error" in text or (status == 2 and not text.startswith(("hpcml: error: ", "usage:"))):
        raise AssertionError(f"hpcml {' '.join(map(str, words))} ended with {status} and {text}")
    print(status, text[:3000])


# Ways to change it.


def members(file):
    names = []
    file.visit(lambda name: names.append(name))
    return names


def replaced(make):
    """Change that puts something else in the place of an object that the generator draws."""

    def change(path, secret, draw):
        with h5py.File(path, "r+") as file:
            name = draw.choice(members(file))
            old = file[name]
            attributes = dict(old.attrs) if draw.random() < 0.7 else {}
            shape = old.shape if isinstance(old, h5py.Dataset) else (3,)
            del file[name]
            new = make(file, name, shape, secret, draw)
            with contextlib.suppress(Exception):
                for key, value in attributes.items():
                    (file[name] if new is None else new).attrs[key] = value

    return change


def typed(dtype, value=0):
    return replaced(lambda file, name, shape, secret, draw: file.create_dataset(name, data=np.full(shape, value, dtype), dtype=dtype))


def virtual(file, name, shape, source, inner="u"):
    layout = h5py.VirtualLayout(shape, "f4")
    layout[...] = h5py.VirtualSource(str(source), inner, shape)
    return file.create_virtual_dataset(name, layout, fillvalue=0)


def link(make):
    return replaced(lambda file, name, shape, secret, draw: file.__setitem__(name, make(name, secret)))


def huge(file, name, shape, secret, draw):
    return file.create_dataset(
        name, tuple(draw.choice([1, 2, 1 << 31, 1 << 40]) for _ in shape) or (1 << 40,), "f4", chunks=(1,) * max(1, len(shape))
    )


STRUCTURE = {
    "external link": link(lambda name, secret: h5py.ExternalLink(str(secret), "/u")),
    "external link to a root": link(lambda name, secret: h5py.ExternalLink(os.path.relpath(secret, secret.parent / "x"), "/")),
    "dangling external link": link(lambda name, secret: h5py.ExternalLink("nowhere.h5", "/u")),
    "soft link to itself": link(lambda name, secret: h5py.SoftLink(f"/{name}")),
    "dangling soft link": link(lambda name, secret: h5py.SoftLink("/nowhere")),
    "soft link to the root": link(lambda name, secret: h5py.SoftLink("/")),
    "virtual, outside": replaced(lambda file, name, shape, secret, draw: virtual(file, name, shape or (6,), secret)),
    "virtual, missing": replaced(lambda file, name, shape, secret, draw: virtual(file, name, shape or (6,), "nowhere.h5")),
    "virtual, of itself": replaced(lambda file, name, shape, secret, draw: virtual(file, name, shape or (6,), ".", name)),
    "external storage": replaced(
        lambda file, name, shape, secret, draw: file.create_dataset(
            name, shape or (6,), "f4", external=[(secret.parent / "raw", 0, 1 << 20)]
        )
    ),
    "group": replaced(lambda file, name, shape, secret, draw: file.create_group(name)),
    "named type": replaced(lambda file, name, shape, secret, draw: file.__setitem__(name, np.dtype("f4"))),
    "circle of groups": replaced(lambda file, name, shape, secret, draw: file.__setitem__(name, file["/"])),
    "gone": replaced(lambda file, name, shape, secret, draw: None),
    "complex": typed("c8", 1j),
    "bytes": typed("S5", b"abc"),
    "bool": typed(bool, True),
    "half": typed("f2", 1.5),
    "big-endian": typed(">f8", 1.5),
    "long double": typed("g", 1.5),
    "not a number": typed("f4", np.nan),
    "infinite": typed("f4", np.inf),
    "constant": typed("f8", 1.0),
    "negative": typed("i8", -(1 << 62)),
    "compound": typed([("a", "f4"), ("b", "i2")]),
    "array type": replaced(lambda file, name, shape, secret, draw: file.create_dataset(name, shape, np.dtype(("f4", (2,))))),
    "variable length": replaced(lambda file, name, shape, secret, draw: file.create_dataset(name, shape, h5py.vlen_dtype("f4"))),
    "text": replaced(lambda file, name, shape, secret, draw: file.create_dataset(name, shape, h5py.string_dtype())),
    "reference": replaced(lambda file, name, shape, secret, draw: file.create_dataset(name, shape, h5py.ref_dtype)),
    "enumeration": replaced(lambda file, name, shape, secret, draw: file.create_dataset(name, shape, h5py.enum_dtype({"a": 0, "b": 1}))),
    "opaque": replaced(lambda file, name, shape, secret, draw: file.create_dataset(name, shape, h5py.opaque_dtype(np.dtype("M8[s]")))),
    "null space": replaced(lambda file, name, shape, secret, draw: file.create_dataset(name, data=h5py.Empty("f4"))),
    "scalar": replaced(lambda file, name, shape, secret, draw: file.create_dataset(name, data=1.5)),
    "no elements": replaced(lambda file, name, shape, secret, draw: file.create_dataset(name, (0,) * max(1, len(shape)), "f4")),
    "one dim more": replaced(lambda file, name, shape, secret, draw: file.create_dataset(name, (*shape, 2), "f4")),
    "one dim less": replaced(lambda file, name, shape, secret, draw: file.create_dataset(name, shape[1:], "f4")),
    "other shape": replaced(lambda file, name, shape, secret, draw: file.create_dataset(name, tuple(n + 1 for n in shape), "f4")),
    "many dims": replaced(lambda file, name, shape, secret, draw: file.create_dataset(name, (1,) * 32, "f4")),
    "huge": replaced(huge),
}


def attribute(path, secret, draw):
    with h5py.File(path, "r+") as file:
        holders = [file[name] for name in ["/", *members(file)] if len(file[name].attrs)]
        holder = draw.choice(holders)
        name = draw.choice(list(holder.attrs))
        del holder.attrs[name]
        values = [
            None,
            2**63 - 1,
            -1,
            1e308,
            np.nan,
            "x",
            "",
            "\x07" * 70,
            b"\xff\xfe",
            [1, 2],
            ["a", "b"],
            "x" * 60_000,
            np.zeros((0,)),
            h5py.Empty("f4"),
            1j,
        ]
        values += [np.zeros(3, [("a", "f4")]), h5py.SoftLink("/"), "{", "[" * 5000, '{"name": 1, "fields": [["u", 9, 1]], "periodic": 3}']
        value = draw.choice(values)
        if value is not None:
            with contextlib.suppress(TypeError):
                holder.attrs[name] = value


def names(path, secret, draw):
    with h5py.File(path, "r+") as file:
        old = draw.choice(members(file))
        new = draw.choice([b"\xff\xfe", "x" * 3000, "\u0664", "..", "a&b<c>", "\n", "²", "00000000000000000000000", "\u202e"])
        file.move(old, new)


def flipped(path, secret, draw):
    content = bytearray(path.read_bytes())
    for _ in range(draw.choice([1, 3, 30])):
        content[draw.randrange(min(len(content), draw.choice([64, 4096, 1 << 40])))] = draw.randrange(256)
    path.write_bytes(content)


def cut(path, secret, draw):
    path.write_bytes(path.read_bytes()[: draw.choice([0, 1, 8, 100, path.stat().st_size // 2, path.stat().st_size - 1])])


def longer(path, secret, draw):
    path.write_bytes(draw.choice([b"", b"x" * 512, b"\n"]) + path.read_bytes() + bytes(draw.choice([1, 512, 4096])))


def another_kind(path, secret, draw):
    """Something that is no file, or another one, under the name."""
    path.unlink()
    match draw.randrange(8):
        case 0:
            os.mkfifo(path)
        case 1:
            path.mkdir()
        case 2:
            path.symlink_to(path)
        case 3:
            path.symlink_to("/dev/zero")
        case 4:
            path.write_bytes(os.urandom(2000))
        case 5:
            path.write_text("x = 1\n")
        case 6:
            path.symlink_to("/proc/self/mem")
        case 7:
            with path.open("wb") as file:
                file.truncate(1 << 40)


ANY_FILE = {"bytes flipped": flipped, "cut": cut, "longer": longer, "another kind of thing": another_kind}
HDF5 = STRUCTURE | {"attribute": attribute, "attribute ": attribute, "names": names}


def value_of_case(path, secret, draw):
    """Another value in one line of a case."""
    lines = path.read_text().splitlines()
    place = draw.choice([number for number, line in enumerate(lines) if "=" in line])
    values = [
        "0",
        "-1",
        "1",
        "2",
        "2147483647",
        str(2**64),
        "9" * 5000,
        "1e308",
        "1e-320",
        "1e-99",
        "1e99",
        "nan",
        "inf",
        "-0.0",
        '""',
        '"x"',
        "[]",
        "[[]]",
        "{}",
    ]
    values += [
        "[" * 3000,
        "true",
        "1979-05-27",
        '"\\u0000"',
        '"../../x"',
        '"a/b\\nc"',
        f'"{"x" * 300}"',
        '"/proc/none"',
        "[1, 2, 3, 4]",
        "[8, 8, 8]",
        '"é"',
    ]
    lines[place] = lines[place].partition("=")[0] + "= " + draw.choice(values)
    path.write_text("\n".join(lines) + "\n")


def text_of_case(path, secret, draw):
    changes = [
        lambda text: "\ufeff" + text,
        lambda text: text + "".join(f"key{i} = 1\n" for i in range(200_000)),
        lambda text: text + "[" + "a." * 50_000 + "b]\n",
        lambda text: text + text,
        lambda text: text.replace("\n", "\r"),
        lambda text: text.replace("=", "==", 1),
        lambda text: "",
        lambda text: text.replace("heat", draw.choice(["darcy", "wave", "gray_scott", "shallow_water", "burgers", "navier_stokes", "x"])),
        lambda text: text.replace("[8]", draw.choice(["[1]", "[2, 2]", "[3]", "[4, 1, 4]", "[2147483647]", "[100000, 100000]"])),
        lambda text: text.replace(
            "shape = [8]", draw.choice(["shape = [8]\nextent = 1e-30", "shape = [8]\nextent = 1e30", "shape = [8]\nperiodic = false"])
        ),
        lambda text: text + draw.choice(["[ranks]\ndata = 2\n", "[ranks]\ndomain = [2]\n", "[snapshots]\nunits = { time = 's\\u0000' }\n"]),
        lambda text: text + '[snapshots]\nsimulation = true\nunits = { "a&b" = "<x>", u = "' + "é" * 3000 + '" }\n',
        lambda text: text.replace("channels = 2", f"channels = {draw.choice([1, 10**6, 2**31 - 1])}"),
        lambda text: text.replace("layers = 1", f"layers = {draw.choice([50, 10**6])}"),
    ]
    path.write_bytes(draw.choice(changes)(path.read_text()).encode())


def parts(change):
    """The same, done to a file of the parts of snapshots."""

    def changed(path, secret, draw):
        change(next(path.with_suffix(".parts").glob("*.h5")), secret, draw)

    return changed


KINDS = {
    "case": (make_case, read_case, {"value": value_of_case, "text": text_of_case} | ANY_FILE, (4, 3)),
    "the-well": (lambda folder: make_dataset(folder, "the-well"), read_dataset, HDF5 | ANY_FILE, ()),
    "pdebench": (lambda folder: make_dataset(folder, "pdebench"), read_dataset, HDF5 | ANY_FILE, ()),
    "pdebench-groups": (lambda folder: make_dataset(folder, "pdebench-groups"), read_dataset, HDF5 | ANY_FILE, ()),
    "snapshots": (make_snapshots, read_snapshots, HDF5 | ANY_FILE, ()),
    "parts": (make_snapshots, read_snapshots, {name: parts(change) for name, change in (HDF5 | ANY_FILE).items()}, ()),
    "checkpoint": (make_checkpoint, read_checkpoint, HDF5 | ANY_FILE, ()),
    "npz": (lambda folder: make_tensors(folder, ".npz"), read_tensors, ANY_FILE, ()),
    "pt": (lambda folder: make_tensors(folder, ".pt"), read_tensors, ANY_FILE, ()),
}


# The campaign.


def in_a_process(action, output):
    """Run a function in a process of its own; None if all was well, else what was not."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            signal.alarm(LIMIT_S)
            descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            sys.stdout = io.TextIOWrapper(io.FileIO(1, "w"), "utf-8", "backslashreplace", write_through=True)
            sys.stderr = io.TextIOWrapper(io.FileIO(2, "w"), "utf-8", "backslashreplace", write_through=True)
            resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
            action()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if code == -signal.SIGALRM:
        return f"still at work after {LIMIT_S} s"
    return None if code == 0 else f"ended with {code}"


def attack(number, seed, folder, kind=None, way=None):
    """Make, change and read one file; give the kind, the way, and what went wrong or None."""
    draw = random.Random(f"{seed}-{number}")
    kind = kind or list(KINDS)[number % len(KINDS)]
    make, read, ways, weights = KINDS[kind]
    choices = [name for place, name in enumerate(ways) for _ in range(weights[place] if place < len(weights) else 1)]
    way = way or draw.choice(choices)
    outside, given, output = folder / f"{number}-outside", folder / f"{number}", folder / f"{number}.txt"
    outside.mkdir()
    given.mkdir()
    with h5py.File(outside / "secret.h5", "w") as file:
        file["u"] = np.full((3, 3, 8, 8), SECRET, "f4")
    np.full(1 << 18, SECRET, "f4").tofile(outside / "raw")

    def act():
        os.chdir(given)
        path = make(given)
        with contextlib.suppress(KeyError, IndexError):  # nothing of that sort is in the file
            ways[way](path, outside / "secret.h5", draw)
        sys.stdout.truncate(0)
        read(path)

    fault = in_a_process(act, output)
    text = output.read_text(errors="replace")
    if str(SECRET)[:6] in text:
        fault = "showed a file outside"
    if fault:
        fault += "\n" + "\n".join(text.splitlines()[-25:])
    for place in (outside, given):
        shutil.rmtree(place, ignore_errors=True)
    return kind, way, fault


def campaign(count, seed, folder, only=None, first=0):
    """Read so many hostile files; give what went wrong with each that did not end well."""
    faults, met = [], Counter()
    for number in range(first, first + count):
        kind, way, fault = attack(number, seed, folder, only)
        met[kind] += 1
        if fault:
            faults.append(f"file {number} of seed {seed}, {kind}, {way}: {fault}")
            print(faults[-1], flush=True)
    print(f"{count} files, {dict(met)}: {len(faults)} ended badly")
    return faults


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--first", type=int, default=0, help="number of the first file: a campaign may be run in pieces")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        sys.exit(bool(campaign(arguments.count, arguments.seed, Path(name), arguments.only, arguments.first)))
