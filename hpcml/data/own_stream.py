"""Who gives updates: passes over stored samples, or the stream that a case names."""

from typing import Any

from hpcml.core.errors import ConfigError
from hpcml.core.options import accepts
from hpcml.core.registry import load
from hpcml.core.training_table import Training
from hpcml.data.epochs import Epochs
from hpcml.data.samples import Samples
from hpcml.data.stream import Stream
from hpcml.fields.domain import Domain


def stream_of(train: Samples | Stream, spec: Training) -> Stream:
    """Make the stream of a training.

    Parameters
    ----------
    train : Samples or Stream
        Stored pairs, or a stream that is there.
    spec : Training
        Its ``stream`` names a class or function of one's own, which is called with as many of ``samples`` and ``space``, which is also
        called ``domain`` or ``graph``, as its signature has, and with its options.

    Raises
    ------
    ConfigError
        On every rank, where what is named makes no stream or one of fields that live elsewhere than the samples; for two streams.

    Communication
    -------------
    That of what is named.
    """
    if spec.stream is None:
        return Epochs(train, spec.batch_size, spec.accumulate, spec.seed) if isinstance(train, Samples) else train
    name = spec.stream.name
    if isinstance(train, Stream) or len(train.spaces) > 1:
        there = "these data are a stream" if isinstance(train, Stream) else f"these data lie on {len(train.spaces)} meshes"
        raise ConfigError(f"training.stream = {name!r} gives updates beside samples on one grid or mesh, and {there}: leave it out")
    found, word = load("stream", name), "domain" if isinstance(train.space, Domain) else "graph"
    given: dict[str, Any] = {"samples": train, "space": train.space, word: train.space}
    accepted = accepts(found)
    stream = found(**{key: value for key, value in given.items() if accepted is None or key in accepted}, **spec.stream.options)
    if not isinstance(stream, Stream):
        raise ConfigError(f"training.stream = {name!r} makes {type(stream).__name__}, which is no hpcml.data.Stream")
    if stream.space is not train.space:
        raise ConfigError(
            f"training.stream = {name!r} gives fields on a space of its own: take the {word} of the data, which the model has"
        )
    return stream
