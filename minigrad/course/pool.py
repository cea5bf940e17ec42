"""Several judges at work: trusted processes that each judge one answer after another."""

import concurrent.futures
import contextlib
import dataclasses
import json
import queue
import subprocess
import sys
import threading

from minigrad.course import judge

#: a judge is replaced after so many jobs, so that nothing can pile up in it
JOBS_OF_A_JUDGE = 100
#: seconds that a judge may take beyond the time of the answer that it judges
PATIENCE = 120


class Judge:
    """A judge process; it starts with its first job, and anew after many jobs or when it fails.

    Args:
        course: the :class:`minigrad.course.manifest.Course` whose tests and limits count.
        tier, seed, hidden: as for :func:`minigrad.course.judge.judge`.
        slowness: factor on the wall-clock limit, where judges share a core.
    """

    def __init__(self, course, *, tier, seed=0, hidden=(), slowness=1.0):
        self.course, self.slowness = course, slowness
        self.job = {
            "course": str(course.folder),
            "tier": tier,
            "seed": seed,
            "hidden": [str(folder) for folder in hidden],
        }
        self.process, self.jobs = None, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def judge(self, exercise, folder, seed=None, only=None):
        """The Judgement on the answer in a folder; with a fault where the judge itself fails.

        Args:
            exercise, folder, only: as for :func:`minigrad.course.judge.judge`.
            seed: None takes that of this judge.
        """
        limits = judge.limits_of(exercise, wall=3 * exercise.seconds * self.slowness)
        job = {"exercise": exercise.name, "folder": str(folder), "only": only}
        job |= {"limits": dataclasses.asdict(limits), **self.job}
        job["seed"] = self.job["seed"] if seed is None else seed
        if self.jobs >= JOBS_OF_A_JUDGE:
            self.close()
        if self.process is None:
            self._start()
        self.jobs += 1
        # Test modules see what is left of the wall; their own work is not limited by it.
        overdue = threading.Timer(limits.wall + PATIENCE, self.process.kill)
        overdue.start()
        try:
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
            return judge.from_json(self.process.stdout.readline())
        except (OSError, ValueError):
            status = self.close()
            return judge.Judgement(exercise.name, fault=f"the judge failed (status {status})")
        finally:
            overdue.cancel()

    def _start(self):
        # -P: a submission in the current folder must not be taken for a module of ours.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "minigrad.course.judge"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def close(self):
        """End the process; its exit status, or None if there was none."""
        if self.process is None:
            return None
        process, self.process, self.jobs = self.process, None, 0
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
        process.stdout.close()
        return process.wait()


def judge_all(course, jobs, workers, **settings):
    """Judge many answers at once; yields (index of the job, Judgement) as they are done.

    When nobody takes any more, no further job is begun.

    Args:
        course: as for `Judge`.
        jobs: a list of the arguments of `Judge.judge`: (exercise, folder of the answer, …).
        workers: how many judges.
        settings: further arguments of `Judge`.
    """
    waiting = queue.SimpleQueue()
    for job in enumerate(jobs):
        waiting.put(job)
    done = queue.SimpleQueue()

    def work():
        with Judge(course, **settings) as one, contextlib.suppress(queue.Empty):
            while True:
                index, (exercise, *job) = waiting.get_nowait()
                try:
                    found = one.judge(exercise, *job)
                except Exception as error:  # whoever waits must hear of it
                    found = judge.Judgement(exercise.name, fault=f"{type(error).__name__}: {error}")
                done.put((index, found))

    with concurrent.futures.ThreadPoolExecutor(workers) as threads:
        for _ in range(workers):
            threads.submit(work)
        try:
            for _ in jobs:
                yield done.get()
        finally:
            with contextlib.suppress(queue.Empty):
                while True:
                    waiting.get_nowait()
