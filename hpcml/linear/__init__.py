"""Linear systems without matrices."""

from hpcml.linear.conjugate_gradients import conjugate_gradients

__all__ = ["conjugate_gradients"]
