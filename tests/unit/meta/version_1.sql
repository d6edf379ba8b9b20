-- The tables of version 1 as pyrep 0.1.0 made them, with a row in each. Never edited.
PRAGMA application_id = 1886999141;
PRAGMA user_version = 1;

    CREATE TABLE system (
        only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
        system_id TEXT NOT NULL,
        key BLOB NOT NULL,
        clean INTEGER NOT NULL,
        created_at TEXT NOT NULL,
        format INTEGER NOT NULL
    ) STRICT
    ;

    CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID
    ;

    CREATE TABLE peer (
        peer_system_id TEXT PRIMARY KEY,
        boot_id BLOB NOT NULL,
        attempt INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    ;

    CREATE TABLE volume (
        volume_id TEXT PRIMARY KEY,
        key BLOB NOT NULL UNIQUE,
        path BLOB NOT NULL,
        size_bytes INTEGER NOT NULL,
        owned INTEGER NOT NULL,
        identity TEXT
    ) STRICT, WITHOUT ROWID
    ;

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
    ;
CREATE INDEX copy_row_by_volume ON copy_row (volume_id);

    CREATE TABLE epoch (
        volume_id TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        row_key BLOB NOT NULL UNIQUE,
        chunk_bytes INTEGER NOT NULL,
        data_id INTEGER NOT NULL,
        PRIMARY KEY (volume_id, sequence)
    ) STRICT, WITHOUT ROWID
    ;

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
    ;

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
    ;
CREATE INDEX generation_member_by_source ON generation_member (source);

    CREATE TABLE generation_pin (
        generation_id TEXT NOT NULL REFERENCES generation ON DELETE CASCADE,
        holder TEXT NOT NULL,
        PRIMARY KEY (generation_id, holder)
    ) STRICT, WITHOUT ROWID
    ;

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
    ;

    CREATE TABLE lease (
        tree_root TEXT PRIMARY KEY,
        workflow_id TEXT NOT NULL
    ) STRICT, WITHOUT ROWID
    ;

INSERT INTO system VALUES (1, '100b', x'000102030405060708090a0b0c0d0e0f', 1, '2026-01-02T03:04:05.000006+00:00', 1);
INSERT INTO counter VALUES ('pair', 2);
INSERT INTO peer VALUES ('100a', x'101112131415161718191a1b1c1d1e1f', 7);
INSERT INTO volume VALUES ('105b', x'202122232425262728292a2b2c2d2e2f', CAST('volumes/105b.img' AS BLOB), 1048576, 1, NULL);
INSERT INTO volume VALUES ('106b', x'303132333435363738393a3b3c3d3e3f', CAST('volumes/106b.img' AS BLOB), 1048576, 1, NULL);
INSERT INTO copy_row VALUES ('100b.1', '105b', 'Local Copy', '100b', '106b', 'YES', 'SPLIT', 'requested', 'forward', 1, NULL, NULL, 8192, x'404142434445464748494a4b4c4d4e4f', 5, 1, 0);
INSERT INTO copy_row VALUES ('100b.1', '106b', 'Local Copy', '100b', '105b', 'NO', 'SPLIT', 'requested', 'forward', 1, NULL, NULL, 8192, x'505152535455565758595a5b5c5d5e5f', 5, 0, 0);
INSERT INTO epoch VALUES ('105b', 1, x'606162636465666768696a6b6c6d6e6f', 8192, 5);
INSERT INTO generation VALUES ('g1', 'a1', '"evening"', 'backup', 'complete', '2026-01-02T03:04:05.000006+00:00', '100b', 1.5, 4096, '[]', '[]', '[]', 1, '[["by", "ann"]]');
INSERT INTO generation_member VALUES ('g1', 0, '105b', '100b', '105b', '106b', '100b.1');
INSERT INTO generation_pin VALUES ('g1', 'w1');
INSERT INTO workflow VALUES ('w1', 'backup', 'done', 470, '{}', '{}', '', '2026-01-02T03:04:05.000006+00:00', '2026-01-02T03:04:05.000006+00:00');
INSERT INTO lease VALUES ('105b', 'w1');
