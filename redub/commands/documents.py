"""The JSON documents that commands print with ``--json``: name → the dataclass of the document.

Nothing is imported here. The JSON schema of each document lies in ``docs/schemas/``; it is made
from the dataclass by ``docs/make_schemas.py``.
"""

from __future__ import annotations

DOCUMENTS = {
    "init": "redub.pipeline.store.project:NewProject",
    "config": "redub.pipeline.store.settings:ProjectConfig",
    "doctor": "redub.pipeline.reports.doctor:Examination",
    "doctor.weights": "redub.pipeline.reports.weights_doctor:WeightsExamination",
    "status": "redub.pipeline.reports.status:Status",
    "plan": "redub.pipeline.reports.plan:Plan",
    "ingest": "redub.pipeline.stages.ingest:IngestSummary",
    "extract": "redub.pipeline.stages.extract:ExtractSummary",
    "retrieve": "redub.pipeline.stages.retrieve:RetrieveSummary",
    "pack": "redub.pipeline.stages.pack:PackReport",
    "train": "redub.pipeline.stages.train:TrainSummary",
    "train.estimate": "redub.pipeline.work.estimate:Estimate",
    "vocoder.train": "redub.pipeline.stages.vocoder:VocoderSummary",
    "synthesize": "redub.pipeline.stages.synthesize:SynthesisSummary",
    "evaluate": "redub.pipeline.store.runs.evaluations:Evaluation",
    "run": "redub.pipeline.walk:Walk",
    "demo": "redub.pipeline.demo:DemoSummary",
    "dub": "redub.pipeline.dubbing.take:DubSummary",
    "page": "redub.pipeline.reports.page:WrittenPage",
    "index.build": "redub.pipeline.stages.index:IndexSummary",
    "index.query": "redub.pipeline.work.query:QueryAnswer",
    "index.excluded": "redub.pipeline.work.query:ExcludedClips",
    "index.audit": "redub.pipeline.reports.index.audit_report:AuditReport",
    "index.verify": "redub.pipeline.reports.index.verify:VerifyReport",
    "index.stats": "redub.pipeline.reports.index.stats:IndexStats",
    "index.precision": "redub.pipeline.reports.index.precision:PrecisionReport",
    "index.precision_table": "redub.pipeline.reports.index.precision_table:PrecisionTable",
    "bad": "redub.pipeline.store.quarantine:QuarantineList",
    "bad.explain": "redub.pipeline.reports.error_codes:ErrorCode",
    "bad.retry": "redub.pipeline.store.quarantine:Released",
    "cache.verify": "redub.pipeline.store.verify:StoreCheck",
    "cache.repair": "redub.pipeline.store.verify:StoreRepair",
    "cache.why": "redub.pipeline.reports.why:ExplainedClip",
    "runs": "redub.pipeline.store.runs.folders:RunList",
    "runs.show": "redub.pipeline.reports.runs:RunFacts",
    "runs.compare": "redub.pipeline.reports.run_comparison:RunComparison",
    "runs.export": "redub.pipeline.store.runs.folders:ExportedRun",
    "runs.import": "redub.pipeline.imports.runs:ImportedRun",
    "runs.rm": "redub.pipeline.store.runs.folders:Removal",
    "weights.entry": "redub.pipeline.store.weights:Entry",
    "weights.list": "redub.pipeline.store.weights:WeightsList",
    "weights.kinds": "redub.features.weights.kinds:WeightKinds",
    "weights.get": "redub.pipeline.store.packaged:FetchedPackages",
    "weights.packages": "redub.features.weights.packages:WeightPackages",
    "weights.verify": "redub.pipeline.store.weights:WeightsCheck",
    "captions.import": "redub.pipeline.imports.lines:ImportSummary",
    "reactions.import": "redub.pipeline.imports.lines:ImportSummary",
    "corpus.prepare": "redub.footage.corpora.prepare:CorpusSummary",
}
"""Document name → ``module:dataclass``. The key ``schema`` of a document is ``redub.NAME/1``."""
