-- The record: one table for each kind of row that a stage leaves behind.
--
-- Every row carries a deterministic id and every table is a ReplacingMergeTree ordered by it, so that a row told twice
-- is one row once merged; readers that must be exact say FINAL or take one row an id.
-- Partitions follow processing time, never event time: a block of historical events spans decades of event time
-- but arrives within a minute, and must not break into a part for each year.
-- Rows are looked up one by one, by ids that are as good as random: each look-up reads a granule of every column.
-- Hence small granules where rows are few, and compact parts, whose columns lie together in one file, until a part is
-- large. Tables that every event writes to have larger granules, and cheaper codecs where the disk can bear it: half of
-- what an insert and its merges cost is compressing small pieces.

CREATE TABLE IF NOT EXISTS events (
    id String CODEC(LZ4),
    source LowCardinality(String),
    source_id String CODEC(LZ4),
    kind LowCardinality(String),
    nature LowCardinality(Nullable(String)),
    number Nullable(String) CODEC(LZ4),
    category LowCardinality(String),
    matter LowCardinality(Nullable(String)),
    occurred_at DateTime64(3, 'UTC') CODEC(Delta, LZ4),
    received_at DateTime64(3, 'UTC') CODEC(Delta, LZ4),
    enterprise Nullable(String) CODEC(LZ4),
    enterprise_name Nullable(String) CODEC(LZ4),
    region LowCardinality(Nullable(String)),
    industry LowCardinality(Nullable(String)),
    product LowCardinality(Nullable(String)),
    platform LowCardinality(Nullable(String)),
    channel LowCardinality(Nullable(String)),
    address Nullable(String) CODEC(LZ4),
    latitude Nullable(Float64),
    longitude Nullable(Float64),
    amount_fen Nullable(Int64),
    result LowCardinality(Nullable(String)),
    severity Nullable(Int64),
    critical_count Nullable(Int64),
    serious_count Nullable(Int64),
    minor_count Nullable(Int64),
    penalty_fen Nullable(Int64),
    inspection Nullable(String) CODEC(LZ4),
    right LowCardinality(Nullable(String)),
    outcome LowCardinality(Nullable(String)),
    compensation_fen Nullable(Int64),
    status LowCardinality(Nullable(String)),
    demand Nullable(String) CODEC(LZ4),
    reporter Nullable(String) CODEC(LZ4),
    tags Array(LowCardinality(String)),
    historical Bool,
    content_hash String CODEC(LZ4),
    INDEX by_number number TYPE bloom_filter(0.001) GRANULARITY 16,
    INDEX by_source_id source_id TYPE bloom_filter(0.001) GRANULARITY 16,
    INDEX by_enterprise enterprise TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_occurred_at occurred_at TYPE minmax GRANULARITY 4
) ENGINE = ReplacingMergeTree
PARTITION BY toYear(received_at)
ORDER BY id
SETTINGS index_granularity = 512, min_bytes_for_wide_part = 1073741824,
    non_replicated_deduplication_window = 1000;

-- Personal fields, once and apart: whoever may read events may still not read these.
CREATE TABLE IF NOT EXISTS personal (
    event String CODEC(LZ4),
    occurred_at DateTime64(3, 'UTC') CODEC(Delta, LZ4),
    name Nullable(String) CODEC(LZ4),
    phone Nullable(String) CODEC(LZ4),
    id_card Nullable(String) CODEC(LZ4),
    address Nullable(String) CODEC(LZ4),
    text Nullable(String) CODEC(LZ4)
) ENGINE = ReplacingMergeTree
ORDER BY event
SETTINGS index_granularity = 1024, min_bytes_for_wide_part = 1073741824,
    non_replicated_deduplication_window = 1000;

-- Ordered for the fold of a restarting stage: one rule version from some event time on.
CREATE TABLE IF NOT EXISTS facts (
    id String CODEC(LZ4),
    rule LowCardinality(String),
    version Int64,
    key String CODEC(LZ4),
    time DateTime64(3, 'UTC') CODEC(Delta, LZ4),
    event String CODEC(LZ4),
    received_at DateTime64(3, 'UTC') CODEC(Delta, LZ4),
    number Nullable(Float64),
    member Nullable(String) CODEC(LZ4),
    enterprise Nullable(String) CODEC(LZ4),
    enterprise_name Nullable(String) CODEC(LZ4),
    region LowCardinality(Nullable(String)),
    industry LowCardinality(Nullable(String)),
    category LowCardinality(String),
    carried Nullable(String) CODEC(LZ4),
    INDEX by_id id TYPE bloom_filter(0.001) GRANULARITY 4,
    INDEX by_event event TYPE bloom_filter(0.001) GRANULARITY 4,
    INDEX by_key key TYPE bloom_filter(0.01) GRANULARITY 1
) ENGINE = ReplacingMergeTree
PARTITION BY toYear(received_at)
ORDER BY (rule, version, time, id)
SETTINGS index_granularity = 1024, min_bytes_for_wide_part = 1073741824,
    non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS alerts (
    id String CODEC(ZSTD(1)),
    rule LowCardinality(String),
    version Int64,
    rule_hash LowCardinality(String),
    key String CODEC(ZSTD(1)),
    episode DateTime64(3, 'UTC'),
    episode_end DateTime64(3, 'UTC'),
    severity LowCardinality(String),
    title_zh String CODEC(ZSTD(1)),
    title_en String CODEC(ZSTD(1)),
    time DateTime64(3, 'UTC'),
    window_start DateTime64(3, 'UTC'),
    raised_at DateTime64(3, 'UTC'),
    received_at DateTime64(3, 'UTC'),
    values Map(String, Float64),
    thresholds Map(String, Float64),
    events Array(String) CODEC(ZSTD(1)),
    event_count Int64,
    enterprise Nullable(String) CODEC(ZSTD(1)),
    enterprise_name Nullable(String) CODEC(ZSTD(1)),
    region LowCardinality(Nullable(String)),
    industry LowCardinality(Nullable(String)),
    category LowCardinality(String),
    case_key Nullable(String) CODEC(ZSTD(1)),
    lead LowCardinality(Nullable(String)),
    joint Array(LowCardinality(String)),
    clock LowCardinality(Nullable(String)),
    legal_basis String CODEC(ZSTD(1)),
    runbook String CODEC(ZSTD(1)),
    notify Bool,
    credit_points Int64,
    INDEX by_events events TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_enterprise enterprise TYPE bloom_filter(0.01) GRANULARITY 1
) ENGINE = ReplacingMergeTree
ORDER BY id
SETTINGS index_granularity = 128, min_bytes_for_wide_part = 1073741824,
    non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS cases (
    id String CODEC(ZSTD(1)),
    case_key String CODEC(ZSTD(1)),
    ordinal Int64,
    state LowCardinality(String),
    severity LowCardinality(String),
    title_zh String CODEC(ZSTD(1)),
    title_en String CODEC(ZSTD(1)),
    lead LowCardinality(String),
    enterprise Nullable(String) CODEC(ZSTD(1)),
    enterprise_name Nullable(String) CODEC(ZSTD(1)),
    region LowCardinality(Nullable(String)),
    opened_at DateTime64(3, 'UTC'),
    closed_at Nullable(DateTime64(3, 'UTC')),
    clock LowCardinality(Nullable(String)),
    clock_source LowCardinality(String),
    due_at Nullable(DateTime64(3, 'UTC')),
    alerts Array(String) CODEC(ZSTD(1)),
    alert_count Int64,
    revision UInt64,
    INDEX by_alerts alerts TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_enterprise enterprise TYPE bloom_filter(0.01) GRANULARITY 1
) ENGINE = ReplacingMergeTree(revision)
ORDER BY id
SETTINGS index_granularity = 128, min_bytes_for_wide_part = 1073741824,
    non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS tasks (
    id String CODEC(ZSTD(1)),
    `case` String CODEC(ZSTD(1)),
    case_key String CODEC(ZSTD(1)),
    department LowCardinality(String),
    role LowCardinality(String),
    state LowCardinality(String),
    assigned_at DateTime64(3, 'UTC'),
    accepted_at Nullable(DateTime64(3, 'UTC')),
    reported_at Nullable(DateTime64(3, 'UTC')),
    closed_at Nullable(DateTime64(3, 'UTC')),
    due_at Nullable(DateTime64(3, 'UTC')),
    overdue Bool,
    actor String CODEC(ZSTD(1)),
    note String CODEC(ZSTD(1)),
    revision UInt64,
    INDEX by_case `case` TYPE bloom_filter(0.001) GRANULARITY 1
) ENGINE = ReplacingMergeTree(revision)
ORDER BY id
SETTINGS index_granularity = 128, min_bytes_for_wide_part = 1073741824,
    non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS deliveries (
    id String CODEC(ZSTD(1)),
    notice String CODEC(ZSTD(1)),
    receiver LowCardinality(String),
    department LowCardinality(String),
    kind LowCardinality(String),
    about String CODEC(ZSTD(1)),
    `case` Nullable(String) CODEC(ZSTD(1)),
    state LowCardinality(String),
    attempt Int64,
    due_at DateTime64(3, 'UTC'),
    created_at DateTime64(3, 'UTC'),
    updated_at DateTime64(3, 'UTC'),
    received_at DateTime64(3, 'UTC'),
    last_status Int64,
    last_detail String CODEC(ZSTD(1)),
    body String CODEC(ZSTD(3)),
    revision UInt64,
    INDEX by_about about TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_case `case` TYPE bloom_filter(0.001) GRANULARITY 1
) ENGINE = ReplacingMergeTree(revision)
ORDER BY id
SETTINGS index_granularity = 128, min_bytes_for_wide_part = 1073741824,
    non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS quarantine (
    id String CODEC(ZSTD(1)),
    receipt String CODEC(ZSTD(1)),
    topic LowCardinality(String),
    partition Int64,
    offset Int64,
    at DateTime64(3, 'UTC'),
    code LowCardinality(String),
    field LowCardinality(String),
    message String CODEC(ZSTD(1)),
    raw String CODEC(ZSTD(3)),
    content_type LowCardinality(String),
    submission String CODEC(ZSTD(1)),
    state LowCardinality(String),
    revision UInt64,
    INDEX by_receipt receipt TYPE bloom_filter(0.001) GRANULARITY 1
) ENGINE = ReplacingMergeTree(revision)
ORDER BY id
SETTINGS index_granularity = 128, min_bytes_for_wide_part = 1073741824,
    non_replicated_deduplication_window = 1000;

-- Ordered so that the history of one subject lies together. The steps of an event link to nothing but its facts: who
-- looks for a step by its links skips them, most of the table, by their ids.
CREATE TABLE IF NOT EXISTS trace (
    id String CODEC(ZSTD(1)),
    subject String CODEC(ZSTD(1)),
    at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    stage UInt8,
    what LowCardinality(String),
    actor LowCardinality(String),
    receipt String CODEC(ZSTD(1)),
    submission String CODEC(ZSTD(1)),
    links Array(String) CODEC(ZSTD(1)),
    detail String CODEC(ZSTD(1)),
    INDEX by_links links TYPE bloom_filter(0.001) GRANULARITY 4,
    INDEX by_receipt receipt TYPE bloom_filter(0.001) GRANULARITY 4,
    INDEX by_submission submission TYPE bloom_filter(0.001) GRANULARITY 4,
    INDEX by_at at TYPE minmax GRANULARITY 1
) ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (subject, id)
SETTINGS index_granularity = 1024, min_bytes_for_wide_part = 1073741824,
    non_replicated_deduplication_window = 1000;
