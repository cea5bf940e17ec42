"""Chat templates: what they write, and what a template from a stranger's file cannot do."""

import datetime
import json
import sys

import pytest

from minigrad.text import ChatTemplate, chat

# SmolLM2-135M-Instruct's own, from its file (Apache-2.0).
SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
TALK = [
    {"role": "system", "content": " Be brief. "},
    {"role": "user", "content": "Hi <b>&amp;</b> 🙂\n"},
    {"role": "assistant", "content": "<think>hm</think>Hello!", "tool_calls": []},
    {"role": "user", "content": "2 + 2?\n\n  "},
]
TOOLS = [{"name": "add", "parameters": {"type": "object", "b": [1, 2.5, None, True], "a": "é"}}]
# What templates for other models do, in small pieces.
TEMPLATES = {
    "smollm2": SMOLLM2,
    "blocks and blanks": """
        {%- for message in messages %}
            {% if message.role == 'system' -%}
        <<{{ message.content | trim }}>>
            {%- else %}
        [{{ message['role'] | upper }}] {{ message.content }}
            {% endif %}
        {%- endfor %}
        {%- if not add_generation_prompt is defined or add_generation_prompt %}GO{% endif %}
    """,
    "names and alternation": "{{ bos_token }}{% for m in messages[1:] %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns') }}{% endif %}"
    "{{ loop.index }}/{{ loop.length }}{{ loop.last }} {{ m.content }}{{ eos_token }}{% endfor %}",
    "namespaces": "{% set ns = namespace(system='', n=0, seen=[]) %}{% for m in messages %}"
    "{% if m.role == 'system' %}{% set ns.system = m.content %}{% continue %}{% endif %}"
    "{% set ns.n = ns.n + m.content | length %}{% set ns.seen = ns.seen + [m.role] %}{% endfor %}"
    "{{ ns.system ~ ns.n * 2 ~ ns.seen }}{{ ns.seen | unique | join('-') }}{{ '=' * 5 }}",
    "methods": "{% set m = messages[2].content %}{{ m.split('</think>')[-1].lstrip('H') }}"
    "{{ m.replace('<', '[').replace('>', ']').strip() }}{{ m.startswith('<') }}"
    "{{ m | replace('h', 'HH') | title }}{{ ', '.join(['a', 'b']) }}{{ m.find('hm') }}",
    "tools": "{% if tools %}{{ tools | tojson(indent=4) }}{% for t in tools %}{{ t | tojson }}"
    "{% for key, value in t.parameters.items() %}{{ key }}: {{ value }},{% endfor %}"
    "{% for key, value in t.parameters | dictsort %}{{ key }}{% endfor %}{% endfor %}{% endif %}",
    "macros": "{% macro show(m, mark='#') -%}{{ mark }}{{ m.content | trim }}{%- endmacro %}"
    "{% for m in messages %}{{ show(m) }}{{ show(m, mark=loop.index) }}{% endfor %}"
    "{% macro tree(x) %}{% if x is mapping %}{% for k in x %}{{ k }}({{ tree(x[k]) }}){% endfor %}"
    "{% elif x is string %}'{{ x }}'{% else %}{{ x }}{% endif %}{% endmacro %}{{ tree(tools[0]) }}",
    "filters": "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') "
    "| list | tojson }}{{ messages | map(attribute='role') | join(',') }}{{ '3' | int + 4 }}"
    "{{ messages[-1].content | indent(2) }}{{ (messages | last).role }}{{ nobody | default('d') }}",
    "sets": "{% set text %}{% for m in messages %}{{ m.role[0] }}{% endfor %}{% endset %}{{ text }}"
    "{{ text | length }}{{ messages[0]['none'] is none }}{{ messages[0].get('x', 'no') }}"
    "{{ 'user' in messages[1].values() }}{{ {'a': (1, 2)}['a'][1] }}{{ dict(a=1) | tojson }}",
    "generation": "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}"
    "{{ m.content }}!{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}",
    "recursion": "{% for x in [[1, [2]], [3]] recursive %}({% if x is iterable %}{{ loop(x) }}"
    "{% else %}{{ x }}{% endif %}){% endfor %}",
}


def test_smollm2_reads_what_it_was_trained_on():
    template = ChatTemplate(SMOLLM2)
    system = (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    )
    question = "<|im_end|>\n<|im_start|>user\nWhat is the capital of France?<|im_end|>\n"
    assert template.render(QUESTION) == system + question + "<|im_start|>assistant\n"
    assert template.render(QUESTION, add_generation_prompt=False) == system + question
    own = [{"role": "system", "content": "Be brief."}, *QUESTION]
    assert template.render(own).startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>u")


@pytest.mark.reference
@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_are_rendered_as_transformers_does(name):
    transformers = pytest.importorskip("transformers.utils.chat_template_utils")
    names = dict(bos_token="<s>", eos_token="</s>")
    for tools in (None, TOOLS):
        if name == "macros" and tools is None:
            continue
        for prompt in (True, False):
            theirs, _ = transformers.render_jinja_template(
                [TALK],
                tools=tools,
                chat_template=TEMPLATES[name],
                add_generation_prompt=prompt,
                **names,
            )
            ours = ChatTemplate(TEMPLATES[name], **names)
            assert ours.render(TALK, add_generation_prompt=prompt, tools=tools) == theirs[0]


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_kind_of_template_is_rendered_whole(name):
    text = ChatTemplate(TEMPLATES[name], bos_token="<s>").render(TALK, tools=TOOLS)
    assert "{" not in text or name in ("tools", "sets")
    assert len(text) > 5


def test_json_is_not_escaped_and_keeps_its_order():
    text = ChatTemplate("{{ tools | tojson }}{{ messages[1].content | tojson }}").render(
        TALK, tools=TOOLS
    )
    assert text == json.dumps(TOOLS, ensure_ascii=False) + '"Hi <b>&amp;</b> 🙂\\n"'


def test_a_template_may_ask_for_the_date():
    before = datetime.date.today()
    text = ChatTemplate("{{ strftime_now('%Y-%m-%d') }}").render(QUESTION)
    assert before.isoformat() <= text <= datetime.date.today().isoformat()


def test_a_template_refuses_messages_in_its_own_words():
    template = ChatTemplate(
        "{% for m in messages %}\n{% if m.role == 'system' %}\n"
        "{{ raise_exception('No system role here.') }}{% endif %}{% endfor %}"
    )
    assert template.render(QUESTION).strip() == ""
    with pytest.raises(ValueError, match=r"^chat template, line 3: No system role here\.$"):
        template.render(TALK)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("\n{% for m in %}{% endfor %}", "line 2: Expected an expression"),
        ("{% if true %}", "line 1: Unexpected end of template"),
        ("{{ messages | nothing }}", "line 1: No filter named 'nothing'"),
        ("{{ messages is nothing }}", "line 1: No test named 'nothing'"),
        ("\n\n{{ messages[0].content + 1 }}", "line 3: TypeError: can only concatenate str"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ nobody.name }}", "'nobody' is undefined"),
        ("{% include 'other' %}", "no loader"),
        ("{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}", "RecursionError"),
        ("{% for x in y %}" * 30 + "{% endfor %}" * 30, "nested blocks"),
    ],
)
def test_a_damaged_template_is_an_error_with_its_line(source, message):
    with pytest.raises(ValueError, match=f"^chat template.*{message}"):
        ChatTemplate(source).render(QUESTION)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.__class__.__subclasses__() }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ self.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ lipsum.__globals__['os'].system('id') }}",
        "{{ joiner('a').__init__ }}",
        "{{ messages | attr('__class__') }}",
        "{{ '{0.__class__.__mro__}'.format(1) }}",
        "{{ '%s' | format(1) }}",
        "{{ messages | map(attribute='__class__.__mro__') | map('first') | list | first }}",
        "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
        "{{ namespace(__call__=1) }}",
        "{{ dict.mro() }}",
        "{{ loop.__class__ }}{{ (1).real.__class__.__base__ }}",
        "{% import 'os' as os %}",
        "{% for m in messages %}{{ loop.__init__.__globals__ }}{% endfor %}",
        "{% macro f() %}{% endmacro %}{{ f._func.__globals__ }}",
        "{{ ().__class__.__base__.__subclasses__() }}",
    ],
)
def test_a_template_reaches_nothing_of_python(source):
    with pytest.raises(ValueError, match=r"^chat template"):
        ChatTemplate(source).render(QUESTION)


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'x'}) }}",
        "{{ messages[0].pop('role') }}",
        "{{ messages.clear() }}",
        "{% set messages[0]['role'] = 'x' %}",
    ],
)
def test_a_template_cannot_change_its_messages(source):
    messages = [dict(message) for message in TALK]
    with pytest.raises(ValueError, match=r"^chat template"):
        ChatTemplate(source).render(messages)
    assert messages == TALK


GROW = (
    "{%% set ns = namespace(x=%s) %%}{%% for i in range(60) %%}{%% set ns.x = %s %%}{%% endfor %%}"
)
LONG = "{% set s = 'a' * 100000 %}"
TWO_LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    "source",
    [
        TWO_LOOPS,
        "{% for x in range(10000000000) %}{% endfor %}",
        "{% filter upper %}" + TWO_LOOPS + "{% endfilter %}",
        "{% set s %}{% for i in range(99999) %}" + 1000 * "x" + "{% endfor %}{% endset %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) + f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for x in [[1]] recursive %}{{ loop([x, x]) }}{% endfor %}",
        "{{ 'a' * 10000000000 }}",
        "{{ 10000000000 * [1] }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ '%9999999999d' % 1 }}",
        "{{ '{:9999999999}'.format(1) }}",
        "{{ 'a'.center(9999999999) }}",
        "{{ 'a'.zfill(9999999999) }}",
        "{{ 'a' | indent(9999999999) }}",
        "{{ 'a' | center(9999999999) }}",
        "{{ [1] | batch(9999999999, 0) | list }}",
        "{{ [1] | tojson(indent=9999999999) }}",
        "{{ (1).to_bytes(9999999999) }}",
        GROW % ("'aa'", "ns.x + ns.x"),
        GROW % ("'aa'", "ns.x ~ ns.x"),
        GROW % ("99", "ns.x * ns.x"),
        GROW % ("[1]", "[ns.x, ns.x]"),
        GROW % ("[1]", "(ns.x, ns.x)"),
        GROW % ("[1]", "{'a': ns.x, 'b': ns.x}"),
        GROW % ("[1]", "dict(a=ns.x, b=ns.x)"),
        LONG + "{{ s.replace('a', s) }}",
        LONG + "{{ s | replace('a', s) }}",
        LONG + "{{ s.join(s) }}",
        LONG + "{{ s | join(s) }}",
        LONG + "{{ range(99999) | map(attribute='x', default=s) | join }}",
        "{{ [-10000000] | map('spend') | list }}" + TWO_LOOPS,
    ],
)
def test_a_template_that_would_not_end_or_fill_the_memory_is_stopped(source, monkeypatch):
    monkeypatch.setattr(chat, "BASE_UNITS", 200_000)
    with pytest.raises(ValueError, match=r"^chat template"):
        ChatTemplate(source).render(QUESTION)


def test_a_template_that_takes_too_long_is_stopped(monkeypatch):
    monkeypatch.setattr(chat, "SECONDS", 0)
    with pytest.raises(ValueError, match="it takes more than 0 seconds"):
        ChatTemplate(TWO_LOOPS).render(QUESTION)


def test_a_long_conversation_is_within_the_budget():
    turns = [{"role": role, "content": "words " * 100} for role in ("user", "assistant")]
    text = ChatTemplate(SMOLLM2).render(1_000 * turns)
    assert text.count("<|im_end|>") == 2_001
    assert len(ChatTemplate(SMOLLM2).render([{"role": "user", "content": "a" * 3_000_000}])) > 3e6


@pytest.mark.parametrize(
    ("messages", "error", "message"),
    [
        ("hello", TypeError, "messages must be a list, got str"),
        (["hello"], TypeError, "message 0 must be a dict with a role, got 'hello'"),
        ([*QUESTION, {"content": "x"}], TypeError, "message 1 must be a dict with a role"),
        ([{"role": "user", "content": object()}], TypeError, "expected plain data, got a object"),
        ([{"role": "user", "content": {1, 2}}], TypeError, "expected plain data, got a set"),
    ],
)
def test_messages_of_another_kind_are_refused(messages, error, message):
    with pytest.raises(error, match=f"^ChatTemplate: {message}"):
        ChatTemplate(SMOLLM2).render(messages)


def test_messages_that_hold_themselves_are_refused(monkeypatch):
    monkeypatch.setattr(chat, "LARGEST_INPUT", 10_000)
    endless = [{"role": "user", "content": []}]
    endless[0]["content"].append(endless)
    with pytest.raises(ValueError, match="messages of more than"):
        ChatTemplate(SMOLLM2).render(endless)


def test_a_source_that_is_no_text_is_refused():
    with pytest.raises(TypeError, match="expected a str, got NoneType"):
        ChatTemplate(None)
    with pytest.raises(ValueError, match="200001 characters, over 200000"):
        ChatTemplate(200_001 * "a")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "minigrad.text.template_sandbox", None)
    monkeypatch.delattr("minigrad.text.template_sandbox", raising=False)
    with pytest.raises(ImportError, match="need the package jinja2: pip install jinja2"):
        ChatTemplate(SMOLLM2).render(QUESTION)
