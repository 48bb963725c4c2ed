"""One gate that says no is enough, and no gate is not a yes."""

from __future__ import annotations

from perception.examination.verdict import Undecided, Verdict, combined, gate, undecided_text


def test_every_gate_has_to_pass_and_the_one_that_refused_is_named_first() -> None:
    good, bad = gate("slices", Verdict(True, ["All well."])), gate("budget", Verdict(False, ["Too large."]))
    assert combined([good]) == (True, ["All well."])
    assert combined([good, bad]) == (False, ["Refused by budget: Too large.", "All well."])
    assert combined([]) == (False, [])


def test_what_is_not_decided_is_one_sentence() -> None:
    assert undecided_text([]) == []
    many = [Undecided("sign", f"s{number}", 3, 2) for number in range(12)]
    (text,) = undecided_text(many)
    assert text.startswith("Not decided for want of scenes: sign in s0 (2 more scenes)") and "and 2 more" in text
