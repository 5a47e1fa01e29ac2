import math
import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch

from credence.core.errors import BackendError, ConfigError, ContractError
from credence.core.keys import Key
from credence.core.types import Completions, Prompts
from credence.evidence.constraint import Constraint, between, contains, matches
from credence.evidence.ended import Ended
from credence.evidence.reward import Reward
from tests.toys import toy_prior, toy_prompts


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    return toy_prior().codec.prompts([(0,), (1,)], {"label": ["x", "y"], "weight": [2.0, 3.0]})


@pytest.fixture(scope="module")
def completions(prompts: Prompts) -> Completions:
    return toy_prior().sample(Key(1), prompts, 3)[0]


def length(prompts: list, completions: list) -> list[float]:
    return [float(len(c)) for c in completions]


def test_reward_over_beta_is_nats(prompts: Prompts, completions: Completions) -> None:
    found = Reward(length, 0.5).log_lik(prompts, completions)
    assert found.dtype == torch.float64
    assert torch.equal(found, completions.lengths.double() / 0.5)
    readings = Reward(length, 0.5).readings(prompts, completions)
    assert torch.equal(readings["length"], completions.lengths.double())


def test_prompts_arrive_as_given_and_columns_by_name(prompts: Prompts, completions: Completions) -> None:
    seen: dict[str, list] = {}

    def one(prompts: list, completions: list, label: list) -> list[float]:
        seen.update(prompts=prompts, label=label)
        return [0.0] * len(completions)

    def every(prompts: list, completions: list, **columns: list) -> list[float]:
        seen.update(columns)
        return columns["weight"]

    def none(prompts: list, completions: list) -> list[float]:
        return [1.0] * len(completions)

    Reward(one, 1.0).log_lik(prompts, completions)
    assert seen["prompts"] == [(0,)] * 3 + [(1,)] * 3
    assert seen["label"] == ["x"] * 3 + ["y"] * 3
    assert Reward(every, 1.0).log_lik(prompts, completions).tolist() == [2.0] * 3 + [3.0] * 3
    assert set(seen) == {"prompts", "label", "weight"}
    assert Reward(none, 1.0).log_lik(prompts, completions).tolist() == [1.0] * 6


def test_numbers_of_every_kind_are_taken(prompts: Prompts, completions: Completions) -> None:
    for values in (np.arange(6), torch.arange(6), tuple(range(6)), [np.float32(i) for i in range(6)]):
        found = Reward(lambda p, c, values=values: values, 1.0).log_lik(prompts, completions)
        assert found.tolist() == [0, 1, 2, 3, 4, 5]


def test_minus_infinity_is_legal(prompts: Prompts, completions: Completions) -> None:
    assert torch.isneginf(Reward(lambda p, c: [-math.inf] * len(c), 0.1).log_lik(prompts, completions)).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, None, "good", [1.0], np.float64("nan")])
def test_a_value_that_is_no_number_names_function_prompt_completion(
    prompts: Prompts, completions: Completions, bad: object
) -> None:
    def quality(prompts: list, completions: list) -> list:
        return [0.5, 0.5, 0.5, 0.5, bad, 0.5]

    with pytest.raises(ContractError) as caught:
        Reward(quality, 1.0).log_lik(prompts, completions)
    text = repr(completions.texts(prompts.codec)[4])
    for part in ("'quality'", "(1,)", text, repr(bad)):
        assert part in str(caught.value)


@pytest.mark.parametrize("raw", [None, 3.0, [1.0] * 5, [1.0] * 7, []])
def test_the_wrong_number_of_values(prompts: Prompts, completions: Completions, raw: object) -> None:
    def quality(prompts: list, completions: list) -> object:
        return raw

    with pytest.raises(ContractError, match=r"'quality' returned .*6 (floats|completions)"):
        Reward(quality, 1.0).log_lik(prompts, completions)


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(3), KeyError("x")])
def test_a_reward_that_raises_is_named_with_its_culprit(
    prompts: Prompts, completions: Completions, error: BaseException
) -> None:
    texts = completions.texts(prompts.codec)
    culprit = texts[3]

    def quality(prompts: list, completions: list) -> list[float]:
        if culprit in completions:
            raise error
        return [0.0] * len(completions)

    with pytest.raises(ContractError) as caught:
        Reward(quality, 1.0).log_lik(prompts, completions)
    at = texts.index(culprit)
    for part in ("'quality'", type(error).__name__, repr(culprit), repr(prompts.given[at // 3])):
        assert part in str(caught.value)


def test_a_reward_that_hangs_is_given_up(prompts: Prompts, completions: Completions) -> None:
    release = threading.Event()

    def slow(prompts: list, completions: list) -> list[float]:
        release.wait(20)
        return [0.0] * len(completions)

    with pytest.raises(BackendError, match=r"'slow' did not return within 0\.2 s for 6 completions .*prompt \(0,\)"):
        Reward(slow, 1.0, timeout=0.2).log_lik(prompts, completions)
    release.set()


def by_position(p: list, c: list) -> list[float]:
    return [10 * len(x) + len(y) for x, y in zip(p, c, strict=True)]


def both(prompts: list, completions: list) -> list[float]:
    return by_position(prompts, completions)


def trl(completions: list, **kwargs: list) -> list[float]:
    return by_position(kwargs["prompts"], completions)


def swapped(completions: list, prompts: list, **kwargs: list) -> list[float]:
    return by_position(prompts, completions)


def by_name(*, completions: list, prompts: list) -> list[float]:
    return by_position(prompts, completions)


def anything(**kwargs: list) -> list[float]:
    return by_position(kwargs["prompts"], kwargs["completions"])


def wrapped(*args: list, **kwargs: list) -> list[float]:
    return both(*args, prompts=kwargs["prompts"], completions=kwargs["completions"])


def other_names(prompts: list, replies: list, **columns: list) -> list[float]:
    assert set(columns) == {"label", "weight"}
    return by_position(prompts, replies)


def only_positional(prompts: list, completions: list, /) -> list[float]:
    return by_position(prompts, completions)


FORMS = [by_position, both, trl, swapped, by_name, anything, wrapped, other_names, only_positional]


@pytest.mark.parametrize("fn", [*FORMS, lambda prompts, completions: both(prompts, completions)])
def test_every_form_of_a_reward_gets_prompts_and_completions(
    prompts: Prompts, completions: Completions, fn: Callable[..., list[float]]
) -> None:
    """Rejects the call by position of all: (completions, prompts) would be swapped in silence."""
    given = toy_prior().codec.prompts([(0, 1), (1, 0)], prompts.columns)
    wanted = [20.0 + len(text) for text in completions.texts(given.codec)]
    assert Reward(fn, 1.0).log_lik(given, completions).tolist() == wanted


def test_columns_reach_the_forms_that_name_them(completions: Completions) -> None:
    given = toy_prior().codec.prompts([(0,), (1,)], {"label": ["x", "y"], "prompts": ["wrong", "wrong"]})

    def check(prompts: list, label: list) -> list[float]:
        assert (prompts, label) == ([(0,)] * 3 + [(1,)] * 3, ["x"] * 3 + ["y"] * 3)
        return [1.0] * 6

    forms = [
        lambda label, completions, **others: check(others["prompts"], label),
        lambda completions, label, prompts: check(prompts, label),
        lambda p, c, label: check(p, label),
        lambda p, label, c=None: check([(0,)] * 3 + [(1,)] * 3, ["x"] * 3 + ["y"] * 3),
    ]
    for form in forms:
        assert Reward(form, 1.0).log_lik(given, completions).tolist() == [1.0] * 6


def test_a_name_that_is_no_column_is_refused_by_name(prompts: Prompts, completions: Completions) -> None:
    for fn in (lambda completions, answer: [0.0] * 6, lambda answer, completions: [0.0] * 6):
        with pytest.raises(ContractError, match=r"needs answer, which is neither .* column .*label, weight"):
            Reward(fn, 1.0).log_lik(prompts, completions)
    with pytest.raises(ContractError, match="put the prompts first"):
        Reward(lambda c, prompts: [0.0] * 6, 1.0).log_lik(prompts, completions)


def test_the_search_for_the_culprit_is_timed_too(prompts: Prompts, completions: Completions) -> None:
    """Raises on six rows, hangs on one: the message comes all the same. Also where no single row fails."""
    release = threading.Event()

    def hangs(prompts: list, completions: list) -> list[float]:
        if len(completions) > 1:
            raise ValueError("six at once")
        release.wait(20)
        return [0.0]

    def batch(prompts: list, completions: list) -> list[float]:
        if len(completions) > 1:
            raise ValueError("six at once")
        return [0.0]

    for fn in (hangs, batch):
        with pytest.raises(ContractError, match=r"ValueError: six at once \(6 completions at once, on no single one"):
            Reward(fn, 1.0, timeout=0.2).log_lik(prompts, completions)
    release.set()


def test_a_stop_inside_a_reward_stops(prompts: Prompts, completions: Completions) -> None:
    def stops(prompts: list, completions: list) -> list[float]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Reward(stops, 1.0).log_lik(prompts, completions)


@pytest.mark.parametrize("beta", [0.0, -0.1, math.nan, math.inf])
def test_bad_beta(beta: float) -> None:
    with pytest.raises(ConfigError, match="beta="):
        Reward(length, beta)


def test_product_adds_and_power_tempers(prompts: Prompts, completions: Completions) -> None:
    a, b, c = Reward(length, 0.5), Ended(-3.0), Constraint(lambda x: x[0] == 0, "starts with a", -1.0)
    nats = [e.log_lik(prompts, completions) for e in (a, b, c)]
    assert torch.allclose((a * b * c).log_lik(prompts, completions), nats[0] + nats[1] + nats[2])
    assert torch.allclose((a * (b * c)).log_lik(prompts, completions), nats[0] + nats[1] + nats[2])
    assert torch.allclose(((a * b) ** 0.25).log_lik(prompts, completions), (nats[0] + nats[1]) / 4)
    assert (a**0.0).log_lik(prompts, completions).tolist() == [0.0] * 6
    assert set((a * b * a).readings(prompts, completions)) == {"length", "ended", "length_2"}
    for tau in (-1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="power"):
            _ = a**tau


def test_an_impossible_factor_stays_impossible(prompts: Prompts, completions: Completions) -> None:
    never = Constraint(lambda _: False, "never")
    for evidence in (never * Reward(length, 0.5), never**0.0, never**0.5):
        assert torch.isneginf(evidence.log_lik(prompts, completions)).all()


def test_ended(prompts: Prompts, completions: Completions) -> None:
    found = Ended(-2.0).log_lik(prompts, completions)
    assert torch.equal(found, torch.where(completions.ended, 0.0, -2.0).double())
    for cut in (0.5, math.nan):
        with pytest.raises(ConfigError, match="cut="):
            Ended(cut)


def test_constraints() -> None:
    assert contains("Sun", "moon").holds("the MOON")
    assert not contains("sun").holds("rain")
    assert matches(r"\d{2}").holds("a 42 b")
    assert between(2, 3).holds("ab")
    assert not between(2, 3).holds("abcd")
    for build in (lambda: contains(), lambda: contains(""), lambda: matches("("), lambda: between(3, 2)):
        with pytest.raises(ConfigError):
            build()
    for otherwise in (0.0, math.nan):
        with pytest.raises(ConfigError, match="otherwise"):
            contains("x", otherwise=otherwise)


def test_no_completions_at_all() -> None:
    empty = Completions(
        torch.zeros(0, 1, dtype=torch.long), torch.zeros(0, 1).bool(), torch.zeros(0).bool(), torch.zeros(0).long()
    )
    assert len((Reward(length, 1.0) * Ended()).log_lik(toy_prompts(), empty)) == 0
