"""The language model of the notebooks: SmolLM2, or where it is out of reach a small one."""

import contextlib

from minigrad.models import store

NAME = "smollm2-135m-instruct"
SMALL = "small_gpt.safetensors"  # in the cache folder: what the tour trained, or less
STEPS = 1000  # of training, a quarter of the tour's: good enough for English words


def language_model():
    """A model that writes, in evaluation mode, with its ``tokenizer``.

    It is SmolLM2, fetched on first use as ``minigrad download smollm2-135m-instruct`` does. Where
    that fails, for want of a network or because MINIGRAD_OFFLINE is set, it says so and gives
    ``small_model()``. The small one knows 65 characters, sees 64 of them at once, and its tokenizer
    has neither ``eos`` nor ``chat_template`` (both are None).
    """
    from minigrad import models

    if store.cached(NAME) is None:
        try:
            with _in_turn():
                store.fetch(NAME)
        except OSError as error:
            print(
                f"SmolLM2 is not on this machine and cannot be fetched{_why(error)}. A small model "
                "that writes in the manner of Shakespeare, character by character, takes its "
                f"place.\nWhen there is a network, `minigrad download {NAME}` fetches SmolLM2 "
                f"({store.MODELS[NAME].size / 1e6:.0f} MB, once); then run this again.",
                flush=True,
            )
            return small_model()
    return models.load(NAME)


def _why(error):
    if isinstance(error, store.Offline):
        return ", since MINIGRAD_OFFLINE is set"
    if isinstance(error, store.DownloadError):
        return ", with no network as it seems"
    return f": {error}"


def small_model():
    """The GPT that ``minigrad tour`` trained and kept; without one, trained now, in half a minute.

    It writes as Shakespeare does, a character at a time; its tokenizer, a CharTokenizer, reads
    characters that Shakespeare does not use as spaces.
    """
    from minigrad import text, training

    with _in_turn():
        try:
            model, notes = training.load_model(store.cache_folder() / SMALL)
        except (OSError, ValueError):  # not there, or of no use
            model, notes = _trained()
    model.tokenizer = text.CharTokenizer(notes["characters"], unknown=" ")
    return model


def _trained():
    from minigrad import data, models, text
    from minigrad.course import tour

    print("Training it takes about half a minute, once …", flush=True)
    works = data.shakespeare()
    tokenizer = text.CharTokenizer.from_text(works)
    model = models.GPT(models.GPTConfig(tokenizer.vocab_size, **tour.SIZE), seed=0)
    ids = tokenizer.encode(works)
    trainer = tour.new_trainer(model, tokenizer, ids, STEPS, tour.BATCH, seed=0)
    keep(trainer.run(STEPS))
    return model.eval(), trainer.notes


def keep(trainer):
    """Save a trainer's model where ``small_model`` looks for it, if that can be written to."""
    with contextlib.suppress(OSError):
        store.cache_folder().mkdir(parents=True, exist_ok=True)
        trainer.save(store.cache_folder() / SMALL)


@contextlib.contextmanager
def _in_turn():
    """Let other processes wait meanwhile, which would do the same work (where the system can)."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            store.cache_folder().mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(store.cache_folder() / ".turn", "w"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
