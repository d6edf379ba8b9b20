"""The tables' definition, version by version, and the step from each version to the next."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["APPLICATION_ID", "MIGRATIONS", "Migration"]

Migration = Sequence[str]
"""SQL statements that lead from one version to the next, run in one transaction."""

APPLICATION_ID = 0x70795265
"""SQLite's application id ("pyRe"): another program's database isn't taken for one of ours."""

_VERSION_1: Migration = (
    """
    CREATE TABLE system (
        only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
        system_id TEXT NOT NULL,
        key BLOB NOT NULL,
        clean INTEGER NOT NULL,
        created_at TEXT NOT NULL,
        format INTEGER NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE peer (
        peer_system_id TEXT PRIMARY KEY,
        boot_id BLOB NOT NULL,
        attempt INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE volume (
        volume_id TEXT PRIMARY KEY,
        key BLOB NOT NULL UNIQUE,
        path BLOB NOT NULL,
        size_bytes INTEGER NOT NULL,
        owned INTEGER NOT NULL,
        identity TEXT
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE copy_row (
        pair_id TEXT NOT NULL,
        volume_id TEXT NOT NULL,
        copy_type TEXT NOT NULL,
        pair_system_id TEXT NOT NULL,
        mirror_volume_id TEXT NOT NULL,
        is_primary TEXT NOT NULL,
        status TEXT NOT NULL,
        cause TEXT,
        direction TEXT NOT NULL,
        target_consistent INTEGER NOT NULL,
        group_id TEXT,
        ack TEXT,
        chunk_bytes INTEGER NOT NULL,
        row_key BLOB NOT NULL UNIQUE,
        data_id INTEGER NOT NULL,
        epoch_start INTEGER NOT NULL,
        pending_union INTEGER NOT NULL,
        PRIMARY KEY (pair_id, volume_id)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX copy_row_by_volume ON copy_row (volume_id)",
    """
    CREATE TABLE epoch (
        volume_id TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        row_key BLOB NOT NULL UNIQUE,
        chunk_bytes INTEGER NOT NULL,
        data_id INTEGER NOT NULL,
        PRIMARY KEY (volume_id, sequence)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE generation (
        generation_id TEXT PRIMARY KEY,
        attempt_id TEXT NOT NULL,
        label TEXT NOT NULL,
        cause TEXT NOT NULL,
        state TEXT NOT NULL,
        taken_at TEXT NOT NULL,
        home TEXT NOT NULL,
        hold_ms REAL,
        queued_max_bytes INTEGER,
        remote_before TEXT NOT NULL,
        remote_during TEXT NOT NULL,
        remote_after TEXT NOT NULL,
        protected INTEGER NOT NULL,
        annotations TEXT NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE generation_member (
        generation_id TEXT NOT NULL REFERENCES generation ON DELETE CASCADE,
        position INTEGER NOT NULL,
        source TEXT NOT NULL,
        origin_system TEXT NOT NULL,
        origin_volume TEXT NOT NULL,
        svol TEXT NOT NULL,
        pair_id TEXT NOT NULL,
        PRIMARY KEY (generation_id, position)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX generation_member_by_source ON generation_member (source)",
    """
    CREATE TABLE generation_pin (
        generation_id TEXT NOT NULL REFERENCES generation ON DELETE CASCADE,
        holder TEXT NOT NULL,
        PRIMARY KEY (generation_id, holder)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE workflow (
        workflow_id TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        state TEXT NOT NULL,
        step INTEGER NOT NULL,
        request TEXT NOT NULL,
        progress TEXT NOT NULL,
        error TEXT NOT NULL,
        started_at TEXT NOT NULL,
        updated_at TEXT NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE lease (
        tree_root TEXT PRIMARY KEY,
        workflow_id TEXT NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
)

_VERSION_2: Migration = (
    "ALTER TABLE generation ADD COLUMN given_up_at TEXT",
    "ALTER TABLE peer ADD COLUMN key BLOB NOT NULL DEFAULT x''",
    """
    CREATE TABLE digest (
        generation_id TEXT NOT NULL REFERENCES generation ON DELETE CASCADE,
        source TEXT NOT NULL,
        file_key BLOB NOT NULL UNIQUE,
        done_spans INTEGER NOT NULL,
        PRIMARY KEY (generation_id, source)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE policy (
        volume_id TEXT PRIMARY KEY,
        next_svol TEXT,
        retention TEXT
    ) STRICT, WITHOUT ROWID
    """,
)
"""Digests of generations, policies, when a generation was given up, and the keys of peers."""

_VERSION_3: Migration = (
    "ALTER TABLE copy_row ADD COLUMN congestion TEXT NOT NULL DEFAULT 'block'",
    "ALTER TABLE copy_row ADD COLUMN fence_level TEXT NOT NULL DEFAULT 'never'",
    "ALTER TABLE copy_row ADD COLUMN protect TEXT NOT NULL DEFAULT 'require'",
    "ALTER TABLE copy_row ADD COLUMN overmarked INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE copy_row ADD COLUMN repaired INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE copy_row ADD COLUMN current_id INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE copy_row ADD COLUMN common_id INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE copy_row ADD COLUMN written INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE copy_row ADD COLUMN id_history BLOB NOT NULL DEFAULT x''",
    "ALTER TABLE copy_row ADD COLUMN id_age INTEGER NOT NULL DEFAULT 0",
)
"""What a remote pair's writes do without room or path; data identifiers; protective splits; rows in
which more is pending than differs."""

MIGRATIONS: Sequence[Migration] = (_VERSION_1, _VERSION_2, _VERSION_3)
"""`MIGRATIONS[n]` leads from version n to n + 1. A released step is never edited; one is added."""
