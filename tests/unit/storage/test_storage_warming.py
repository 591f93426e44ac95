from __future__ import annotations

import os
from pathlib import Path

from aurora_actors.config import AuroraConfig
from aurora_actors.storage.layout import DATA_FILE
from aurora_actors.storage.warming import warm_page_cache


def test_the_data_file_is_asked_for_up_to_the_capacity(tmp_path: Path) -> None:
    (tmp_path / DATA_FILE).write_bytes(os.urandom(3 << 20))
    config = AuroraConfig(db_path=str(tmp_path), cold_cache_capacity_mb=2)
    assert warm_page_cache(config) == 2 << 20
    config = AuroraConfig(db_path=str(tmp_path), cold_cache_capacity_mb=64)
    assert warm_page_cache(config) == 3 << 20
    config = AuroraConfig(db_path=str(tmp_path), cold_cache_capacity_mb=0)
    assert warm_page_cache(config) == 0


def test_a_file_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    assert warm_page_cache(AuroraConfig(db_path=str(tmp_path))) == 0
