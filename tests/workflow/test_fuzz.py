"""Bytes of a real slide changed at random: the parent lives, and every outcome has a name.

The seeds are fixed. ``benchmarks/fuzz.py`` runs 5,000 at night and counts the outcomes.
"""

from collections import Counter

import pytest
from fuzz_slides import CHANGES, LIMIT_S, Fuzz, Slide, damage

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.real]
CASES = 200


@pytest.fixture(scope="module")
def fuzz(test_data, tmp_path_factory):
    return Fuzz(test_data / "slides/CMU-1-Small-Region.svs", tmp_path_factory.mktemp("fuzz"))


def test_damage_is_the_same_every_time_and_of_every_kind(test_data):
    slide = Slide(test_data / "slides/CMU-1-Small-Region.svs")
    kinds = Counter()
    for case in range(CASES):
        kind, raw = damage(slide, case)
        kinds[kind] += 1
        assert raw == damage(slide, case)[1]
    assert set(kinds) == set(CHANGES)


@pytest.mark.timeout(600)
def test_every_damaged_slide_ends_in_a_named_outcome(fuzz):
    outcomes = [fuzz.run(case) for case in range(CASES)]
    for one in outcomes:
        assert one.status in ("ok", "degraded", "skipped", "failed"), one
        if one.status in ("failed", "skipped"):
            assert one.result.startswith("E1"), one
        assert one.seconds < 2 * LIMIT_S, one
        # a known checksum lets nothing pass that is not the slide
        assert (one.known == "ok") == (not one.changed), one
    print(Counter(one.result for one in outcomes))
    results = {one.result for one in outcomes}
    assert {"ok", "E110"} <= results, "the draws must hold harmless and fatal damage"
    assert any(one.pixels == "wrong" for one in outcomes), "without a checksum some pass: say so"
