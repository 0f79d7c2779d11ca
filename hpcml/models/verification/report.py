"""What `hpcml.verify` found."""

from dataclasses import dataclass

from hpcml.models.verification.comparison import Comparison
from hpcml.models.verification.plain_layers import PlainLayer


@dataclass(frozen=True, slots=True)
class Report:
    """Whether a model over ranks is the model on one rank. ``print(report)`` shows a table.

    Attributes
    ----------
    dims : tuple of int
        The process grid that was tried.
    num_data : int
        Groups of ranks that shared the batch.
    comparisons : tuple of Comparison
        Outputs, then gradients of inputs and parameters, then buffers.
    plain_layers : tuple of PlainLayer
        Torch layers in use that see one rank's block only; with the right numbers of cells they may agree all the same.
    """

    dims: tuple[int, ...]
    num_data: int
    comparisons: tuple[Comparison, ...]
    plain_layers: tuple[PlainLayer, ...]

    @property
    def ok(self) -> bool:
        """Whether everything agrees and no plain layer is in use."""
        return all(c.agrees for c in self.comparisons) and not self.plain_layers

    @property
    def worst(self) -> Comparison:
        """The comparison furthest beyond, or nearest to, its tolerance."""
        return max(self.comparisons, key=lambda c: c.error / c.tolerance)

    def __str__(self) -> str:
        groups = f", {self.num_data} data groups" if self.num_data > 1 else ""
        rows = [("quantity", "agrees", "error", "worst entry")]
        rows += [(c.quantity, "yes" if c.agrees else "NO", f"{c.error:.1e}", c.where) for c in self.comparisons]
        widths = [max(len(row[k]) for row in rows) for k in range(3)]
        table = [f"{q:{widths[0]}}  {a:{widths[1]}}  {e:>{widths[2]}}  {w}".rstrip() for q, a, e, w in rows]
        plain = [f"plain torch layer {layer}" for layer in self.plain_layers]
        verdict = "over ranks as on one" if self.ok else "NOT over ranks as on one"
        return "\n".join([*table, *plain, f"process grid {self.dims}{groups}: {verdict}"])
