"""The cases that hold on every engine, run as a rank: ``minigrad launch -n 4 tests/on_ranks.py``.

Every rank checks all results; the script ends with status 0 if all of them hold.
"""

import importlib
import pkgutil
import sys
import time

import distributed_cases

from minigrad import distributed as dist


def cases():
    """(name, Case) of all of them."""
    for module in pkgutil.iter_modules(distributed_cases.__path__):
        found = importlib.import_module(f"distributed_cases.{module.name}").CASES
        yield from ((f"{module.name}: {name}", case) for name, case in found.items())


def main(wanted):
    for name, case in cases():
        if not wanted or any(word in name for word in wanted):
            begin = time.perf_counter()
            rank, results = run_on_first(case)
            if results is not None:
                case.check(results)
            if rank == 0:
                said = f"{time.perf_counter() - begin:6.2f} s"
                print(f"{name:<60}", f"needs {case.size} ranks" if results is None else said)


def run_on_first(case):
    """(this process's rank, what the first ``case.size`` ranks returned, or None where there are
    not so many)."""
    ranks = []

    def part(comm):
        ranks.append(comm.rank)
        if comm.size < case.size:
            return None
        group = comm.split(0 if comm.rank < case.size else None)
        return None if group is None else case.fn(group)

    results = list(dist.run(part))
    return ranks[0], results[: case.size] if len(results) >= case.size else None


if __name__ == "__main__":
    main(sys.argv[1:])
