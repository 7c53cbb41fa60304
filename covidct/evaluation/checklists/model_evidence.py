"""What a run folder shows about its network and how it was trained."""

from __future__ import annotations

from collections.abc import Mapping

from covidct.evaluation.checklists.wording import joined
from covidct.evaluation.record import RunRecord


def model(record: RunRecord) -> str | None:
    """Architecture and what of it is trained."""
    name, total = record.get("model", "name"), record.get("model", "parameters")
    if not name or not total:
        return None
    trained = record.get("model", "trainable_parameters")
    return joined(str(name), f"{total:,} weights", f"{trained:,} of them trained" if trained is not None else None)


def software(record: RunRecord) -> str | None:
    """Packages and commit."""
    packages = (record.provenance.get("environment") or {}).get("packages") or {}
    commit = (record.provenance.get("code") or {}).get("commit")
    if not packages:
        return None
    versions = ", ".join(f"{name} {version}" for name, version in packages.items())
    return joined(versions, f"commit {str(commit)[:12]}" if commit else None)


def initial_weights(record: RunRecord) -> str | None:
    """Where the starting weights come from."""
    found = record.get("weights") or {}
    if not found.get("source"):
        return None
    if found.get("random_start"):
        return "random start: no pretrained weights"
    digest = found.get("sha256")
    return joined(f"{found['source']} {found.get('name') or ''}".strip(), f"SHA-256 {digest[:12]}" if digest else None)


def training(record: RunRecord) -> str | None:
    """Optimizer phases, epochs and augmentation."""
    phases = record.get("recipe", "phases")
    if not phases:
        return None
    recipe = ", then ".join(f"{phase['optimizer']} at {phase['lr']:g}" for phase in phases)
    epochs = f"{len(record.history)} epochs" if record.history is not None else None
    augment = record.get("data", "augment")
    used = f"augmentation: {', '.join(sorted(augment))}" if isinstance(augment, Mapping) and augment else None
    return joined(recipe, epochs, f"batches of {record.get('data', 'batch_size')}"
                   if record.get("data", "batch_size") else None, used)  # fmt: skip


def selection(record: RunRecord) -> str | None:
    """The checkpoint, chosen by validation."""
    epoch, best = record.get("best_epoch"), record.run.get("best")
    if epoch is None or not best:
        return None
    return f"checkpoint of epoch {epoch}, the best by {', '.join(best)} of validation"


def no_ensemble(record: RunRecord) -> str | None:
    """One network."""
    return "one network, no ensemble" if record.get("model", "name") and record.get("best_epoch") is not None else None


def output(record: RunRecord) -> str | None:
    """What comes out, and which rule and thresholds make calls of it."""
    point, rule = record.section("operating_point"), record.summary.get("rule") or {}
    outs = f"a probability for each of {len(record.scheme)} classes and slice"
    if point:
        return f"{outs}; patient rule and thresholds chosen on validation, digest {str(point.get('digest'))[:12]}"
    if rule.get("name"):
        threshold = rule.get("slice_threshold")
        return f"{outs}; rule {rule['name']}, threshold {'none' if threshold is None else f'{threshold:g}'}"
    return None


def index_test(record: RunRecord) -> str | None:
    """The model as the index test."""
    if not model(record) or not training(record):
        return None
    return joined(
        f"(a) {model(record)}", f"(b) {training(record)}", f"(c) {output(record)}" if output(record) else None
    )


def full_model(record: RunRecord) -> str | None:
    """The weights that were tested."""
    digest = record.predictions.get("weights_digest")
    return f"weights with the digest {digest[:12]}, kept in the run folder" if digest else None


def class_imbalance(record: RunRecord) -> str | None:
    """Whether classes were balanced in training."""
    if "balance" not in (record.config.get("data") or {}):
        return None
    balance = record.config["data"]["balance"]
    return f"classes balanced by {balance}" if balance not in (None, "none") else "classes were not balanced"
