"""Random worlds on the virtual clock: the same seed is the same world, to the last copy."""

from pathlib import Path

import pytest

from tests.support.random_worlds import play


@pytest.mark.parametrize("seed", [1, 3, 4, 8])
def test_a_seed_is_one_world(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endings = []
    for _ in range(2):
        with monkeypatch.context() as once:
            endings.append(play(seed, tmp_path, once))
    assert str(endings[0]) == str(endings[1])
    assert not endings[0].broken
