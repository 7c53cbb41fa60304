"""The worker processes of a search: each the same command with a number, its share of the machine, and no orphan."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from covidct.errors import CovidctError, IntegrityError, Interrupted

PATIENCE_SECONDS = 60.0
"""A worker that was asked to stop and is not gone after so long is killed; its trial is taken over later."""


def run_workers(count: int, words: Sequence[str], wanted: int, logs: Path) -> None:
    """Start workers and wait for all of them. One that dies leaves its trial to the others.

    Args:
        count: How many.
        words: The words of the command.
        wanted: Trials in total.
        logs: Folder of what they write besides their lines on standard output.

    Raises:
        Interrupted: A worker, or this process, was stopped from outside.
        IntegrityError: A worker found files that do not belong together; its own words are shown.
    """
    own = [word for word in words if not word.startswith(("worker=", "workers=", "trials="))]
    files = [logs / f"worker-{number}.err" for number in range(count)]
    workers = []
    try:
        for number, file in enumerate(files):
            command = [sys.executable, "-m", "covidct", "search", *own, f"trials={wanted}", f"worker={number}"]
            with file.open("wb") as errors:
                workers.append(
                    subprocess.Popen(
                        command,
                        stdin=subprocess.PIPE,  # its end tells a worker that this process is gone
                        stderr=errors,
                        env=os.environ | _share(number, count),
                        start_new_session=True,  # Ctrl-C reaches this process, which then asks the workers
                    )
                )
        while any(worker.poll() is None for worker in workers):
            time.sleep(0.2)
    finally:
        _stop(workers)
    codes = [worker.returncode for worker in workers]
    if Interrupted.exit_code in codes:
        raise Interrupted("a worker was stopped from outside", remedy="the same command goes on with what is left")
    for number, code in enumerate(codes):
        text = files[number].read_text(encoding="utf-8", errors="replace").strip()
        if code == IntegrityError.exit_code:
            said = [line.strip() for line in text.removeprefix("covidct: ").splitlines()]
            remedies = [line.removeprefix("do:").strip() for line in said if line.startswith("do:")]
            raise IntegrityError(said[0] if said else "?", where=str(files[number]), remedy="; ".join(remedies) or None)
        if code not in (0, CovidctError.exit_code, 3):
            print(f"[{number}] ended with {_how(code)}; see {files[number]}", file=sys.stderr)
        if code == CovidctError.exit_code:
            print(text[-3000:], file=sys.stderr)


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _share(number: int, count: int) -> dict[str, str]:
    """Environment of a worker: processor threads for a fair share, and a GPU of its own where there are several."""
    import torch

    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cores = os.cpu_count() or 1
    share = max(1, cores // count)
    if os.environ.get("OMP_NUM_THREADS", "").isdecimal():
        share = min(share, int(os.environ["OMP_NUM_THREADS"]))
    given = {"OMP_NUM_THREADS": str(share), "MKL_NUM_THREADS": str(share)}
    gpus = torch.cuda.device_count()
    if gpus > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        given["CUDA_VISIBLE_DEVICES"] = visible[number % len(visible)]
    return given


def _stop(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        if worker.poll() is None:
            worker.terminate()
    deadline = time.monotonic() + PATIENCE_SECONDS
    for worker in workers:
        try:
            worker.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
        if worker.stdin is not None:
            worker.stdin.close()


def stop_with_parent() -> None:
    """In a worker: stop as by SIGTERM when the process that started this one is gone, however it went."""

    def watch() -> None:
        while os.read(0, 1):
            continue
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
