"""Truth, prediction and error of a rollout, side by side."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpcml.cli.plane_mesh import PlaneMesh
from hpcml.core.errors import CheckpointError, ConfigError
from hpcml.core.save_figure import save_figure

_STEPS_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Rollout:
    """One channel of one trajectory.

    Attributes
    ----------
    name : str
        Of the channel.
    time : ndarray
        (step,).
    truth, prediction : ndarray
        (step, x), (step, y, x) or, on a mesh, (step, node).
    extent : tuple of float
        Of the box of a grid.
    mesh : PlaneMesh, optional
        Where the nodes are.
    truth_places, prediction_places : ndarray, optional
        (step, node, 2): where they are in each step, if they move.
    """

    name: str
    time: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    extent: tuple[float, ...]
    mesh: PlaneMesh | None = None
    truth_places: np.ndarray | None = None
    prediction_places: np.ndarray | None = None


def read_rollout(directory: Path, sample: int, channel: str | None) -> Rollout:
    """Read one trajectory from the file that `hpcml rollout` wrote.

    Raises
    ------
    CheckpointError
        If there is no such file, or a part of it is missing.
    ConfigError
        If it has no such sample or channel, or too many dims to draw.
    """
    from hpcml.io import SnapshotFile

    path = directory / "snapshots" / "rollout.h5"
    if not path.exists():
        raise CheckpointError(f"there is no rollout in {directory}: run `hpcml rollout {directory}` first")
    file = SnapshotFile(path)
    names = [name.removeprefix("truth_") for name in file.view.variables if name.startswith("truth_")]
    name = channel or names[0]
    if name not in names:
        raise ConfigError(f"{path} has no channel {channel!r}: it has {', '.join(names)}")
    shape = file.view.variables[f"truth_{name}"].shape
    if not 0 <= sample < shape[1]:
        raise ConfigError(f"{path} has no sample {sample}: it has {shape[1]}, counted from 0")
    mesh = PlaneMesh.read(file)
    if len(shape) > 4 or (mesh is None and file.view.mesh):
        raise ConfigError(f"{path} holds fields of three dims, which a picture cannot show: open {path.with_suffix('.xdmf')} in ParaView")
    both = [f"{kind}_{name}" for kind in ("truth", "prediction")]
    truth, prediction = (file.read(variable, (slice(None), sample)).astype(float) for variable in both)
    places = [] if mesh is None else [mesh.places(file, variable, (slice(None), sample)) for variable in both]
    centres = [file.view.coordinates[dim][0] for dim in ("x", "y") if dim in file.view.coordinates]
    return Rollout(name, file.view.times, truth, prediction, tuple(float(x[0] + x[-1]) for x in centres), mesh, *places)


def draw_picture(rollout: Rollout, path: Path) -> Path:
    """Draw some steps, a row for each."""
    steps = np.unique(np.linspace(1, len(rollout.time) - 1, _STEPS_SHOWN).round().astype(int))
    figure, rows = _figure(rollout, len(steps))
    for step, axes in zip(steps, rows, strict=True):
        _draw_step(figure, axes, rollout, int(step))
    return save_figure(figure, path, dpi=110)


def draw_animation(rollout: Rollout, path: Path) -> Path:
    """Draw all steps, one after the other."""
    from matplotlib.animation import FuncAnimation, PillowWriter

    figure, (axes,) = _figure(rollout, 1)
    artists = _draw_step(figure, axes, rollout, 0)

    def show(step: int) -> list[Any]:
        for artist, values, mesh in zip(artists, _panels(rollout, step), _meshes(rollout, step), strict=True):
            set_values = artist.set_array if rollout.mesh else artist.set_data if hasattr(artist, "set_cmap") else artist.set_ydata
            set_values(values)
            if mesh is not None and rollout.truth_places is not None:
                artist.set_offsets(mesh.points)
        axes[0].set_title(_title(rollout, step))
        return artists

    FuncAnimation(figure, show, frames=len(rollout.time)).save(path, PillowWriter(fps=5), dpi=80)
    return path


def _figure(rollout: Rollout, num_rows: int) -> tuple[Any, Any]:
    """Rows of three panels, of the height that a box as wide as theirs has, but room for labels."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    extent = rollout.extent if rollout.mesh is None else np.ptp(_box(rollout, rollout.mesh), 0)
    height = float(np.clip(0.9 + 2.5 * extent[1] / extent[0], 1.7, 3.4)) if len(extent) == 2 else 3.4
    figure, rows = pyplot.subplots(num_rows, 3, figsize=(12, height * num_rows), squeeze=False, layout="constrained")
    return figure, rows


def _panels(rollout: Rollout, step: int) -> tuple[np.ndarray, ...]:
    truth, prediction = rollout.truth[step], rollout.prediction[step]
    return truth, prediction, prediction - truth


def _meshes(rollout: Rollout, step: int) -> list[PlaneMesh | None]:
    """Where each panel shows the nodes: the error where they are in truth."""
    kinds = (rollout.truth_places, rollout.prediction_places, rollout.truth_places)
    return [rollout.mesh and rollout.mesh.at(None if places is None else places[step]) for places in kinds]


def _box(rollout: Rollout, mesh: PlaneMesh) -> np.ndarray:
    """Least and largest coordinates of all nodes in all steps, (2, 2); those of a prediction at most the truth's box away from it."""
    if rollout.truth_places is None or rollout.prediction_places is None:
        return np.stack([mesh.points.min(0), mesh.points.max(0)])
    low, high = rollout.truth_places.min((0, 1)), rollout.truth_places.max((0, 1))
    least, most = np.nanmin(rollout.prediction_places, (0, 1)), np.nanmax(rollout.prediction_places, (0, 1))
    return np.stack([least.clip(2 * low - high, low), most.clip(high, 2 * high - low)])


def _title(rollout: Rollout, step: int) -> str:
    return f"truth, t = {rollout.time[step]:.3g}"


def _draw_step(figure: Any, axes: Any, rollout: Rollout, step: int) -> list[Any]:
    """Three panels: one scale for truth and prediction, one around zero for the error, both fixed over time."""
    bound = float(np.abs(rollout.truth).max())
    error_bound = float(np.nanmax(np.abs(rollout.prediction - rollout.truth), initial=0.0)) or 1.0
    titles = (_title(rollout, step), "prediction", "prediction - truth")
    artists = []
    panels = zip(axes, _panels(rollout, step), _meshes(rollout, step), titles, (bound, bound, error_bound), strict=True)
    for axis, values, mesh, title, limit in panels:
        axis.set_title(title)
        axis.set_xlabel(mesh.labels[0] if mesh is not None else "x")
        if mesh is not None:
            artists.append(mesh.draw(axis, values, limit))
            axis.set_ylabel(mesh.labels[1])
            if rollout.truth_places is not None:
                corners = _box(rollout, mesh)
                margin = 0.03 * np.ptp(corners) * np.array([-1, 1])
                axis.set(xlim=corners[:, 0] + margin, ylim=corners[:, 1] + margin)
            figure.colorbar(artists[-1], ax=axis, label=rollout.name)
        elif values.ndim == 1:
            x = (np.arange(len(values)) + 0.5) * rollout.extent[0] / len(values)
            artists.append(axis.plot(x, values)[0])
            axis.set_ylim(-limit, limit)
            axis.set_ylabel(rollout.name)
        else:
            box = (0.0, rollout.extent[0], 0.0, rollout.extent[1])
            image = axis.imshow(values, origin="lower", extent=box, vmin=-limit, vmax=limit, cmap="RdBu_r")
            axis.set_ylabel("y")
            figure.colorbar(image, ax=axis, label=rollout.name)
            artists.append(image)
    return artists
