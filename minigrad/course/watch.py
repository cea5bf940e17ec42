"""``minigrad watch``: checks an exercise whenever it is saved, and moves on when it passes."""

import shutil
import time

from minigrad.course import failures, hint, keys, learner, progress, screens

POLL = 0.2
SETTLE, SETTLE_TRIES = 0.05, 20
SAVED, REDRAW = "saved", "redraw"
CLEAR = "\x1b[2J\x1b[H"
HELP = "h hint   n next   l list   r check again   q quit"


def add_arguments(parser):
    """The options of ``minigrad watch``."""
    parser.add_argument(
        "exercise", nargs="?", metavar="NN", help="where to begin (default: the next one)"
    )
    parser.add_argument("--manual", action="store_true", help="check on Enter, not on save")
    learner.add_course(parser)


def run(arguments):
    """Watch until all is passed or the learner leaves; returns the exit status."""
    return learner.attempt("watch", _watch, arguments)


def _watch(course, arguments):
    if arguments.exercise:
        exercise = course.exercise(arguments.exercise)
    else:
        found = learner.next_open(course)
        exercise = found and found[0]
    with keys.keyboard(lines=arguments.manual) as keyboard:
        watch = Watch(course, exercise, keyboard, arguments.manual)
        if exercise is None or watch.run():
            watch.show(f"{watch.all_exercises()}\n\n{screens.finale(course, screens.ink())}")
        if keyboard.live:
            print()
    return 0


class Watch:
    """The loop of the command: what is looked at, what was found, what is on the screen.

    Args:
        course: the course.
        exercise: where to begin.
        keyboard: of :mod:`minigrad.course.keys`.
        manual: whether only keys lead to a check.
    """

    def __init__(self, course, exercise, keyboard, manual=False):
        self.course, self.exercise = course, exercise
        self.keyboard, self.manual = keyboard, manual
        self.judgement, self.news, self.listing = None, "", False
        self.seen, self.size = {}, None

    def run(self):
        """Check, show and wait; True when all is passed, False when the learner leaves."""
        going = self.check()
        while going:
            self.show(self.screen())
            key = self.wait()
            if key == keys.END:
                return False
            if key == REDRAW:
                continue
            self.news, self.listing = "", key == "l"
            if key == "h":
                self.read_hint()
            elif key == "n":
                going = self.move_on(f"{self.exercise.number} can wait.")
            elif key in ("r", "\n", "\r", SAVED):
                going = self.check()
        return True

    def check(self):
        """Check the exercise, and go to the next if it passes; False when all are passed."""
        self.seen = self.signatures()
        self.judgement = learner.check(self.course, self.exercise)
        if not self.judgement.passed:
            return True
        points = f"{self.judgement.score} of {self.judgement.total} points"
        return self.move_on(f"✓ {self.exercise.number} passed, {points}.")

    def move_on(self, news):
        """Go to the next exercise that is open; False if none is."""
        found = learner.next_open(self.course, after=self.exercise)
        if found is None:
            return False
        if found[0] == self.exercise:
            news = "No other exercise is open."
        self.exercise, self.judgement = found
        self.judgement = self.judgement or learner.check(self.course, self.exercise)
        self.news = news
        return True

    def read_hint(self):
        """Note the next hint as read, so that the screen shows it."""
        if self.judgement.fault or failures.concerns_the_file(self.judgement):
            self.news = "First mend the file; no hint is used up."
            return
        taken = hint.take(self.course, self.exercise, progress.load(self.course).of(self.exercise))
        if taken and taken.again:
            self.news = "That is the last hint there is."

    def wait(self):
        """The next key pressed, SAVED when a file has changed, REDRAW when the screen has."""
        while True:
            key = self.keyboard.wait(POLL)
            if key:
                return key
            if not self.manual and self.changed():
                return SAVED
            if self.keyboard.live and (self.keyboard.woken or self.size != self.room()[:2]):
                self.keyboard.woken = False
                return REDRAW

    def changed(self):
        """Whether a file was saved; its exercise is then the one to look at."""
        now = self.signatures()
        for _ in range(SETTLE_TRIES):
            saved = [e for e in self.course.exercises if now[e.name] != self.seen[e.name]]
            if not saved:
                return False
            # An editor may be in the middle of writing.
            time.sleep(SETTLE)
            before, now = now, self.signatures()
            if now == before and all(now[exercise.name] for exercise in saved):
                break
        self.seen = now
        others = [exercise for exercise in saved if now[exercise.name] and self.is_new(exercise)]
        if self.exercise not in saved and others:
            self.exercise = others[0]
        return self.exercise in saved

    def is_new(self, exercise):
        """Whether a file differs from the one that was checked last."""
        record = progress.load(self.course).of(exercise)
        return record.digest != progress.digest(self.course, exercise)

    def signatures(self):
        """{exercise: what changes when its file is saved}; None for a file that is not there."""
        found = {}
        for exercise in self.course.exercises:
            try:
                status = progress.answer_file(self.course, exercise).stat()
                found[exercise.name] = (status.st_mtime_ns, status.st_size, status.st_ino)
            except OSError:
                found[exercise.name] = None
        return found

    def screen(self):
        """The text to show now."""
        width, height, paint = self.room()
        state = progress.load(self.course)
        if self.listing:
            text = f"{self.all_exercises()}\n"
        else:
            text = view(self.course, state, self.judgement, width, height, paint, self.news)
        if self.keyboard.live:
            return f"{text}\n {paint('dim', HELP)}"
        return f"{text}\n{'─' * width}" if not self.manual else f"{text}\n {HELP}, then Enter"

    def all_exercises(self):
        """All exercises, as the last checks found them."""
        state = progress.load(self.course)
        records = [state.of(exercise) for exercise in self.course.exercises]
        width, here = screens.columns(), self.exercise if self.listing else None
        return screens.listing(self.course, records, width, screens.ink(), here)

    def room(self):
        """(columns, lines or None, Ink) of the screen."""
        height = shutil.get_terminal_size().lines if self.keyboard.live else None
        return screens.columns(), height, screens.ink()

    def show(self, text):
        """Put a text on the screen: alone on a terminal, below the last one elsewhere."""
        self.size = self.room()[:2]
        if self.keyboard.live:
            print(CLEAR + text, end="", flush=True)
        else:
            print(text, flush=True)


def view(course, state, judgement, width=80, height=None, paint=screens.PLAIN, news=""):
    """What ``minigrad watch`` shows of a judgement, without the line of keys.

    Args:
        course: the course.
        state: its :class:`minigrad.course.progress.State`.
        judgement: a Judgement that did not pass.
        width, height: columns and lines of the screen; None for any number of lines.
        paint: an :class:`minigrad.course.screens.Ink`.
        news: a line to begin with.
    """
    exercise = course.exercise(judgement.exercise)
    head = [f" {paint('good', news)}", ""] if news else []
    hints = seen_hint(exercise, state, judgement, width, paint)
    tail = [*hints, "", screens.course_line(course, state, paint)]
    room = height and height - len(head) - len(tail) - 1
    if not judgement.fault and all(r.kind == "unwritten" for r in judgement.results):
        body = screens.overview(course, exercise, state.of(exercise), width, paint)
        if room and body.count("\n") >= room:
            body = screens.overview(course, exercise, state.of(exercise), width, paint, brief=True)
    else:
        body = failures.failure(course, state, judgement, width, room, paint)
    return "\n".join([*head, body, *tail])


def seen_hint(exercise, state, judgement, width, paint):
    """The last hint read for the function that is not right yet, as lines."""
    if judgement.fault:
        return []
    function = exercise.function_of(judgement.failure.test)
    count = min(state.of(exercise).hints.get(function.name, 0), len(function.hints))
    if not count:
        return []
    return ["", *hint.lines(hint.Hint(function, count, False), width, paint)]
