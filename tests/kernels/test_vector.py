"""Machine code of the kernels for processors that this machine need not be: innermost loops work on vectors.

The whole campaign, every kernel, compiler and processor, is ``python tests/kernels/disassembly.py``.
"""

import pytest

from hpcml.kernels.source import read_source, source_names
from tests.kernels.disassembly import LIBRARIES, MOVERS, TARGETS, Arithmetic, Target, _count, arithmetic, library_arithmetic

SAMPLE = [
    # Compilers that tune for registers of 256 bits take vectors of 512 apart, unless these say so themselves.
    ("conv", Target("g++", "objdump", "skylake-avx512"), "-mprefer-vector-width=256"),
    ("segment", Target("aarch64-linux-gnu-g++", "aarch64-linux-gnu-objdump", "neoverse-v1")),
    ("segment", Target("aarch64-linux-gnu-g++", "aarch64-linux-gnu-objdump", "a64fx")),
    ("flux", Target("aarch64-linux-gnu-g++", "aarch64-linux-gnu-objdump", "neoverse-n1")),
    ("faces", Target("clang++", "objdump", "icelake-server")),
    ("stencil", Target("clang++", "objdump", "znver3")),
    *((name, Target("g++", "objdump", "x86-64-v3")) for name in ("accumulate", "faces")),
]


@pytest.mark.parametrize("sample", SAMPLE, ids=lambda sample: " ".join(map(str, sample)))
def test_innermost_loops_are_in_vectors(sample):
    name, target, *flags = sample
    if target.missing:
        pytest.skip(f"{target.missing} is not on this machine")
    for kernel, count in arithmetic(read_source(name), {"REAL": "float"}, target, *flags).items():
        assert count.in_vectors or kernel in MOVERS, f"{kernel}: packed/scalar {count}"


def test_the_transforms_of_columns_are_in_vectors():
    target = Target("g++", "objdump", "skylake-avx512")
    if target.missing:
        pytest.skip(f"{target.missing} is not on this machine")
    for path in LIBRARIES:
        count = library_arithmetic(path, target, "-mprefer-vector-width=256")
        assert count.in_vectors, f"{path.name}: packed/scalar {count}"


def test_every_file_is_in_the_sample_or_has_a_reason():
    left_out = set(source_names()) - {name for name, *_ in SAMPLE}
    assert all(set(read_source(name).signatures) <= MOVERS for name in left_out)


def test_the_three_compilers_and_eight_processors_are_those_of_the_campaign():
    assert len(TARGETS) == 2 * 5 + 3


def test_the_count_knows_a_loop_of_numbers_from_one_of_vectors():
    """What g++ 12 makes of `y[i] += x[i]` with and without vectors; the jump back without a condition is no loop."""
    vectors = " 10:\tvmovups (%rsi,%rax,1),%ymm0\n 14:\tvaddps (%rdi,%rax,1),%ymm0,%ymm0\n 1d:\tjne    10 <f+0x10>\n"
    numbers = " 30:\tvaddss (%rdi),%xmm0,%xmm0\n 34:\tvaddss (%rsi),%xmm0,%xmm0\n 3d:\tjne    30 <f+0x30>\n"
    rest = " 50:\tvmulss (%rdi),%xmm0,%xmm0\n 54:\tjmp    10 <f+0x10>\n"
    assert _count(vectors + rest, arm=False) == Arithmetic(1, 0, 1, 1)
    assert not _count(vectors + numbers, arm=False).in_vectors
    arm = " 10:\tfmla\tv0.4s, v1.4s, v2.4s\n 14:\tfmadd\ts0, s1, s2, s3\n 18:\tb.ne\t10 <f>\n"
    assert _count(arm, arm=True) == Arithmetic(1, 1, 1, 1)
