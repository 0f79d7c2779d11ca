"""A number that every node has, and which nodes have one that is off."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Measure:
    """Something that was measured on every node, or between two; the less, the better.

    Attributes
    ----------
    name : str
        What it is.
    values : mapping of str to float
        By node, or by link.
    unit : str
        Of the values.
    times : float
        A node is off whose value is so many times the median of the others.
    least : float
        What is no more than this is never off.
    """

    name: str
    values: Mapping[str, float]
    unit: str
    times: float
    least: float = 0.0

    def off(self) -> list[str]:
        """Nodes that are, with what says so.

        Examples
        --------
        >>> Measure("a product", {"n1": 2.0, "n2": 2.1, "n3": 9.0}, "ms", times=2).off()
        ['n3 is off: a product 9 ms, the others 2.05 ms']
        """
        found = []
        for name, value in self.values.items():
            others = [other for each, other in self.values.items() if each != name]
            if others and value > max(self.times * median(others), self.least):
                found.append(f"{name} is off: {self.name} {value:.3g} {self.unit}, the others {median(others):.3g} {self.unit}")
        return found

    def line(self) -> str:
        """The values in a line: of all nodes where they are few, else the least, the median and the most.

        Examples
        --------
        >>> Measure("a product", {"n1": 2.0, "n2": 2.1}, "ms", times=2).line()
        'a product: n1 2 ms, n2 2.1 ms'
        """
        if not self.values:
            return f"{self.name}: nothing to compare"
        if len(self.values) <= 4:
            return f"{self.name}: " + ", ".join(f"{name} {value:.3g} {self.unit}" for name, value in self.values.items())
        least, most = (pick(self.values, key=self.values.__getitem__) for pick in (min, max))
        middle = median(self.values.values())
        return f"{self.name}: {self.values[least]:.3g} ({least}), median {middle:.3g}, {self.values[most]:.3g} {self.unit} ({most})"
