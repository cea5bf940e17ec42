"""Answers that want to fool the grader, break it, or look around: none gets a point for it.

Each is one student whose other exercise is right and must be judged so; honest students stand
among them. All are graded together, as an instructor would, and looked at one by one. Those that
take seconds, and those that add little to their like, are marked slow.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import graded_course
import numpy as np
import pytest
from hostile_answers import ERRORS, FILES, HONEST, HOSTILE, RIGHT, SLOW, VALUES, calling

from minigrad.course import grade, judge, submissions
from minigrad.sandbox import best_tier, box, verdicts

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the walls are Linux's")

OTHER = "def shift(f, x):\n    return f(x)\n"


def split(cases):
    """Cases as parameters of a test, the slow ones marked."""
    return [pytest.param(c, marks=pytest.mark.slow if c in SLOW else ()) for c in cases]


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return graded_course.make(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def tier():
    return best_tier()


def files_of(answer):
    return answer if isinstance(answer, dict) else {"ex01_sums.py": answer}


def graded(course, tier, folder, answers):
    """{what a student does: its Judgements}, all students graded together.

    Only those who do something to the process are judged in a second exercise, so that this takes
    less time: the others have done nothing by then.
    """
    names = {f"{i:03}": what for i, what in enumerate(answers)}
    for name, what in names.items():
        graded_course.fill(folder / name, {"ex02_shifts.py": OTHER, **files_of(answers[what])})
    found = submissions.find([folder], [exercise.name for exercise in course.exercises])
    assert [each.student for each in found] == list(names)
    # More judges than cores: some answers only wait.
    settings = dict(tier=tier, seed=1, workers=3, slowness=3)
    mere = [each for each in found if names[each.student] in {*VALUES, *ERRORS, *FILES, *HONEST}]
    rest = [each for each in found if each not in mere]
    results = grade.grade(course, course.exercises[:1], mere, **settings) if mere else []
    results += grade.grade(course, course.exercises, rest, **settings) if rest else []
    return {names[each.student]: each.judgements for each in results}


@pytest.fixture(scope="module")
def everybody(request, course, tier, tmp_path_factory):
    """{what a student does: its Judgements} of all who are tested in this run."""
    items = [i for i in request.session.items if i.path == request.path and hasattr(i, "callspec")]
    chosen = {item.callspec.params.get("what") for item in items}
    answers = {what: answer for what, (answer, _, _) in HOSTILE.items()} | HONEST
    folder = tmp_path_factory.mktemp("submissions")
    return graded(course, tier, folder, {k: v for k, v in answers.items() if k in chosen})


def check_hostile(what, judgements):
    _, kinds, words = HOSTILE[what]
    first, *others = judgements
    assert first.fault is None
    assert first.score == 0
    assert first.total == 9
    known = {each.kind for each in vars(verdicts).values() if hasattr(each, "kind")}
    allowed = {kind for kind in known if kind in kinds} | {"timed out", "missing"}
    assert {result.kind for result in first.results} <= allowed
    assert any(words in result.message for result in first.results), first
    assert all(result.message for result in first.results)
    assert len(first.output) < 3000 and all(len(r.message) < 3000 for r in first.results)
    assert all(other.passed for other in others)


@pytest.mark.parametrize("what", split(HOSTILE))
def test_a_student_whose_answer(everybody, what):
    check_hostile(what, everybody[what])


def test_a_forged_exception_is_cut_where_it_comes_in():
    frames = [("f" * 10**6, 1, "g" * 10**6, "h" * 10**6)] * 100
    with pytest.raises(verdicts.Raised) as caught:
        verdicts.value_of(("raised", "E" * 10**6, "m" * 10**6, frames), "double")
    assert len(str(caught.value)) < 5000
    assert sum(len(text) for frame in caught.value.frames for text in map(str, frame)) < 10**5


@pytest.mark.parametrize("what", HONEST)
def test_an_honest_student_whose_answer(everybody, what):
    for judgement in everybody[what]:
        assert judgement.fault is None
        assert judgement.passed, judgement.failure


#: those whose walls are the same in every tier, and do no harm where they are not
EVERYWHERE = [
    *("ends its process in mid-call", "aborts", "prints without end", "takes 50 GB"),
    *("loops and ignores signals", "answers in advance and does not listen"),
    *("floods the channel", "returns a list that holds itself", "is UTF-16"),
    "has its own tests, settings and plugins",
]
FAIR = ["plain", "has helpers", "speaks Greek", "has classes and caches"]


QUICKLY = [what for what in EVERYWHERE if what not in SLOW]


@pytest.mark.parametrize("lower", ["user", "process"])
@pytest.mark.parametrize(
    "chosen", [QUICKLY, pytest.param(EVERYWHERE, marks=pytest.mark.slow)], ids=["quick", "all"]
)
def test_the_lower_tiers_hold_too(course, tmp_path, lower, chosen):
    if not box.works(lower):
        pytest.skip(f"no tier {lower!r} on this machine")
    tmp_path.chmod(0o711)
    answers = {what: HOSTILE[what][0] for what in chosen}
    answers |= {what: HONEST[what] for what in FAIR}
    results = graded(course, lower, tmp_path / "submissions", answers)
    for what in chosen:
        check_hostile(what, results[what])
    for what in FAIR:
        assert all(judgement.passed for judgement in results[what]), results[what]


PEEK = """
import os, sys, glob

def found():
    places = {places}
    out = [place for place in places if os.path.exists(place)]
    out += [place for place in ("/proc/self", "/proc/1", "/sys/kernel", "/etc/passwd", "/dev/shm")
            if os.path.exists(place)]
    out += [path for path in glob.glob("/*/*.py") if path not in (__file__, "/given/_given.py")]
    out += [name for name in os.environ]
    out += [name for name in sys.modules if name.split(".")[0] in ("minigrad", "pytest", "_pytest")]
    frame = sys._getframe()
    while frame:
        out += [name for name in frame.f_locals if name in ("want", "expected", "seed", "rng")]
        frame = frame.f_back
    return sorted(set(out))

def double(x):
    print(found())
    return x
"""


def peeked(course, tier, tmp_path, source):
    """What an answer prints."""
    folder = graded_course.fill(tmp_path / "secretive" / "mallory", {"ex01_sums.py": source})
    graded_course.fill(tmp_path / "secretive" / "alice", {"ex01_sums.py": RIGHT})
    found = submissions.find([tmp_path / "secretive"], [e.name for e in course.exercises])
    graded = grade.grade(course, course.exercises[:1], found, tier=tier, seed=3)
    assert graded[0].score == 9
    assert folder.name == graded[1].student
    assert graded[1].score == 0
    return graded[1].judgements[0].output


def test_nothing_of_the_course_or_of_others_can_be_seen(course, tier, tmp_path):
    if tier != "namespaces":
        pytest.skip("only namespaces hide what there is")
    seed = grade.hidden_seed(course)
    assert seed == grade.hidden_seed(course)
    places = [
        str(course.folder),
        str(course.solutions / "ex01_sums.py"),
        str(course.folder.parent / grade.SEED_FILE),
        str(tmp_path),
        os.path.dirname(os.path.abspath(__file__)),
        "/answer/../exercises",
        "/solutions",
        "/root/.ssh",
        "/home",
    ]
    printed = peeked(course, tier, tmp_path, PEEK.replace("{places}", repr(places)))
    assert printed.splitlines()[0] == "[]", printed


RULES = """
import os, signal, socket, sys, threading
from minigrad.sandbox import rules

allowed, secret = sys.argv[1:]
rules.give_up_privileges()
held = rules.refuse_files([allowed, *filter(None, sys.path)]), rules.refuse_calls()
attempts = {
    "read": lambda: open(secret).read(),
    "list": lambda: os.listdir(os.path.dirname(secret)),
    "write": lambda: open(os.path.join(allowed, "new"), "w"),
    "remove": lambda: os.remove(os.path.join(allowed, "x")),
    "fork": os.fork,
    "run": lambda: os.execv(sys.executable, [sys.executable, "-c", ""]),
    "kill": lambda: os.kill(os.getppid(), 0),
    "speak": socket.socket,
    "thread": lambda: threading.Thread(target=print).start(),
}
print(*held, open(os.path.join(allowed, "x")).read(), sep="\\n")
for name, attempt in attempts.items():
    try:
        attempt()
        print(name, "works")
    except (PermissionError, RuntimeError):
        print(name, "is refused")
os.abort()
"""


def test_the_kernel_holds_a_process_to_its_rules(tmp_path):
    graded_course.fill(tmp_path, {"allowed/x": "fine", "secret/x": "secret"})
    done = subprocess.run(
        [sys.executable, "-c", RULES, str(tmp_path / "allowed"), str(tmp_path / "secret" / "x")],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(judge.__file__).parents[2],
    )
    files, calls, fine, *attempts = done.stdout.splitlines()
    assert fine == "fine"
    by_files = {"read", "list", "write", "remove"}
    for line in attempts:
        name, _, words = line.partition(" ")
        if (files if name in by_files else calls) == "True":
            assert words == "is refused", name
    assert done.returncode == -6, done.stderr


SPEAK = """
import os, socket

def attempt(action):
    try:
        return action()
    except OSError as error:
        return error.errno and "no"

def abstract():
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect({name!r}) or "connected"

def network():
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect(("127.0.0.1", {port})) or "connected"

def double(x):
    print([attempt(abstract), attempt(network)])
    return x
"""


def test_no_one_outside_can_be_reached(course, tier, tmp_path):
    name = f"\0minigrad-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as local, socket.create_server(("127.0.0.1", 0)) as server:
        local.bind(name)
        local.listen()
        port = server.getsockname()[1]
        printed = peeked(course, tier, tmp_path, SPEAK.format(name=name, port=port))
    assert printed.splitlines()[0] == "['no', 'no']"


MEMORY = """
import ctypes, os

c = ctypes.CDLL(None, use_errno=True)
c.shmat.restype = ctypes.c_void_p

def double(x):
    segment = c.shmget(0, ctypes.c_size_t(1 << 20), 0o1666)
    queue = c.msgget(0, 0o1666)
    try:
        file = os.memfd_create("x")
    except OSError:
        file = -1
    print(segment, queue, file)
    return x
"""


def test_there_is_no_memory_beside_the_limited_one(course, tier, tmp_path):
    if tier != "namespaces":
        pytest.skip("elsewhere Python refuses ctypes")
    printed = peeked(course, tier, tmp_path, MEMORY)
    assert printed.splitlines()[0] == "-1 -1 -1"


def test_what_cannot_be_a_file_is_named_and_nothing_else_suffers(course, tier, tmp_path):
    secret = graded_course.fill(tmp_path, {"solution.py": RIGHT}) / "solution.py"
    subs = tmp_path / "submissions"
    for name in ("link", "pipe", "folder", "dangling", "helper"):
        graded_course.fill(subs / name, {"ex02_shifts.py": OTHER})
    (subs / "link" / "ex01_sums.py").symlink_to(secret)
    (subs / "dangling" / "ex01_sums.py").symlink_to("/nowhere")
    os.mkfifo(subs / "pipe" / "ex01_sums.py")
    graded_course.fill(subs / "folder", {"ex01_sums.py/ex01_sums.py": RIGHT})
    (subs / "helper" / "helper.py").symlink_to(secret)
    (subs / "helper" / "all").symlink_to(tmp_path)
    graded_course.fill(subs / "helper", {"ex01_sums.py": "from helper import *\n"})
    found = submissions.find([subs], [e.name for e in course.exercises])
    graded = {
        each.student: each
        for each in grade.grade(course, course.exercises, found, tier=tier, seed=3, workers=2)
    }
    reasons = {
        "link": "ex01_sums.py is a symbolic link",
        "dangling": "ex01_sums.py is a symbolic link",
        "pipe": "ex01_sums.py is a named pipe",
        "folder": "ex01_sums.py is a folder",
    }
    for name, reason in reasons.items():
        first, second = graded[name].judgements
        assert first.score == 0 and second.passed
        assert {(r.kind, r.message) for r in first.results} == {("unreadable", reason)}
        assert graded[name].remarks == (reason,)
    first, second = graded["helper"].judgements
    assert first.score == 0 and second.passed
    assert "imports helper" in first.failure.message


def test_nothing_is_left_running_when_a_judge_is_killed(course, tier, tmp_path):
    folder = graded_course.fill(tmp_path, {"ex01_sums.py": calling("\n    while True: pass")})
    folder.chmod(0o755)
    script = (
        "import os, sys; from minigrad.course import judge, manifest\n"
        f"course = manifest.load({str(course.folder)!r})\n"
        "from minigrad import sandbox\n"
        "print('ready', flush=True)\n"
        f"judge.judge(course, course.exercises[0], {str(folder)!r}, tier={tier!r},\n"
        "            limits=sandbox.Limits(seconds=60, wall=1000))"
    )
    one = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    one.stdout.readline()
    before, until = set(), time.monotonic() + 60
    # It takes a fraction of a second to start; what has taken more is in its loop.
    while not any(seconds_of(pid) > 0.7 for pid in before) and time.monotonic() < until:
        time.sleep(0.1)
        before = children(one.pid)
    one.kill()
    one.wait()
    one.stdout.close()
    for _ in range(50):
        alive = {pid for pid in before if is_alive(pid)}
        if not alive:
            break
        time.sleep(0.1)
    assert before
    assert not alive


def children(pid):
    """The processes that a process has started, and those that they have."""
    found = set()
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                found |= {int(child)} | children(int(child))
    return found


def status_of(pid):
    """The fields of a process after its name; none if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def is_alive(pid):
    return bool(status_of(pid)) and status_of(pid)[0] != "Z"


def seconds_of(pid):
    """Processor seconds that a process has taken."""
    fields = status_of(pid)
    return int(fields[11]) / os.sysconf("SC_CLK_TCK") if fields else 0


NOBODY = 65534


def test_an_instructor_who_is_not_root_has_walls_too(course, tmp_path):
    python = shutil.which(f"python3.{sys.version_info.minor}", path="/usr/bin:/usr/local/bin")
    if os.geteuid() or python is None or shutil.which("setpriv") is None:
        pytest.skip("needs root, who can become nobody, and a Python that nobody may run")
    tmp_path = Path(tempfile.mkdtemp())
    tmp_path.chmod(0o755)
    try:
        copied = graded_course.make(tmp_path / "course")
        answers = {
            "0": HONEST["plain"],
            "1": HOSTILE["kills everybody"][0],
            "2": HOSTILE["forks without end"][0],
            "3": PEEK.replace("{places}", repr([str(copied.folder)])),
        }
        for name, answer in answers.items():
            graded_course.fill(tmp_path / "submissions" / name, {"ex01_sums.py": answer})
        site = Path(np.__file__).parents[1]
        report = tmp_path / "reports" / "all.json"
        report.parent.mkdir(mode=0o777)
        report.parent.chmod(0o777)
        command = [
            *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", python, "-P"),
            *("-m", "minigrad.course.cli", "grade", str(tmp_path / "submissions"), "--seed=1"),
            *(f"--course={copied.folder}", "--exercises", "1", f"--json={report}", "-j1"),
        ]
        environment = {"PYTHONPATH": f"{site}:{Path(judge.__file__).parents[2]}", "HOME": "/"}
        probe = subprocess.run(
            [*command[:6], "-c", "import numpy, pytest, minigrad.course.judge"],
            env=environment,
            capture_output=True,
        )
        if probe.returncode:
            pytest.skip("nobody cannot read what Python needs")
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120, cwd="/"
        )
        assert done.returncode == 0, done.stdout + done.stderr
        content = json.loads(report.read_text())
        assert [each["score"] for each in content["submissions"]] == [9, 0, 0, 0]
        if content["tier"] == "namespaces":
            assert content["submissions"][3]["exercises"][0]["output"].startswith("[]\n")
    finally:
        shutil.rmtree(tmp_path)
