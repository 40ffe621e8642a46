"""What transfer syntax UIDs mean, against pydicom's own table."""

from __future__ import annotations

import pytest
from pydicom.uid import AllTransferSyntaxes

from storage.transfer import is_compressed, is_deflated, is_implicit, is_jpeg, is_little_endian


@pytest.mark.parametrize("uid", AllTransferSyntaxes)
def test_every_standard_syntax_is_what_pydicom_says(uid: str) -> None:
    from pydicom.uid import UID

    known = UID(uid)
    assert is_implicit(uid) == (known.is_implicit_VR or uid == "1.2.840.10008.1.20")
    assert is_little_endian(uid) == known.is_little_endian
    assert is_compressed(uid) == known.is_compressed
    assert is_deflated(uid) == (known.is_deflated or "Referenced Deflate" in known.name)
    assert is_jpeg(uid) == (known.name.startswith(("JPEG", "High-Throughput JPEG")) and "1.2.840.10008.1.2.4." in uid)


@pytest.mark.parametrize("uid", ["1.2.3", "", "1.2.840.113619.5.2.1", "1.3.46.670589.33.1.4.1"])
def test_an_unknown_syntax_is_explicit_little_endian_with_pixels_of_its_own(uid: str) -> None:
    assert not is_implicit(uid)
    assert is_little_endian(uid)
    assert is_compressed(uid)
    assert not is_deflated(uid)
    assert not is_jpeg(uid)


def test_the_private_syntax_of_ge_is_implicit() -> None:
    assert is_implicit("1.2.840.113619.5.2")
    assert is_compressed("1.2.840.113619.5.2")
