"""The values of an object in a fixed order: what it says above the image, and what of the image alone."""

from collections.abc import Mapping
from dataclasses import dataclass

from db.objects import NewObject
from db.schema import LEVELS, NEEDED, SOP_INSTANCE, Schema, TagPath

Values = tuple[str | None, ...]


@dataclass(slots=True)
class Fielded:
    """A `NewObject` whose values are in the order of `Fields`: those above the image, and the image's own."""

    above: Values
    own: Values
    device: str
    file: str
    replace: bool = True


class Fields:
    """What the rows of objects are made of, in an order that is the same in all processes of a server."""

    def __init__(self, schema: Schema) -> None:
        higher = {column.path for level in LEVELS if level != "IMAGE" for column in schema.tables[level].columns}
        above = (higher | NEEDED) - {SOP_INSTANCE}
        self.above: tuple[TagPath, ...] = tuple(sorted(above))
        self.own: tuple[TagPath, ...] = tuple(sorted(schema.paths - above))
        self._all = self.above + self.own

    def split(self, values: Mapping[TagPath, str]) -> tuple[Values, Values]:
        """The values above the image and the image's own, None for what is absent."""
        get = values.get
        return tuple(map(get, self.above)), tuple(map(get, self.own))

    def of(self, new: NewObject) -> Fielded:
        return Fielded(*self.split(new.values), new.device, new.file, new.replace)

    def values(self, new: Fielded) -> dict[TagPath, str]:
        """The values as they were before `split`, of those that rows are made of."""
        both = zip(self._all, new.above + new.own, strict=True)
        return {path: value for path, value in both if value is not None}
