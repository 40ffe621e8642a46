"""What an association may be about: presentation contexts, roles and extended negotiation (PS3.7 Annex D)."""

from __future__ import annotations

import pytest
from pydicom.uid import CTImageStorage, JPEG2000Lossless, JPEGBaseline8Bit, MRImageStorage

from storage.part10 import IMPLEMENTATION_CLASS
from tests.conformance.conftest import Archive
from tests.conformance.dialogue import log_lines
from tests.conformance.scu import (
    EXPLICIT,
    IMPLICIT,
    VERIFICATION,
    contexts_of,
    echo_elements,
    extended_item,
    role_item,
    user_items_of,
    wire,
)

CT, MR = str(CTImageStorage), str(MRImageStorage)
JPEG, J2K = str(JPEGBaseline8Bit), str(JPEG2000Lossless)
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
NKI_MOVE = "1.2.826.0.1.3680043.2.135.1066.5.1.4.1.2.1.2"
PRIVATE = "1.3.46.670589.11.0.0.12.1"
PRIVATE_SYNTAX = "1.2.3.4.5.6.7"


def test_each_context_gets_the_first_syntax_proposed_in_it(shared: Archive) -> None:
    proposed = {
        1: (CT, (JPEG, EXPLICIT)),
        3: (CT, (EXPLICIT, IMPLICIT)),
        5: (CT, (IMPLICIT, JPEG)),
        7: (CT, (J2K,)),
        9: (CT, (BIG, IMPLICIT)),
        11: (CT, (DEFLATED, IMPLICIT)),
        13: (PRIVATE, (PRIVATE_SYNTAX, IMPLICIT)),
        255: (MR, (EXPLICIT,)),
    }
    with wire(shared.port) as peer:
        accepted = peer.associate(proposed)
        assert accepted is not None
        assert contexts_of(accepted) == {number: (0, row[1][0]) for number, row in proposed.items()}
        assert peer.release()


def test_queries_and_commands_are_offered_uncompressed_syntaxes_only(shared: Archive) -> None:
    with wire(shared.port) as peer:
        accepted = peer.associate(
            {
                1: (FIND, (JPEG, DEFLATED, IMPLICIT)),
                3: (NKI_MOVE, (JPEG, EXPLICIT)),
                5: (VERIFICATION, (JPEG,)),
                7: (FIND, (BIG, EXPLICIT)),
            }
        )
    assert accepted is not None
    assert contexts_of(accepted) == {1: (0, IMPLICIT), 3: (0, EXPLICIT), 5: (4, ""), 7: (0, BIG)}


@pytest.mark.parametrize(
    "uid",
    [
        "1.2.840.10008.1.20.1",  # Storage Commitment Push Model
        "1.2.840.10008.5.1.4.31",  # Modality Worklist FIND
        "1.2.840.10008.3.1.2.3.3",  # MPPS
        "1.2.840.10008.5.1.4.1.2.4.2",  # Composite Instance Root Retrieve MOVE
        "1.2.840.10008.3.1.1.1",  # the application context
        "1.2.840.10008.1.2",  # a transfer syntax
        "1.2.840.10008.9.9.9",  # nothing known
        "not a uid",
        "../../up",
    ],
)
def test_what_is_no_storage_class_is_not_taken_for_one(shared: Archive, uid: str) -> None:
    with wire(shared.port) as peer:
        accepted = peer.associate({1: (uid, (IMPLICIT,)), 3: (VERIFICATION, (IMPLICIT,))})
        assert accepted is not None
        assert contexts_of(accepted) == {1: (3, ""), 3: (0, IMPLICIT)}


def test_a_request_with_a_uid_that_is_too_long_is_aborted(shared: Archive) -> None:
    with wire(shared.port) as peer:
        answer = peer.associate({1: ("1.2." + "3" * 70, (IMPLICIT,)), 3: (VERIFICATION, (IMPLICIT,))})
        assert answer is not None
        assert answer.kind == 7


def test_128_contexts_are_answered_each(shared: Archive) -> None:
    proposed = {2 * n + 1: (f"1.2.3.{n}", (PRIVATE_SYNTAX, EXPLICIT, IMPLICIT)) for n in range(127)}
    with wire(shared.port) as peer:
        accepted = peer.associate({**proposed, 255: (VERIFICATION, (IMPLICIT,))})
        assert accepted is not None
        assert contexts_of(accepted) == {
            **dict.fromkeys(proposed, (0, PRIVATE_SYNTAX)), 255: (0, IMPLICIT),
        }  # fmt: skip
        peer.message(255, echo_elements())
        answer = peer.answer()
        assert answer is not None
        assert answer[0].number(0x0900) == 0
        assert peer.release()


def test_an_association_without_a_context_in_common_is_accepted_and_said_in_the_log(archive: Archive) -> None:
    archive.daemon.server.logs.add("test.log")
    with wire(archive.port) as peer:
        accepted = peer.associate({1: ("1.2.840.10008.9.9.9", (IMPLICIT,)), 3: (VERIFICATION, (JPEG,))})
        assert accepted is not None
        assert contexts_of(accepted) == {1: (3, ""), 3: (4, "")}
        assert peer.release()
    assert "No valid presentation contexts/transfer syntax found in 2 candidates" in log_lines(archive.directory)


def test_roles_are_answered_as_proposed_for_storage_and_left_alone_elsewhere(shared: Archive) -> None:
    with wire(shared.port) as peer:
        accepted = peer.associate(
            {1: (CT, (IMPLICIT,)), 3: (MR, (IMPLICIT,)), 5: (VERIFICATION, (IMPLICIT,))},
            user_items=role_item(CT, scu=0, scp=1)
            + role_item(MR, scu=1, scp=1)
            + role_item(VERIFICATION, scu=1, scp=1),
        )
    assert accepted is not None
    roles = [value for kind, value in user_items_of(accepted) if kind == 0x54]
    assert sorted(roles) == sorted(
        [len(CT).to_bytes(2, "big") + CT.encode() + b"\0\1", len(MR).to_bytes(2, "big") + MR.encode() + b"\1\1"]
    )


def test_extended_negotiation_claims_what_is_done_and_no_more(shared: Archive) -> None:
    with wire(shared.port) as peer:
        accepted = peer.associate(
            {1: (FIND, (IMPLICIT,)), 3: (MOVE, (IMPLICIT,)), 5: (CT, (IMPLICIT,))},
            user_items=extended_item(FIND, b"\1\1\1\1\1")
            + extended_item(MOVE, b"\1\1")
            + extended_item(CT, b"\2\0\3\0\1\0"),
        )
    assert accepted is not None
    answers = [value for kind, value in user_items_of(accepted) if kind == 0x56]
    assert sorted(answers) == sorted(
        [
            len(FIND).to_bytes(2, "big") + FIND.encode() + b"\1\1\0\0\0",
            len(MOVE).to_bytes(2, "big") + MOVE.encode() + b"\1\0",
        ]
    )


def test_the_acceptance_says_who_we_are_and_how_much_we_take(archive: Archive) -> None:
    with wire(archive.port) as peer:
        accepted = peer.associate({1: (VERIFICATION, (IMPLICIT,))})
    assert accepted is not None
    items = dict(user_items_of(accepted))
    assert int.from_bytes(items[0x51], "big") == 131072
    assert items[0x52].decode() == IMPLEMENTATION_CLASS


def test_classes_and_syntaxes_that_are_not_listed_are_refused_one_by_one(archive: Archive) -> None:
    (archive.directory / "dgatesop.lst").write_text(
        f"ct {CT} sop\nfind {FIND} abstract\nimplicit {IMPLICIT} transfer\njpeg {JPEG} transfer  LittleEndianExplicit\n"
    )
    with wire(archive.port) as peer:
        accepted = peer.associate(
            {
                1: (CT, (EXPLICIT, JPEG, IMPLICIT)),
                3: (CT, (EXPLICIT,)),
                5: (MR, (IMPLICIT,)),
                7: (FIND, (JPEG, IMPLICIT)),
                9: (FIND, (JPEG,)),
                11: (VERIFICATION, (IMPLICIT,)),
            }
        )
    assert accepted is not None
    assert contexts_of(accepted) == {
        1: (0, JPEG), 3: (4, ""), 5: (3, ""), 7: (0, IMPLICIT), 9: (4, ""), 11: (3, ""),
    }  # fmt: skip
