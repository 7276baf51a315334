-- Ports of the host that sessions in shared isolation have. A lease ends with its session's record, and before
-- that with its life: a session that is over has none, whatever stands here.
CREATE TABLE ports (
    port    INTEGER PRIMARY KEY NOT NULL,
    session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE
) STRICT;

CREATE INDEX ports_by_session ON ports (session);
