"""Every metric of every service, in one place: name, help, labels and unit.

Durations are in seconds, ages in seconds, counts in rows or calls. Labels are few and bounded: never a key or an id.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

# From a hop on one machine to a call at its default deadline and beyond.
DURATIONS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
AGES = (1, 10, 60, 600, 3_600, 21_600, 86_400, 604_800, 2_592_000)

RPC_SERVER_DURATION = Histogram(
    "rpc_server_call_duration_seconds", "Time to answer a call.", ("service", "rpc_method", "rpc_status_code"),
    buckets=DURATIONS,
)  # fmt: skip
RPC_CLIENT_DURATION = Histogram(
    "rpc_client_call_duration_seconds", "Time of a call to another service.", ("rpc_method", "rpc_status_code"),
    buckets=DURATIONS,
)  # fmt: skip
RPC_ERRORS = Counter("predictmesh_rpc_errors", "Calls that failed.", ("service", "rpc_method", "reason"))

PREDICTIONS = Histogram(
    "predictmesh_prediction_duration_seconds", "Time of a Predict call.", ("endpoint", "model_version"),
    buckets=DURATIONS,
)  # fmt: skip
PREDICTION_ERRORS = Counter("predictmesh_prediction_errors", "Predict calls that failed.", ("endpoint", "reason"))
ROW_ERRORS = Counter("predictmesh_prediction_row_errors", "Rows that failed in a call that did not.", ("endpoint",))
DEGRADATIONS = Counter(
    "predictmesh_degradations", "Predict calls answered with less than they could be.", ("endpoint", "reason")
)
SPANS_LEFT_OUT = Counter(
    "predictmesh_spans_left_out",
    "Requests that were not sampled, failed or were degraded, and left no span either: too many did at once.",
)
HOP_DURATION = Histogram("predictmesh_hop_duration_seconds", "Time of a batch in one hop.", ("hop",), buckets=DURATIONS)
BATCH_ROWS = Histogram("predictmesh_batch_rows", "Rows that travelled together.", ("hop",), buckets=ROWS)
ADMISSION_LIMIT = Gauge(
    "predictmesh_admission_limit", "Predict calls that may be under way at normal priority, as of now."
)
ADMISSION_IN_FLIGHT = Gauge("predictmesh_admission_in_flight", "Predict calls under way.")
SHED = Counter(
    "predictmesh_shed", "Predict calls refused for want of room, by the priority they came with.", ("priority",)
)
QUEUE_ROWS = Gauge("predictmesh_queue_rows", "Rows waiting for a batch to leave.", ("model", "model_version"))
NODE_ROWS = Counter(
    "predictmesh_node_rows",
    "Rows at a node of a composed version, by what became of them: computed, skipped, defaulted, left_out or failed.",
    ("model", "model_version", "node", "state"),
)
NODE_DURATION = Histogram(
    "predictmesh_node_duration_seconds", "Time of a batch at a node of a composed version.",
    ("model", "model_version", "node"), buckets=DURATIONS,
)  # fmt: skip
FEATURE_AGE = Histogram(
    "predictmesh_feature_age_seconds", "Oldest age of a view in an answer.", ("view",), buckets=AGES
)
PREDICTIONS_WAITING = Gauge(
    "predictmesh_predictions_waiting", "Predictions that wait to be kept by the registry for their outcomes."
)
PREDICTIONS_LOST = Counter(
    "predictmesh_predictions_lost", "Sampled predictions that were not kept for their outcomes.", ("reason",)
)
FEATURES_LOST = Counter(
    "predictmesh_features_lost", "Predictions kept without their captured features: too large, or too many waited."
)
SHADOW_REQUESTS = Counter(
    "predictmesh_shadow_requests", "Requests sampled for a shadow, by what became of them.", ("endpoint", "result")
)
FALLBACK_ROWS = Counter(
    "predictmesh_fallback_rows",
    "Rows that the route's version failed, by the step of the fallback ladder that answered them, or none.",
    ("endpoint", "step"),
)
LAST_ANSWERS = Gauge("predictmesh_last_answers", "Rows whose last answers are remembered for fallback ladders.")
LAST_ANSWER_BYTES = Gauge("predictmesh_last_answer_bytes", "Memory that they take, about.")
BREAKER_OPEN = Gauge(
    "predictmesh_breaker_open", "1 while the circuit breaker of a replica keeps calls from it.", ("hop", "replica")
)
BREAKER_OPENED = Counter(
    "predictmesh_breaker_opened", "Times that the circuit breaker of a replica opened.", ("hop", "replica")
)
RETRIES = Counter("predictmesh_retries", "Calls made again.", ("hop",))
HEDGES = Counter("predictmesh_hedges", "Calls also made of a second replica, since the first was slow.", ("hop",))
HEDGES_WON = Counter("predictmesh_hedges_won", "Those of them that answered before the first did.", ("hop",))
SNAPSHOT_REVISION = Gauge("predictmesh_snapshot_revision", "Revision of the definitions in use.", ("service",))
REGISTRY_REACHABLE = Gauge("predictmesh_registry_reachable", "1 while the registry answers the watch.", ("service",))
CERTIFICATE_NOT_BEFORE = Gauge(
    "predictmesh_certificate_not_before_timestamp_seconds", "When the certificate in use began to hold.", ("service",)
)
CERTIFICATE_NOT_AFTER = Gauge(
    "predictmesh_certificate_not_after_timestamp_seconds", "When the certificate in use ends.", ("service",)
)
CERTIFICATE_RELOAD_FAILURES = Counter(
    "predictmesh_certificate_reload_failures",
    "Certificate files that could not be used when they had changed; the certificate before is.",
    ("service",),
)
ACCESS_REFUSALS = Counter(
    "predictmesh_access_refusals", "Calls refused for who called, or for want of knowing it.", ("service", "reason")
)
ACCESS_RELOAD_FAILURES = Counter(
    "predictmesh_access_reload_failures",
    "Access files that could not be used when they had changed; the one before holds.",
    ("service",),
)

# The model service counts by itself; these are the names under which its counters are collected.
MODEL_CALLS = "predictmesh_model_calls"
MODEL_CALL_ERRORS = "predictmesh_model_call_errors"
MODEL_ROWS = "predictmesh_model_rows"
MODEL_ROWS_REFUSED = "predictmesh_model_rows_refused"
MODEL_ROWS_INVALID = "predictmesh_model_rows_invalid"
MODEL_QUEUE_SECONDS = "predictmesh_model_queue_seconds"
MODEL_COMPUTE_SECONDS = "predictmesh_model_compute_seconds"
MODEL_BATCH_ROWS = "predictmesh_model_batch_rows"
MODEL_BATCH_ERRORS = "predictmesh_model_batch_errors"
MODEL_BATCH_FIXED_COST = "predictmesh_model_batch_fixed_cost_seconds"
MODEL_BATCH_ROW_COST = "predictmesh_model_batch_row_cost_seconds"
MODEL_BREAKER_STATE = "predictmesh_model_breaker_state"
MODEL_QUEUE_ROWS = "predictmesh_model_queue_rows"
MODEL_ROWS_IN_FLIGHT = "predictmesh_model_rows_in_flight"
MODEL_STATE = "predictmesh_model_state"
TRITON_UP = "predictmesh_triton_up"

FEATURE_VALUES_READ = Counter("predictmesh_feature_values_read", "Rows of feature views that were read.", ("view",))
FEATURE_VALUES_NOT_FRESH = Counter(
    "predictmesh_feature_values_not_fresh", "Rows of feature views read that were not fresh.", ("view", "state")
)
FEATURE_VALUES_UNREACHED = Counter(
    "predictmesh_feature_values_unreached",
    "Rows of feature views that the store did not answer for: memory or defaults did, or nothing.",
    ("view",),
)
FEATURE_LAST_READ_BYTES = Gauge(
    "predictmesh_feature_last_read_bytes",
    "Memory that rows take which are remembered for when the store is away, about.",
)
FEATURE_CORRUPT_ROWS = Counter(
    "predictmesh_feature_corrupt_rows", "Stored rows that cannot be decoded.", ("view", "cause")
)
FEATURE_WRITTEN_ROWS = Counter("predictmesh_feature_written_rows", "Rows that the store has taken.", ("view",))
FEATURE_SUPERSEDED_ROWS = Counter(
    "predictmesh_feature_superseded_rows", "Rows left alone because the store holds a later event.", ("view",)
)
FEATURE_REJECTED_ROWS = Counter("predictmesh_feature_rejected_rows", "Rows that could not be written.", ("view",))

KEPT_PREDICTIONS = Counter("predictmesh_kept_predictions", "Predictions that were kept for their outcomes.")
FORGOTTEN_PREDICTIONS = Counter(
    "predictmesh_forgotten_predictions", "Predictions kept no more: expired, or for want of room (full).", ("cause",)
)
STORED_PREDICTIONS = Gauge("predictmesh_stored_predictions", "Predictions that outcomes may come to.")
OUTCOMES = Counter("predictmesh_outcomes", "Outcomes, by what became of them or why they were refused.", ("result",))
RELEASE_PERCENT = Gauge(
    "predictmesh_release_percent",
    "Share of the requests that the last release of an endpoint gives to its candidate.",
    ("endpoint", "model_version", "state"),
)
RELEASE_MOVED = Gauge(
    "predictmesh_release_moved_timestamp_seconds",
    "When the last release of an endpoint came to the step and state that it is in, in seconds since the epoch.",
    ("endpoint", "model_version", "state"),
)
