"""Which beginnings prompts share: hand-made prompts, and laws on random ones."""

import random

import pytest

from credence.prior.stems import PAYS, shared, stems

SYSTEM = tuple(range(100, 110))
FIRST = (*SYSTEM, *range(20, 50))
OTHER = (*SYSTEM, *range(60, 90))


def test_turns_of_a_dialogue_share_its_first_prompt_and_others_are_left_apart() -> None:
    prompts = [(*FIRST, 1, 2, 3), OTHER, FIRST, (*FIRST, 1, 7), (*OTHER, 5), (*FIRST, 9, 9, 9, 9)]
    found = stems(prompts)
    assert found is not None
    begun, owner = found
    assert begun == [FIRST[:-1], OTHER[:-1]]  # the first prompt keeps a token of its own
    assert owner == [0, 1, 0, 0, 1, 0]


@pytest.mark.parametrize(
    "prompts",
    [
        [(5,)],
        [(5,), (6,)],
        [FIRST],  # nothing to share with
        [FIRST, OTHER],  # a quarter in common
        [(1, 2, 3), (1, 2, 3, 4), (7,) * 40, (8,) * 40],  # what is shared is small beside the rest
    ],
)
def test_one_pass_is_taken_where_two_would_not_pay(prompts: list[tuple[int, ...]]) -> None:
    assert stems(prompts) is None


def test_every_prompt_begins_with_its_stem_and_goes_on_and_two_passes_are_cheaper() -> None:
    rng, used = random.Random(3), 0
    for _ in range(200):
        roots = [tuple(rng.choices(range(4), k=rng.randint(1, 30))) for _ in range(rng.randint(1, 4))]
        made = {(*rng.choice(roots), *rng.choices(range(4), k=rng.randint(0, 8))) for _ in range(rng.randint(1, 12))}
        prompts = sorted(made, key=lambda p: rng.random())
        found = stems(prompts)
        if found is None:
            continue
        used += 1
        begun, owner = found
        rests = [len(p) - len(begun[of]) for p, of in zip(prompts, owner, strict=True)]
        assert all(shared(p, begun[of]) == len(begun[of]) for p, of in zip(prompts, owner, strict=True))
        assert min(rests) >= 1
        read = len(begun) * max(map(len, begun)) + len(prompts) * max(rests)
        assert read <= PAYS * len(prompts) * max(map(len, prompts))
    assert used > 20
