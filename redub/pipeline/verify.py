"""Read every committed byte again and compare it with what was committed."""

from __future__ import annotations

from redub.core.errors import IntegrityError
from redub.pipeline.files import check_folder, read_json
from redub.pipeline.index import neighbour_tables, records_of_builds
from redub.pipeline.parts import PartTable
from redub.pipeline.project import Project
from redub.pipeline.store import NEIGHBOUR_SCHEMA, Store, feature_schema


def verify_store(project: Project) -> tuple[int, list[str]]:
    """How many files were read, and one sentence per damaged one.

    Features under older settings are read too, as far as this redub knows their extractor.
    """
    store = Store(project)
    tables = [store.sources, store.clip_parts, store.quarantine]
    for name, key in store.keys.by_name.items():
        folder = project.root / "features" / name
        schema = feature_schema(key.schema)
        tables += [PartTable(path, schema) for path in sorted(folder.glob("*")) if path.is_dir()]
    tables += [PartTable(path, NEIGHBOUR_SCHEMA) for path in neighbour_tables(project)]
    files, wrong = 0, []
    for table in tables:
        try:
            files += len(table.parts()) + len(table.commits())
            wrong += table.verify()
        except IntegrityError as error:
            wrong.append(str(error))
    for path in records_of_builds(project):
        try:
            record = read_json(path)
            for part, digests in record["files"].items():
                files += len(digests)
                check_folder(project.root / "index" / part / record["build"], digests)
        except IntegrityError as error:
            wrong.append(str(error))
    return files, wrong
