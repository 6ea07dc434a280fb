"""Deletes all values of one entity key, in every view."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from services.features.columns import Column, key_values
from services.features.errors import RowsOutOfRange, UnknownEntity, UnknownKeyColumn
from services.features.keys import column_at_fault, encoder, rows_of
from services.features.stores import WritableStore
from services.features.views import Catalog
from services.mesh.errors import MeshError


class Deleting:
    """Deletes feature values. `catalog` gives the views in use."""

    def __init__(self, store: WritableStore, catalog: Callable[[], Catalog]) -> None:
        self._store = store
        self._catalog = catalog

    async def delete(self, entity: str, keys: Mapping[str, Column]) -> int:
        """Delete one key's values and return of how many views there were any."""
        views = self._catalog().views_by_entity.get(entity)
        if not views:
            raise UnknownEntity(f"No view has an entity {entity!r}", field="entity")
        definition = views[0].entity
        columns = [column.name for column in definition.columns]
        for name, column in keys.items():
            if name not in columns:
                raise UnknownKeyColumn(f"Entity {entity!r} has no key {name!r}", field=column.path)
        rows = rows_of(key_values(definition, keys))
        if len(rows) != 1:
            raise RowsOutOfRange(f"{len(rows)} keys; one is deleted at a time", field="keys")
        try:
            prefix = encoder(definition)(rows[0])
        except MeshError as error:
            column = keys[columns[column_at_fault(rows[0])]]
            raise type(error)(error.message, field=f"{column.path}.{column.filled}[0]") from None
        return await self._store.delete_many([prefix + view.name.encode() for view in views])
