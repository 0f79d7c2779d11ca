"""Linear systems without matrices."""

from hpcml.linear.conjugate_gradients import conjugate_gradients
from hpcml.linear.red_black_sor import red_black_sor

__all__ = ["conjugate_gradients", "red_black_sor"]
