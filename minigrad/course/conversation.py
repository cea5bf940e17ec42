"""Questions and answers with a model, whose cache keeps what has been read from turn to turn."""

import time

import numpy as np

from minigrad import inference
from minigrad.course.speech import spoken
from minigrad.inference import metrics

PROBE = "an answer that no model gives"


class Conversation:
    """A conversation through the model's chat template.

    Before each question the whole conversation is rendered and encoded, and compared with the
    tokens that the cache holds: the common beginning stays, and only the rest is read.

    Arguments: model, with a tokenizer that has a chat template; system, what to tell the model
    before all else, or None for what the template has; context, the most tokens to hold, the
    model's unless given; peak, a bandwidth for timings; clock, for timings. Raises ValueError
    without a template, and for a context that the model does not have.
    """

    def __init__(self, model, system=None, context=None, peak=None, clock=time.perf_counter):
        self.model, self.tokenizer = model, model.tokenizer
        if self.tokenizer.chat_template is None:
            raise ValueError(
                "the model has no chat template: it continues texts, and was not taught to answer; "
                "use `minigrad generate`"
            )
        longest = model.config.context_length
        self.context = longest if context is None else context
        if not 1 <= self.context <= longest:
            raise ValueError(f"the context is {context} tokens; expected 1 to {longest}")
        self.peak, self.clock, self.system = peak, clock, system
        self.cache = inference.cache_for(model, 1, self.context)
        self.held = []  # the tokens in the cache
        self.stop = self._stop_tokens()
        self.reset()

    def reset(self):
        """Begin anew. The cache stays: what the next conversation shares with it is not reread."""
        self.messages = [] if self.system is None else [_message("system", self.system)]
        self.timing, self.kept, self.forgotten, self.cut = None, 0, 0, False

    def ask(self, question, max_new_tokens, decoding=None):
        """Yield the answer piece by piece; then, or when closed before, it is part of the
        conversation, and these tell about it: ``timing``; ``kept``, how many tokens were in the
        cache; ``forgotten``, how many turns were dropped for want of room; ``cut``, whether it
        ended for want of room or of max_new_tokens.

        When the context is full, the oldest turns are dropped until half of it is free. Raises
        ValueError for a question that does not fit at all.
        """
        messages, ids = self._fitting([*self.messages, _message("user", question)])
        room = self.context - len(ids) + 1  # the last token is not read
        most = min(max_new_tokens, room)
        self.kept = self._truncate(ids)
        new = np.array(ids[self.kept :])
        tokens = inference.stream(self.model, new, most, decoding, self.cache, self.stop)
        run = metrics.timed(tokens, self.model, self.cache, len(new), self.peak, self.clock)
        answer, text = [], ""
        try:
            for piece in spoken(self._noting(run, answer), self.tokenizer):
                text += piece
                yield piece
        finally:
            self.held = (ids + answer)[: self.cache.length]
            if answer:
                self.messages = [*messages, _message("assistant", text)]
                self.timing = run.timing
                self.cut = len(answer) == most and answer[-1] not in self.stop

    def _noting(self, tokens, answer):
        for token in tokens:
            answer.append(token)
            yield token

    def _truncate(self, ids):
        """Let the cache keep what it shares with ids, but for one token at least; how much."""
        shared = 0
        for mine, token in zip(self.held, ids[:-1]):
            if mine != token:
                break
            shared += 1
        self.cache.truncate(shared)
        return shared

    def _fitting(self, messages):
        """(messages, their ids), the oldest turns dropped if need be."""
        start = len(messages) % 2 == 0  # a system prompt stands before the turns
        self.forgotten = 0
        ids = self.encoded(messages)
        if len(ids) > self.context - self.context // 8:  # too little room for an answer
            while len(ids) > self.context // 2 and len(messages) > start + 2:
                del messages[start : start + 2]
                self.forgotten += 1
                ids = self.encoded(messages)
        if len(ids) > self.context:
            raise ValueError(
                f"that makes {len(ids):,} tokens with the chat template; the context holds "
                f"{self.context:,}"
            )
        return messages, ids

    def encoded(self, messages):
        """The token ids of a conversation, up to where the model's answer begins: a list."""
        text = self.tokenizer.chat_template.render(messages)
        return self.tokenizer.encode(text).tolist()

    def _stop_tokens(self):
        """The end of text, and the special token that the template puts behind answers."""
        stop = set() if self.tokenizer.eos is None else {self.tokenizer.eos}
        turns = [_message("user", "?"), _message("assistant", PROBE)]
        try:
            text = self.tokenizer.chat_template.render(turns, add_generation_prompt=False)
        except ValueError:
            return stop
        behind = text.rpartition(PROBE)[2]
        return stop | {id for name, id in self.tokenizer.special.items() if behind.startswith(name)}

    def warm_up(self):
        """Make two tokens that do not count, so that what comes first is not slower than the rest;
        the cache then holds the beginning that all conversations share."""
        for _ in self.ask("?", 2):
            pass
        self.reset()


def _message(role, content):
    return {"role": role, "content": content}
