"""Length-prefixed messages on a byte stream."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from aurora_actors.errors import ProtocolError
from aurora_actors.messages.framing import MAX_FRAME_BYTES, FrameReader, encode_frame
from aurora_actors.messages.supervision import RestartActor


@given(
    bodies=st.lists(st.binary(max_size=300), max_size=8),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=8),
)
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(bodies, cuts):
    stream = b"".join(encode_frame(body) for body in bodies)
    reader, found, position = FrameReader(), [], 0
    while position < len(stream):
        for cut in cuts:
            reader.feed(stream[position : position + cut])
            position += cut
            while (body := reader.next_frame()) is not None:
                found.append(body)
    assert found == bodies
    assert reader.next_frame() is None


def test_a_message_is_encoded_with_its_tag():
    reader = FrameReader()
    reader.feed(encode_frame(RestartActor(name="storage")))
    body = reader.next_frame()
    assert body is not None
    assert b"tree.restart_actor" in body


def test_an_absurd_length_is_refused_before_its_bytes_arrive():
    reader = FrameReader()
    reader.feed((MAX_FRAME_BYTES + 1).to_bytes(4, "big"))
    with pytest.raises(ProtocolError, match="not ours"):
        reader.next_frame()
