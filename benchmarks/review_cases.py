"""How long a case takes to open in the review window, and the next one; for ``review.py``.

    xvfb-run -a -s "-screen 0 1600x1000x24 +extension GLX" python benchmarks/review_cases.py demo

Wall and CPU seconds until the slide is drawn. The first case of a process is the cold one: it
also pays for the imports of napari's layers and for the first contact with the files.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any


def case_times(run: Path, cases: int = 8) -> dict[str, Any]:
    """Open cases one after the other as key N does.

    Parameters
    ----------
    run : Path
        Folder of a run.
    cases : int
        How many to open at most.

    Returns
    -------
    dict
        ``window``, ``cold``, ``next`` (median) and ``worklist`` (bringing the list up to date),
        each with ``wall`` and ``cpu`` seconds.
    """
    from qtpy.QtWidgets import QApplication

    from pathai.viewer.app import open_window

    def timed(act: Any) -> dict[str, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        act()
        QApplication.processEvents()
        cpu = time.process_time() - cpu
        return {"wall": round(time.perf_counter() - wall, 4), "cpu": round(cpu, 4)}

    with tempfile.TemporaryDirectory() as reviews:
        found: list[Any] = []
        opened = timed(lambda: found.extend(open_window(run, "bench", Path(reviews), blind=False)))
        viewer, dock = found
        ids = [case.case_id for case in dock.review.run.cases.values() if _has_pixels(dock, case)]
        times = [timed(lambda one=one: dock.review.open_case(one)) for one in ids[1 : cases + 1]]
        again = [timed(lambda one=one: dock.review.open_case(one)) for one in ids[:cases]]
        listed = timed(dock.worklist.refresh)
        viewer.close()
        QApplication.processEvents()
    middle = sorted(again, key=lambda one: one["cpu"])[len(again) // 2]
    return {
        "cases": len(ids), "window": opened, "cold": times[0] if times else opened,
        "next": middle, "worklist": listed,
    }  # fmt: skip


def _has_pixels(dock: Any, case: Any) -> bool:
    return any(dock.review.run.has_pixels(row.slide_id) for row in case.rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run")
    print(json.dumps(case_times(parser.parse_args().run), indent=1))
