"""What Sluice notes with a field of a schema version, beside its name and type."""

SOURCE_NAME = "sluice.source"  # the field's name in the files, where the table cannot have that name
PARTITION = "sluice.partition"  # true for a column that comes from the path of its file
