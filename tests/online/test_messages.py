"""Messages have the bytes that the reference says, whatever numbers and texts they carry."""

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hpcml.online.ask import MOST_BYTES, Ask
from hpcml.online.work import Work

LONG = st.integers(0, 2**62)


@given(LONG, st.none() | LONG, LONG, st.text())
def test_what_is_said_is_read_and_a_long_text_is_cut(group, simulation, sent, text):
    message = Ask(group, simulation, sent, text).written()
    assert message.nbytes == MOST_BYTES
    assert struct.unpack_from("=3q", message.tobytes()) == (group, -1 if simulation is None else simulation, sent)
    heard = Ask.read(message)
    assert (heard.group, heard.simulation, heard.sent) == (group, simulation, sent)
    assert text.startswith(heard.text) and (heard.text == text or len(text.encode()) > MOST_BYTES - 32)
    cut = Ask.read(Ask(0, 1, 0, "x" * 991 + "é").written())
    assert cut.text == "x" * 991  # half of a letter is none


@given(LONG, st.lists(st.floats(allow_nan=False), max_size=5), st.lists(st.sampled_from([0, 1]), max_size=9))
def test_work_has_its_number_its_parameters_and_a_byte_for_each_sample(simulation, parameters, wanted):
    work = Work(simulation, tuple(parameters), bytes(wanted))
    message = work.written()
    count, samples = len(parameters), len(wanted)
    assert struct.unpack(f"=4q{count}d{samples}B", message.tobytes()) == (simulation, count, samples, 0, *parameters, *wanted)
    assert Work.read(message) == work


def test_no_more_work_is_a_message_too():
    assert Work.read(Work.none()) is None and struct.unpack("=4q", Work.none().tobytes()) == (-1, 0, 0, 0)


def test_a_damaged_length_reads_no_further_than_the_message():
    message = Ask(0, 1, 0, "cold").written()
    message[24:32].view(np.int64)[0] = 1 << 40
    assert Ask.read(message).text.rstrip("\0") == "cold"
