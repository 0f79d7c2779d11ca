"""MPI-native scientific machine learning: one field over many ranks.

Nothing heavy is imported until it is used: ``hpcml.Grid`` or ``hpcml.models`` loads what it needs at its first mention.
"""

from pathlib import Path

from hpcml.core.lazy import lazily

__version__ = "0.1.0"

_HOMES = {
    "Domain": "hpcml.fields.domain",
    "Grid": "hpcml.fields.grid",
    "broadcast_parameters": "hpcml.models.replicas",
    "check_parameters": "hpcml.models.replicas",
    "decompose": "hpcml.fields.decompose",
    "load": "hpcml.runs.load",
    "verify": "hpcml.models.verification.verify",
}
_PACKAGES = {path.parent.name: f"hpcml.{path.parent.name}" for path in Path(__file__).parent.glob("*/__init__.py")}
__getattr__, __dir__ = lazily(__name__, _HOMES | _PACKAGES)
