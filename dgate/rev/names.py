"""Invented names for `%_name`: our own words, chosen by a keyed hash, so that no version of anything changes them."""

from __future__ import annotations

import hashlib

# The order is part of what a seed means: words are only ever added with another function name.
_LAST_NAMES = """
ALDER ASHBY BARROW BECKETT BIRCH BLYTHE BRAMWELL BROOKS CALDER CARRICK CHASE CLAYTON COLBY CROFT DALTON DARROW DRAKE
EASTON ELLERY EVERS FAIRFAX FENWICK FINCH FLINT FORD GARNER GRANGER GROVE HALE HARLOW HAWTHORN HAYES HOLT INGRAM
KEATS KENDALL KIRBY LANDON LARK LINDEN LOCKE MARLOW MERCER MOSS NASH NORWOOD OAKES ORCHARD PAGE PEMBER QUILL RAMSEY
REED ROWAN SAWYER SHAW SLATE STERLING THORNE VANCE WARDEN WELLS WREN YARROW
"""
_FIRST_NAMES = """
ADA ALEX ALMA AMOS ANSEL ARIA ASA AVA BEA BEN CARA CLEO COLE DALE DANA DEAN EDEN ELI ELLA EMIL ENID ERIN ESME EVAN
FAYE FINN GAIL GLEN GWEN HANS HOPE HUGO IDA INES IRIS IVAN IVY JADE JANE JEAN JOEL JUNE KAI KARL KATE KURT LEAH LENA
LEON LIAM LILA LUCA LUCY LYRA MAE MARA MAX MILO MIRA NELL NINA NOAH NORA OLGA
"""
_LAST, _FIRST = _LAST_NAMES.split(), _FIRST_NAMES.split()


def invented_name(value: str, seed: str) -> str:
    """A person's name that is always the same for a value and a seed, as DICOM writes it: ``WREN^ADA^ANON``."""
    digest = hashlib.blake2b(value.encode("utf-8", "surrogateescape"), key=_key(seed), digest_size=8).digest()
    return f"{_LAST[digest[0] % len(_LAST)]}^{_FIRST[digest[1] % len(_FIRST)]}^ANON"


def _key(seed: str) -> bytes:
    return hashlib.sha256(seed.encode("utf-8", "surrogateescape")).digest()
