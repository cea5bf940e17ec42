"""Chat templates: how the messages of a conversation become the one text a model was trained on."""

import functools

# What a rendering may take. A hundred characters and steps for each character of the messages is
# several times what the longest templates need.
BASE_UNITS = 5_000_000
UNITS_PER_CHARACTER = 100
SECONDS = 10
LARGEST_INPUT = 20_000_000
LONGEST_SOURCE = 200_000


class ChatTemplate:
    """A template in Jinja's language, as models from Hugging Face bring it.

    The template comes from a file, so it is rendered in a sandbox: it reaches nothing but its
    arguments, cannot change them, and is stopped when it takes too many steps, too much memory or
    too long.

    Args:
        source: the text of the template.
        names: further names that it may use: ``bos_token``, ``eos_token`` …, each a str.

    Raises TypeError for a source that is no str, ValueError for one over 200,000 characters.

    >>> template = ChatTemplate(
    ...     "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}{{ end }}{% endfor %}"
    ...     "{% if add_generation_prompt %}<|assistant|>{% endif %}",
    ...     end="</s>",
    ... )
    >>> template.render([{"role": "user", "content": "Who is there? "}])
    '<|user|>Who is there?</s><|assistant|>'
    """

    def __init__(self, source, **names):
        if not isinstance(source, str):
            raise TypeError(f"ChatTemplate: expected a str, got {type(source).__name__}")
        if len(source) > LONGEST_SOURCE:
            raise ValueError(f"ChatTemplate: {len(source)} characters, over {LONGEST_SOURCE}")
        self.source, self.names = source, names

    def render(self, messages, add_generation_prompt=True, **variables):
        """The text of a conversation.

        Special tokens appear in it by their text, and :meth:`BPE.encode` turns them into tokens;
        those that a message contains as well.

        Args:
            messages: list of dicts, each with a ``"role"`` (``"system"``, ``"user"``,
                ``"assistant"`` …) and what the template wants more, mostly ``"content"``.
            add_generation_prompt: whether the beginning of the model's answer follows, so that it
                continues with the answer.
            variables: more for the template, such as ``tools``; plain data: str, int, float, bool,
                None, lists and dicts.

        Raises ValueError for a template that is damaged, does not accept these messages or is
        stopped, with the line where; TypeError for messages or variables that are not plain;
        ImportError without the package ``jinja2``.
        """
        if not isinstance(messages, (list, tuple)):
            raise TypeError(f"ChatTemplate: messages must be a list, got {type(messages).__name__}")
        for position, message in enumerate(messages):
            if not isinstance(message, dict) or "role" not in message:
                raise TypeError(
                    f"ChatTemplate: message {position} must be a dict with a role, got {message!r}"
                )
        given = dict(
            self.names | {"tools": None, "documents": None} | variables,
            messages=messages,
            add_generation_prompt=add_generation_prompt,
        )
        units = BASE_UNITS + UNITS_PER_CHARACTER * _plain_size(given)
        template, budget = self._compiled, _sandbox().Budget(units, SECONDS)
        try:
            with budget:
                return template.render(given)
        except Exception as error:  # a template can raise whatever Python's operators raise
            raise ValueError(f"chat template{_place(error)}: {_words(error)}") from error

    @functools.cached_property
    def _compiled(self):
        environment = _environment()
        try:
            return environment.from_string(self.source)
        except Exception as error:
            raise ValueError(f"chat template{_place(error)}: {_words(error)}") from error

    def __repr__(self):
        return f"ChatTemplate({self.source!r:.80})"


def _plain_size(value):
    """How many characters and entries plain data has; TypeError for anything else."""
    total, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        if type(item) is dict:
            waiting += [*item.keys(), *item.values()]
        elif type(item) in (list, tuple):
            waiting += item
        elif item is not None and type(item) not in (str, int, float, bool):
            raise TypeError(f"ChatTemplate: expected plain data, got a {type(item).__name__}")
        total += 1 + (len(item) if hasattr(item, "__len__") else 0)
        if total > LARGEST_INPUT:
            raise ValueError(f"ChatTemplate: messages of more than {LARGEST_INPUT} characters")
    return total


def _sandbox():
    try:
        from minigrad.text import template_sandbox
    except ImportError as error:
        raise ImportError("chat templates need the package jinja2: pip install jinja2") from error
    return template_sandbox


@functools.cache
def _environment():
    return _sandbox().Environment()


def _place(error):
    """The line of the template where an error was raised, if it is known."""
    line, frame = getattr(error, "lineno", None), error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == "<template>":
            line = frame.tb_lineno
        frame = frame.tb_next
    return "" if line is None else f", line {line}"


def _words(error):
    from jinja2 import TemplateError

    return str(error) if isinstance(error, TemplateError) else f"{type(error).__name__}: {error}"
