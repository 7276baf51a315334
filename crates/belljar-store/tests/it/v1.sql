PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE meta (
    key   TEXT PRIMARY KEY NOT NULL,
    value INTEGER NOT NULL
) STRICT;
INSERT INTO meta VALUES('schema_version',1);
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
INSERT INTO sessions VALUES(1,'k3f9-x2ab','pods','pods',X'2f7372762f706f64732f62656c6c6a61722e746f6d6c',X'2f7372762f706f6473',1000,4711,1700000000000,'ended',1700000005000,1);
INSERT INTO sessions VALUES(3,'zzzz-zzz1','devnet','devnet',X'2f7372762ffe2f62656c6c6a61722e746f6d6c',X'2f7372762ffe',1000,4712,1700000010000,'ready',NULL,0);
CREATE TABLE runs (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    stack      TEXT NOT NULL,
    origin     BLOB NOT NULL,
    started_ms INTEGER NOT NULL,
    ended_ms   INTEGER,
    summary    TEXT
) STRICT;
INSERT INTO runs VALUES(1,'20231114-a1b2','pods',X'2f7372762f706f6473',1700000001000,1700000004000,'2 passed');
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('sessions',3);
INSERT INTO sqlite_sequence VALUES('runs',1);
CREATE INDEX sessions_by_name ON sessions (name);
COMMIT;
