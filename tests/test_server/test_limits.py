"""Who gets an association while others hold many."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.limits import Admissions, Limits, Peer

STRANGER = Peer("10.0.0.1", "ANY")
KNOWN = Peer("10.0.0.2", "CT1", known=True)


def admitted(admissions: Admissions, peer: Peer, limits: Limits, numbers: range) -> int:
    return sum(admissions.admit(number, peer, limits) == "" for number in numbers)


def test_no_limit_is_none() -> None:
    assert admitted(Admissions(), STRANGER, Limits(), range(1000)) == 1000


def test_strangers_leave_room_for_known_aes() -> None:
    admissions, limits = Admissions(), Limits(total=16)
    assert limits.reserved == 2
    assert admitted(admissions, STRANGER, limits, range(100)) == 14
    assert admissions.admit(200, STRANGER, limits) == (
        "14 associations of AEs that acrnema.map does not know are open, 2 of 16 are kept for those it does "
        "(MaxAssociations)"
    )
    assert admitted(admissions, KNOWN, limits, range(300, 400)) == 2
    assert admissions.admit(400, KNOWN, limits) == "16 associations are open (MaxAssociations)"


def test_known_aes_may_have_all_there_is() -> None:
    assert admitted(Admissions(), KNOWN, Limits(total=16), range(100)) == 16


def test_of_a_few_associations_none_is_kept() -> None:
    assert Limits(total=7).reserved == 0
    assert admitted(Admissions(), STRANGER, Limits(total=7), range(20)) == 7


def test_a_host_gets_its_share_and_another_its_own() -> None:
    admissions, limits = Admissions(), Limits(per_host=2)
    assert admitted(admissions, STRANGER, limits, range(5)) == 2
    assert admissions.admit(5, STRANGER, limits) == "2 associations of its host are open (MaxAssociationsPerHost)"
    assert admitted(admissions, Peer("10.0.0.9"), limits, range(10, 15)) == 2


def test_known_aes_behind_one_address_get_a_share_each() -> None:
    admissions, limits = Admissions(), Limits(per_host=2)
    for start, ae in ((0, "CT1"), (10, "CT2")):
        assert admitted(admissions, Peer("10.0.0.2", ae, known=True), limits, range(start, start + 5)) == 2
    assert admissions.admit(20, KNOWN, limits) == "2 associations of its AE are open (MaxAssociationsPerHost)"


def test_who_leaves_makes_room() -> None:
    admissions, limits = Admissions(), Limits(total=2, per_host=1)
    assert admissions.admit(1, STRANGER, limits) == ""
    admissions.leave(1)
    admissions.leave(1)
    assert admissions.admit(2, STRANGER, limits) == ""
    assert admissions.of_host == {STRANGER.host: 1}


peers = st.builds(Peer, st.sampled_from(["a", "b"]), st.sampled_from(["X", "Y", "Z"]), st.booleans())
steps = st.lists(st.tuples(st.integers(0, 20), st.none() | peers), max_size=80)


@given(steps, st.integers(0, 20), st.integers(0, 3))
def test_no_order_of_coming_and_going_breaks_a_limit(
    steps: list[tuple[int, Peer | None]], total: int, per_host: int
) -> None:
    admissions, limits = Admissions(), Limits(total, per_host)
    there: dict[int, Peer] = {}
    for number, peer in steps:
        if peer is None:
            admissions.leave(number)
            there.pop(number, None)
        elif number not in there and not admissions.admit(number, peer, limits):
            there[number] = peer
        strangers = [each for each in there.values() if not each.known]
        if total:
            assert len(there) <= total
            assert len(strangers) <= total - limits.reserved
        if per_host:
            assert all(sum(each == peer for each in there.values()) <= per_host for peer in there.values())
    for number in list(there):
        admissions.leave(number)
    assert admissions.of_host == {}
