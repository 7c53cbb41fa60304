"""What a run folder shows about how it was evaluated and what came out."""

from __future__ import annotations

from covidct.evaluation.checklists.data_evidence import partitions
from covidct.evaluation.checklists.model_evidence import selection, training
from covidct.evaluation.checklists.wording import joined
from covidct.evaluation.record import RunRecord
from covidct.evaluation.sentences import estimate, primary_blocks, site_name
from covidct.evaluation.wording import counted, percent


def sites_of(record: RunRecord, split: str) -> list[str]:
    """Sites with figures in a partition, without the pooled one."""
    found = {str(block["site"]) for block in record.summary["blocks"] if block["split"] == split}
    return sorted(found - {"(pooled)"})


def measures(record: RunRecord) -> str | None:
    """Measures in metrics.json."""
    if not record.summary["blocks"]:
        return None
    return joined(
        "sensitivity, specificity, PPV, NPV, accuracy and AUC of each class, by slice and by patient",
        "calibration" if record.section("calibration") else None,
    )


def uncertainty(record: RunRecord) -> str | None:
    """How intervals are made."""
    blocks = record.summary["blocks"]
    if not blocks or not record.summary.get("interval"):
        return None
    level = record.summary["interval"].get("level")
    names = {str((block.get("accuracy") or {}).get("method")) for block in blocks}
    names |= {str((block.get("macro_auc") or {}).get("method")) for block in blocks}
    known = sorted(name.replace("_", " ") for name in names if "_" in name)
    return f"{percent(level, 0)} % intervals that count patients: {', '.join(known)}" if known else None


def analysis(record: RunRecord) -> str | None:
    """Use of the data, model building, measures."""
    if not partitions(record) or not training(record):
        return None
    return joined(
        f"(a) {partitions(record)}", f"(c) {training(record)}; {selection(record) or ''}".rstrip("; "),
        f"(d, e) {joined(measures(record), uncertainty(record))}" if measures(record) else None,
    )  # fmt: skip


def robustness(record: RunRecord) -> str | None:
    """The battery of probes for shortcuts."""
    found = record.section("shortcuts")
    if not found:
        return None
    done = [one for one in found.get("outcomes") or [] if one.get("status") != "not done"]
    return f"{counted(len(done), 'probe')} for shortcuts: {found['verdict']}" if done else None


def explanations(record: RunRecord) -> str | None:
    """Whether saliency maps were made and scored."""
    return "saliency maps, scored (section Explanations)" if record.section("explanations") else None


def internal_test(record: RunRecord) -> str | None:
    """Test patients of sites that were trained on."""
    inside = sorted(set(sites_of(record, "test")) & set(sites_of(record, "val")))
    return f"tested on held-out patients of {', '.join(inside)}" if inside else None


def external_test(record: RunRecord) -> str | None:
    """Test sites that were never trained on."""
    outside = sorted(set(sites_of(record, "test")) - set(sites_of(record, "val")))
    return f"tested on {counted(len(outside), 'site')} kept out of training: {', '.join(outside)}" if outside else None


def performance(record: RunRecord) -> str | None:
    """Top-1 accuracy at each test site."""
    blocks = primary_blocks(record.summary)
    if not blocks:
        return None
    return "; ".join(f"{site_name(block['site'])}: true class {estimate(block['accuracy'])}" for block in blocks)


def diagnostic_estimates(record: RunRecord) -> str | None:
    """Sensitivity and specificity for the positive class at each test site."""
    positive, blocks = record.scheme.positive, primary_blocks(record.summary)
    if positive is None or not blocks:
        return None
    return "; ".join(
        f"{site_name(block['site'])}: sensitivity {estimate(block['per_class'][positive]['sensitivity'])}, "
        f"specificity {estimate(block['per_class'][positive]['specificity'])}"
        for block in blocks
    )


def cross_table(record: RunRecord) -> str | None:
    """Confusion matrices of the test sets."""
    count = sum(block["split"] == "test" for block in record.summary["blocks"])
    return f"{count} confusion matri{'x' if count == 1 else 'ces'} in section Test" if count else None


def indeterminate(record: RunRecord) -> str | None:
    """Conflicts and patients without a result."""
    blocks = [block for block in primary_blocks(record.summary) if block["aggregation"] == "any_slice"]
    if not blocks:
        return None
    last = blocks[-1]
    return (
        f"{counted(last['n_conflict'], 'test patient')} with a conflict and {last['n_no_result']} without a result; "
        "neither counts as right"
    )


def variability(record: RunRecord) -> str | None:
    """Sites reported apart."""
    sites = sites_of(record, "test")
    return f"each of {len(sites)} test sites apart, before the pooled figures" if len(sites) > 1 else None


def site_differences(record: RunRecord) -> str | None:
    """The mix of classes at each site."""
    found = record.participants
    if not found or len(found.get("sites") or {}) < 2:
        return None
    return "classes by site: " + "; ".join(
        f"{site} " + " / ".join(str(cell["patients"]) for cell in classes.values())
        for site, classes in found["sites"].items()
    )


def failures(record: RunRecord) -> str | None:
    """Pictures of the worst mistakes."""
    if record.mistakes is None:
        return None
    return f"{counted(len(record.mistakes), 'worst mistake')} shown (section Worst mistakes); confusion matrices"


def technical_details(record: RunRecord) -> str | None:
    """The configuration that determines the result."""
    identity, commit = record.run.get("identity"), (record.provenance.get("code") or {}).get("commit")
    if not record.config or not identity:
        return None
    return joined(
        f"every setting in config.yaml, identity {identity[:12]}", f"commit {commit[:12]}" if commit else None
    )


def audit_trail(record: RunRecord) -> str | None:
    """The record of evaluations."""
    found = record.section("evaluations")
    if not found or not found.get("sets"):
        return None
    total = sum(len(one["lines"]) for one in found["sets"])
    lines = f"{counted(total, 'line')} in the ledger of test sets, with digests of the predictions"
    return f"(b) {lines}; (a) is for the author"
