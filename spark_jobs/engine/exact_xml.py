"""Values of XML elements as they stand in the file. Of an element that is there twice Spark keeps the last one.

So elements are asked for as arrays of texts: a record with two of what can be one only does not fit. Attributes, which
cannot be there twice, are asked for as texts.
"""

from dataclasses import dataclass

from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.types import ArrayType, DataType, IntegralType, MapType, StringType, StructField, StructType

from spark_jobs.engine.exact import Exactly


@dataclass(frozen=True)
class ExactlyXml(Exactly):
    """See Exactly."""

    def asked_field(self, field: StructField) -> DataType:
        """An array where the element may be there twice."""
        asked = self.asked(field.dataType)
        return ArrayType(asked) if self._may_repeat(field) else asked

    def kept_field(self, value: Column, field: StructField) -> Column:
        """The one element, null where there are more."""
        if not self._may_repeat(field):
            return self.kept(value, field.dataType)
        return F.when(F.size(value) == 1, self.kept(F.get(value, F.lit(0)), field.dataType))

    def lost_field(self, value: Column, field: StructField) -> Column | None:
        """True for more than one element, and for one that does not fit."""
        lost = self.lost(self.one(value, field), field.dataType)
        if not self._may_repeat(field):
            return lost
        more = F.coalesce(F.size(value) > 1, F.lit(False))
        return more if lost is None else more | F.coalesce(lost, F.lit(False))

    def doubts_field(self, field: StructField) -> bool:
        """Where the element may be there twice, too."""
        return self._may_repeat(field) or super().doubts_field(field)

    def one(self, value: Column, field: StructField) -> Column:
        """The first element."""
        return F.get(value, F.lit(0)) if self._may_repeat(field) else value

    def _may_repeat(self, field: StructField) -> bool:
        attribute = self.options.get("attributePrefix", "_")
        if field.name == self.options.get("valueTag", "_VALUE"):
            return True
        named = field.name in (self.options.get("wildcardColName", "xs_any"),)
        return not (named or field.name.startswith(attribute) or isinstance(field.dataType, ArrayType | MapType))

    def _as_text(self, wanted: DataType) -> bool:
        return isinstance(wanted, IntegralType) or super()._as_text(wanted)

    def _has_doubt(self, wanted: DataType) -> bool:
        # Of a struct each field may be there twice.
        return isinstance(wanted, StructType) or super()._has_doubt(wanted)

    def lost(self, value: Column, wanted: DataType) -> Column | None:
        """An empty element is none, whatever its type."""
        found = super().lost(value, wanted)
        empty = isinstance(self.asked(wanted), StringType) and not isinstance(wanted, StringType)
        return found & (value != "") if found is not None and empty else found


def exactly_xml(options: dict[str, str]) -> ExactlyXml:
    """How XML is read under these options."""
    return ExactlyXml("xml", options)
