"""Evidence for items of the checklists: each function says what the run folder shows, or None where it shows nothing.

A function never states what it did not read. What only a paper can say (who annotated, who paid, how patients were
recruited) has no function.
"""

from __future__ import annotations

from collections.abc import Callable

from covidct.evaluation.checklists import data_evidence, model_evidence, result_evidence
from covidct.evaluation.record import RunRecord

Evidence = Callable[[RunRecord], str | None]

EVIDENCE: dict[str, Evidence] = {
    function.__name__: function
    for function in (
        data_evidence.data_source,
        data_evidence.exclusions,
        data_evidence.preprocessing,
        data_evidence.subsets,
        data_evidence.pseudonyms,
        data_evidence.missing_data,
        data_evidence.partitions,
        data_evidence.disjoint,
        data_evidence.flow,
        data_evidence.events,
        data_evidence.other_diagnoses,
        model_evidence.model,
        model_evidence.software,
        model_evidence.initial_weights,
        model_evidence.training,
        model_evidence.selection,
        model_evidence.no_ensemble,
        model_evidence.output,
        model_evidence.index_test,
        model_evidence.full_model,
        model_evidence.class_imbalance,
        result_evidence.measures,
        result_evidence.uncertainty,
        result_evidence.analysis,
        result_evidence.robustness,
        result_evidence.explanations,
        result_evidence.internal_test,
        result_evidence.external_test,
        result_evidence.performance,
        result_evidence.diagnostic_estimates,
        result_evidence.cross_table,
        result_evidence.indeterminate,
        result_evidence.variability,
        result_evidence.site_differences,
        result_evidence.failures,
        result_evidence.technical_details,
        result_evidence.audit_trail,
    )
}
"""The functions by the names that the YAML files use."""
