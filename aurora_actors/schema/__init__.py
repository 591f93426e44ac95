"""Collections, fields, types, values and their order."""

from __future__ import annotations

from aurora_actors.schema.ids import check_id, new_id, new_ids
from aurora_actors.schema.models import (
    Indexed,
    Unique,
    definition_of,
    from_document,
    to_fields,
)
from aurora_actors.schema.patch import (
    AddToSet,
    Decrement,
    Increment,
    Patch,
    Pull,
    Push,
    Unset,
    decode_patch,
    encode_patch,
)
from aurora_actors.schema.record import (
    pack_record,
    record_body,
    record_id,
    record_lsn,
    unpack_record,
)
from aurora_actors.schema.types import (
    CollectionDefinition,
    FieldDefinition,
    FieldType,
    Kind,
    check_collection_name,
    decode_definition,
    encode_definition,
)
from aurora_actors.schema.validation import DocumentValidator
from aurora_actors.schema.values import (
    decode_document,
    decode_value,
    encode_document,
    encode_value,
    get_path,
    kind_rank,
    sort_key,
    values_equal,
)

__all__ = [
    "AddToSet",
    "CollectionDefinition",
    "Decrement",
    "DocumentValidator",
    "FieldDefinition",
    "FieldType",
    "Increment",
    "Indexed",
    "Kind",
    "Patch",
    "Pull",
    "Push",
    "Unique",
    "Unset",
    "check_collection_name",
    "check_id",
    "decode_definition",
    "decode_document",
    "decode_patch",
    "decode_value",
    "definition_of",
    "encode_definition",
    "encode_document",
    "encode_patch",
    "encode_value",
    "from_document",
    "get_path",
    "kind_rank",
    "new_id",
    "new_ids",
    "pack_record",
    "record_body",
    "record_id",
    "record_lsn",
    "sort_key",
    "to_fields",
    "unpack_record",
    "values_equal",
]
