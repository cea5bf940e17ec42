"""The bundled data sets, and batches drawn from arrays with a seed."""

import json
import string

import numpy as np
import pytest

from minigrad import data
from minigrad.data import make_shakespeare
from minigrad.files import replacing


def test_shakespeare_is_all_there_in_a_small_alphabet():
    text = data.shakespeare()
    assert len(text) == 5_035_157
    assert set(text) == set("\n !&',-.:;?[]" + string.ascii_letters)
    for line in (
        "To be, or not to be,--that is the question:--",
        "[Enter Romeo.]",
        "THE TEMPEST\n",
    ):
        assert line in text
    assert "\n\n\n\n" not in text
    assert not any(line != line.strip() for line in text[:500_000].split("\n"))
    assert data.shakespeare() is text


def test_shakespeare_ends_with_plays_that_can_be_held_out():
    text = data.shakespeare()
    start = text.index("THE HISTORY OF TROILUS AND CRESSIDA\n")
    assert 0.89 < start / len(text) < 0.9
    assert text.endswith("hastily lead away!\n\n[Exeunt.]\n")


def test_cleaning_a_text_does_what_the_note_says():
    raw = '1. KEEPER. \nHe  said "no" (twice);\n\n\n\n  {Exit 2 Lords.]\nSCENE 4.\n\n'
    cleaned = "FIRST KEEPER.\nHe said 'no'--twice--;\n\n[Exit II Lords.]\nSCENE IV.\n"
    assert make_shakespeare.clean("a_play", raw) == cleaned


def test_cleaning_refuses_a_source_in_which_a_repair_finds_nothing():
    with pytest.raises(ValueError, match="twelfth_night: nothing to repair at 'mad/'"):
        make_shakespeare.clean("twelfth_night", "Or I am mad, or else this is a dream:--")


def test_digits_are_what_their_labels_say():
    images, labels = data.digits()
    assert (images.shape, images.dtype) == ((1797, 8, 8), np.float32)
    assert (labels.shape, labels.dtype) == ((1797,), np.int64)
    assert images.min() == 0 and images.max() == 1
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    # The first image is a 0: ink round an empty middle.
    assert labels[0] == 0 and images[0, 3:5, 3:5].sum() == 0
    # Images of one digit resemble each other: most have their nearest neighbour among their own.
    seen, seen_labels, rows = images[:1500].reshape(1500, 64), labels[:1500], images[1500:]
    distances = ((rows.reshape(-1, 1, 64) - seen) ** 2).sum(axis=-1)
    assert (seen_labels[distances.argmin(axis=1)] == labels[1500:]).mean() > 0.9


def test_windows_are_cut_from_the_text_with_targets_one_ahead():
    ids = np.random.default_rng(1).permutation(1000).astype(np.uint16)
    place = {token: index for index, token in enumerate(ids.tolist())}
    x, y = next(data.token_batches(ids, batch_size=5, context_length=7, seed=3))
    assert x.shape == y.shape == (5, 7)
    assert x.dtype == y.dtype == np.int64
    for row, targets in zip(x.tolist(), y.tolist()):
        start = place[row[0]]
        assert row == ids[start : start + 7].tolist()
        assert targets == ids[start + 1 : start + 8].tolist()


def test_every_window_can_be_drawn_the_last_one_included():
    batches = data.token_batches(np.arange(6), batch_size=200, context_length=3, seed=0)
    x, y = next(batches)
    assert sorted(set(x[:, 0].tolist())) == [0, 1, 2]
    assert y.max() == 5


def test_the_same_seed_gives_the_same_windows_and_another_does_not():
    def first(seed):
        return next(data.token_batches(np.arange(10_000), 4, 8, seed))[0]

    np.testing.assert_array_equal(first(5), first(5))
    assert (first(5) != first(6)).any()


def test_saved_batches_go_on_exactly_through_json():
    ids = np.random.default_rng(0).integers(65, size=5000)
    batches = data.token_batches(ids, 3, 11, seed=9)
    for _ in range(4):
        next(batches)
    state = json.loads(json.dumps(batches.state_dict()))
    expected = [next(batches) for _ in range(3)]
    resumed = data.token_batches(ids, 3, 11, seed=1234)
    resumed.load_state_dict(state)
    for (x, y), (x_again, y_again) in zip(expected, [next(resumed) for _ in range(3)]):
        np.testing.assert_array_equal(x, x_again)
        np.testing.assert_array_equal(y, y_again)


def test_a_saved_state_is_not_changed_by_going_on():
    batches = data.token_batches(np.arange(100), 2, 4, seed=0)
    state = batches.state_dict()
    before = json.dumps(state)
    next(batches)
    assert json.dumps(state) == before


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.arange(5), 2, 5, 0), ValueError, r"5 token ids are too few .* at least 6"),
        ((np.arange(6.0), 2, 3, 0), TypeError, "must be integers, got dtype float64"),
        ((np.ones((4, 3), int), 2, 3, 0), ValueError, r"shape \(N,\), got \(4, 3\)"),
        ((np.arange(9), 0, 3, 0), ValueError, "batch_size must be at least 1, got 0"),
        ((np.arange(9), 2, 2.5, 0), TypeError, "context_length must be an integer, got 2.5"),
        (("to be or not", 2, 3, 0), TypeError, "must be integers"),
    ],
)
def test_bad_arguments_of_token_batches_are_named(arguments, error, message):
    with pytest.raises(error, match=f"token_batches: .*{message}"):
        data.token_batches(*arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": 99}, "taken with tokens 99, this iterator has 100"),
        ({"batch_size": 3}, "taken with batch_size 3, this iterator has 2"),
        ({"context_length": 8}, "taken with context_length 8, this iterator has 4"),
        ({"generator": {"bit_generator": "MT19937"}}, "generator is damaged"),
        ({"generator": None}, "generator is damaged"),
    ],
)
def test_a_state_of_other_batches_is_refused(change, message):
    batches = data.token_batches(np.arange(100), 2, 4, seed=0)
    with pytest.raises(ValueError, match=message):
        batches.load_state_dict(batches.state_dict() | change)


def test_a_state_that_is_none_is_refused():
    batches = data.token_batches(np.arange(100), 2, 4, seed=0)
    with pytest.raises(ValueError, match=r"it lacks \['tokens', 'batch_size'"):
        batches.load_state_dict({"epoch": 3})


def test_an_epoch_holds_every_item_once_and_keeps_items_together():
    x = np.arange(23, dtype=np.float32).reshape(23, 1) * [1.0, 10.0]
    y = np.arange(23)
    epoch = data.batches(x, y, batch_size=5, seed=2)
    seen = list(epoch)
    assert [len(labels) for _, labels in seen] == [5, 5, 5, 5, 3]
    assert len(epoch) == 5
    for rows, labels in seen:
        np.testing.assert_array_equal(rows[:, 1], labels * 10.0)
    together = np.concatenate([labels for _, labels in seen])
    assert sorted(together.tolist()) == y.tolist()
    assert together.tolist() != y.tolist()


def test_epochs_differ_but_their_sequence_repeats_with_the_seed():
    def two_epochs(seed):
        epochs = data.batches(np.arange(40), batch_size=40, seed=seed)
        return [next(iter(epochs)).tolist() for _ in range(2)]

    first, second = two_epochs(7)
    assert first != second
    assert two_epochs(7) == [first, second]
    assert two_epochs(8)[0] != first


def test_drop_last_leaves_out_the_short_batch():
    epoch = data.batches(np.arange(23), batch_size=5, drop_last=True)
    assert [len(batch) for batch in epoch] == [5, 5, 5, 5]
    assert len(epoch) == 4


def test_without_shuffle_items_come_in_order():
    assert [b.tolist() for b in data.batches([3, 1, 2], batch_size=2, shuffle=False)] == [
        [3, 1],
        [2],
    ]


@pytest.mark.parametrize(
    ("arrays", "options", "error", "message"),
    [
        ((), {}, ValueError, "one axis or more, got shapes"),
        ((np.float32(3),), {}, ValueError, r"one axis or more, got shapes \[\(\)\]"),
        ((np.ones((4, 2)), np.ones(5)), {}, ValueError, r"differ .* \[\(4, 2\), \(5,\)\]"),
        ((np.ones(4),), {"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ((np.ones(4),), {"batch_size": "2"}, TypeError, "batch_size must be an integer, got '2'"),
        (
            (np.ones(4),),
            {"batch_size": 5, "drop_last": True},
            ValueError,
            "larger than the 4 items",
        ),
    ],
)
def test_bad_arguments_of_batches_are_named(arrays, options, error, message):
    with pytest.raises(error, match=f"batches: .*{message}"):
        data.batches(*arrays, **{"batch_size": 2, **options})


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "notes.txt"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(target, "w", encoding="utf-8") as file:
        file.write("half of the ne")
        file.flush()
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
    with replacing(target, "w", encoding="utf-8") as file:
        file.write("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_the_compressed_text_carries_no_time_or_name():
    header = (data.sets.FOLDER / "shakespeare.txt.gz").read_bytes()[:10]
    assert header[3:8] == bytes(5), "made at another time, it would not be the same file"
