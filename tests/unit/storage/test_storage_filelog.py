from __future__ import annotations

import errno

import pytest

from aurora_actors.errors import (
    ConflictError,
    CorruptionError,
    StorageFullError,
    UnavailableError,
)
from aurora_actors.storage.filelog import FileLog
from aurora_actors.storage.files import Files
from aurora_actors.storage.frames import encode_frame

SEED = 12345
SEGMENT = 1 << 20


def open_log(directory, files=None, **options):
    options.setdefault("segment_bytes", SEGMENT)
    return FileLog(directory, seed=SEED, files=files or Files(), **options)


def fill(log, frames):
    for number in range(frames):
        log.append(number, number + 1, 1, b"payload %d" % number)


def read_all(log, after=0):
    return [(f.first_lsn, f.last_lsn, bytes(f.payload)) for f in log.read(after)]


def segments(directory):
    return sorted(directory.glob("*.log"))


@pytest.fixture
def small(tmp_path):
    """A log of four frames cut to its length; the path, its bytes, the frames' ends."""
    log = open_log(tmp_path)
    fill(log, 4)
    ends = [frame.end for frame in log.read(0)]
    log.close()
    (path,) = segments(tmp_path)
    data = path.read_bytes()[: ends[-1] + 32]
    path.write_bytes(data)
    return path, data, ends


def test_what_was_appended_is_read_back_after_reopening(tmp_path):
    log = open_log(tmp_path)
    log.append(0, 3, 1, b"first")
    log.append(3, 4, 2, b"second")
    log.close()
    again = open_log(tmp_path)
    assert again.last_lsn == 4
    assert not again.torn
    assert read_all(again) == [(1, 3, b"first"), (4, 4, b"second")]
    assert read_all(again, after=3) == [(4, 4, b"second")]
    assert [frame.timeline for frame in again.read(0)] == [1, 2]
    again.close()


def test_an_append_that_does_not_follow_the_last_lsn_is_a_conflict(tmp_path):
    log = open_log(tmp_path)
    log.append(0, 2, 1, b"x")
    with pytest.raises(ConflictError, match="ends at LSN 2, not 1"):
        log.append(1, 3, 1, b"y")
    log.close()


def test_a_log_cut_at_any_byte_keeps_the_frames_before_the_cut(tmp_path, small):
    path, data, ends = small
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        log = open_log(tmp_path)
        whole = sum(end <= cut for end in ends)
        assert log.last_lsn == whole
        assert len(read_all(log)) == whole
        log.append(whole, whole + 1, 1, b"goes on")
        log.close()
        again = open_log(tmp_path)
        assert again.last_lsn == whole + 1
        assert not again.torn
        again.close()
        for other in segments(tmp_path):
            other.unlink()


def test_any_flipped_byte_is_noticed_or_ends_the_log_at_its_last_frame(tmp_path, small):
    path, data, ends = small
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x40
        path.write_bytes(damaged)
        frame = sum(end <= position for end in ends)
        if frame < 3:
            with pytest.raises(CorruptionError) as caught:
                open_log(tmp_path)
            assert caught.value.context["file"] == str(path)
            assert caught.value.context["offset"] == (ends[frame - 1] if frame else 0)
        else:
            log = open_log(tmp_path)
            assert log.last_lsn == min(frame, 4)
            assert log.torn
            log.close()


def test_a_hole_in_the_unsynced_tail_is_a_torn_tail_only_after_a_reboot(
    tmp_path, small
):
    path, data, ends = small
    damaged = bytearray(data)
    damaged[ends[1] + 20 : ends[2]] = bytes(ends[2] - ends[1] - 20)
    path.write_bytes(damaged)
    with pytest.raises(CorruptionError, match="intact changes up to LSN 4"):
        open_log(tmp_path)
    log = open_log(tmp_path, rebooted=True)
    assert log.last_lsn == 2
    assert log.torn
    log.close()


def test_a_hole_that_had_been_synced_is_damage_even_after_a_reboot(tmp_path):
    log = open_log(tmp_path)
    fill(log, 3)
    log.sync()
    log.append(3, 4, 1, b"says that LSN 3 was synced")
    ends = [frame.end for frame in log.read(0)]
    log.close()
    (path,) = segments(tmp_path)
    damaged = bytearray(path.read_bytes())
    damaged[ends[1] + 20 : ends[2]] = bytes(ends[2] - ends[1] - 20)
    path.write_bytes(damaged)
    with pytest.raises(CorruptionError):
        open_log(tmp_path, rebooted=True)


def test_frames_of_another_database_are_not_taken(tmp_path):
    (tmp_path / f"{1:016x}.log").write_bytes(encode_frame(SEED + 1, (1, 1), 0, 1, b"x"))
    log = open_log(tmp_path)
    assert log.last_lsn == 0
    log.close()


def test_a_full_segment_is_followed_by_another(tmp_path):
    log = open_log(tmp_path, segment_bytes=200)
    fill(log, 10)
    assert len(segments(tmp_path)) > 2
    assert len(read_all(log)) == 10
    log.close()
    again = open_log(tmp_path, segment_bytes=200)
    assert read_all(again, after=6)[0][0] == 7
    again.close()


def test_trimming_removes_what_lies_wholly_behind(tmp_path):
    log = open_log(tmp_path, segment_bytes=200)
    fill(log, 10)
    before = len(segments(tmp_path))
    log.trim(5)
    assert len(segments(tmp_path)) < before
    assert read_all(log, after=5)[0][:2] == (6, 6)
    with pytest.raises(CorruptionError, match="segments between are missing"):
        read_all(log, after=0)
    log.close()


def test_segments_the_database_no_longer_needs_may_be_missing_or_damaged(tmp_path):
    log = open_log(tmp_path, segment_bytes=200)
    fill(log, 10)
    log.close()
    first, second, *_ = segments(tmp_path)
    first.unlink()
    second.write_bytes(b"garbage")
    again = open_log(tmp_path, segment_bytes=200, after_lsn=8)
    assert [lsns[1] for lsns in read_all(again, after=8)] == [9, 10]
    again.close()


def test_a_missing_segment_in_the_middle_is_damage(tmp_path):
    log = open_log(tmp_path, segment_bytes=200)
    fill(log, 10)
    log.close()
    segments(tmp_path)[1].unlink()
    with pytest.raises(CorruptionError, match=r"where LSN \d+ is due"):
        open_log(tmp_path, segment_bytes=200)


def test_a_withdrawn_frame_is_gone(tmp_path):
    log = open_log(tmp_path)
    fill(log, 2)
    log.withdraw(1)
    assert log.last_lsn == 1
    log.append(1, 2, 1, b"instead")
    log.close()
    again = open_log(tmp_path)
    assert read_all(again)[-1] == (2, 2, b"instead")
    again.close()


def test_only_the_last_frame_can_be_withdrawn(tmp_path):
    log = open_log(tmp_path)
    fill(log, 3)
    with pytest.raises(UnavailableError, match="cannot go back to LSN 0"):
        log.withdraw(0)
    log.close()


def test_restarting_leaves_nothing_and_goes_on_behind_the_given_lsn(tmp_path):
    log = open_log(tmp_path)
    fill(log, 3)
    log.restart(7)
    assert segments(tmp_path) == []
    log.append(7, 8, 1, b"x")
    assert [path.name for path in segments(tmp_path)] == [f"{8:016x}.log"]
    log.close()


def test_a_full_disk_leaves_the_log_as_it_was(tmp_path, database):
    files = database.files
    log = open_log(tmp_path, files)
    fill(log, 2)
    files.write_at_most = 10
    files.fail["write"] = (2, errno.ENOSPC)
    with pytest.raises(StorageFullError, match="no room left"):
        log.append(2, 3, 1, b"never")
    files.fail.clear()
    files.write_at_most = None
    log.append(2, 3, 1, b"later")
    log.close()
    again = open_log(tmp_path)
    assert read_all(again)[-1] == (3, 3, b"later")
    assert not again.torn
    again.close()


def test_short_writes_are_continued(tmp_path, database):
    database.files.write_at_most = 7
    log = open_log(tmp_path, database.files, segment_bytes=10)
    log.append(0, 1, 1, b"a payload of some length")
    log.close()
    again = open_log(tmp_path)
    assert read_all(again) == [(1, 1, b"a payload of some length")]
    again.close()


def test_after_a_failed_sync_the_log_refuses_everything(tmp_path, database):
    log = open_log(tmp_path, database.files)
    fill(log, 1)
    database.files.fail["sync"] = (0, errno.EIO)
    with pytest.raises(UnavailableError, match="EIO"):
        log.sync()
    database.files.fail.clear()
    with pytest.raises(UnavailableError, match=r"syncing .* failed"):
        log.sync()
    with pytest.raises(UnavailableError, match="restart the database"):
        log.append(1, 2, 1, b"x")
    log.close()


def test_segments_are_filled_with_zeros_ahead_of_the_frames(tmp_path):
    log = open_log(tmp_path)
    fill(log, 1)
    (path,) = segments(tmp_path)
    assert path.stat().st_size == SEGMENT
    assert not any(path.read_bytes()[log.size_bytes :])
    log.close()
