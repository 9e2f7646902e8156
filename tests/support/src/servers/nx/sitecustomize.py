"""Read by Python before nx-27017 starts: its ways with a field that is called `id` are made those of MongoDB.

It takes a text of digits that is looked for in `id` for a number, and gives its own index on `_id` the name that one on
`id` would have, which is then never made: no document of the collection `events` would be found by its key, and keys could
be there twice.

And it looks through a whole collection for `{key: {$in: [...]}}`, because a document might hold a list under that key. No
key of msght's is a list; without that an index is used, as MongoDB does.
"""

import re

try:
    import neosqlite.collection as collection
    from neosqlite.collection import type_correction
    from neosqlite.collection.query_helper import QueryHelper
    from neosqlite.sql_utils import quote_identifier, quote_table_name
except ImportError:  # Another program of the same Python.
    pass
else:
    type_correction._try_convert_to_int = lambda value: value
    type_correction._is_valid_objectid_hex = lambda value: False

    usual = collection.create_unique_index_on_id

    def create_unique_index_on_id(connection, table):
        if table != "events":
            return usual(connection, table)
        name = quote_identifier(f"own_{table}_id")
        connection.execute(f"CREATE UNIQUE INDEX IF NOT EXISTS {name} ON {quote_table_name(table)}(_id)")
        return True

    collection.create_unique_index_on_id = create_unique_index_on_id

    in_list = re.compile(
        r"(?<!NOT )EXISTS \(SELECT 1 FROM json(b?)_each\(data, ('[^']+')\) AS json_each "
        r"WHERE json_each\.value IN (\([?, ]+\))\)"
    )
    usual_where = QueryHelper._build_simple_where_clause

    def where_by_index(self, *arguments, **named):
        built = usual_where(self, *arguments, **named)
        if built is None or not built[0]:
            return built
        return (in_list.sub(r"json\1_extract(data, \2) IN \3", built[0]), *built[1:])

    QueryHelper._build_simple_where_clause = where_by_index
