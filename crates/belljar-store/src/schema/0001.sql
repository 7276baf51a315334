CREATE TABLE meta (
    key   TEXT PRIMARY KEY NOT NULL,
    value INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    stack      TEXT NOT NULL,
    stack_file BLOB NOT NULL,
    origin     BLOB NOT NULL,
    owner_uid  INTEGER NOT NULL,
    host_pid   INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    state      TEXT NOT NULL,
    ended_ms   INTEGER,
    kept       INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX sessions_by_name ON sessions (name);

CREATE TABLE runs (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    stack      TEXT NOT NULL,
    origin     BLOB NOT NULL,
    started_ms INTEGER NOT NULL,
    ended_ms   INTEGER,
    summary    TEXT
) STRICT;
