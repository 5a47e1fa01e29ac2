"""Simulated users go by the chances that they are given."""

import math

from credence.core.keys import Key
from tests.dialogues import users


def test_a_user_says_thanks_as_often_as_satisfaction_says() -> None:
    # 4000 dialogues, chance .5 at the strictness: |share − .5| < 4.9 σ at a false-alarm rate of 1e-6.
    user = users()[0]
    said = [user.responds(Key(3).fold(i), 1, 0.5).satisfied for i in range(4000)]
    assert abs(sum(said) / 4000 - 0.5) < 4.9 * math.sqrt(0.25 / 4000)
