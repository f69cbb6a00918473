"""Two threads may ask one pool: the look ahead at the next batch, and the load of this one."""

import threading
from pathlib import Path

from include.probe.probe import FileReport, ProbeTask
from include.probe.streams import Planned
from include.probe.workers import ProbePool


def test_two_threads_get_their_own_reports(tmp_path: Path) -> None:
    tasks = []
    for number in range(40):
        path = tmp_path / f"{number}.json"
        path.write_text('{"id": 1}\n' * number)
        status = path.stat()
        planned = Planned(str(path), status.st_size, status.st_mtime_ns // 1000)
        tasks.append(ProbeTask(str(number), planned, "json"))
    pool, found = ProbePool(2), dict[int, list[FileReport]]()
    threads = [
        threading.Thread(target=lambda half=half: found.update({half: pool.map(tasks[half::2])})) for half in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    pool.close()
    for half in range(2):
        assert [(report.path, report.records) for report in found[half]] == [(str(n), n) for n in range(half, 40, 2)]
