-- Who works on what. How far the work has come is not here: the stream's own messages on the bus say it, and
-- two records of one fact can disagree.
CREATE TABLE streams (
    id          text PRIMARY KEY DEFAULT gen_random_uuid()::text,
    user_id     bigint NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    chunks      integer NOT NULL CHECK (chunks BETWEEN 1 AND 10000),
    interval_ms integer NOT NULL CHECK (interval_ms BETWEEN 0 AND 60000),
    -- The incarnation of a pod, `api-1/5f3a`; null when a pod that shut down has handed it over.
    owner       text,
    -- Grows by one whenever the owner changes. It decides who wins a take-over and fences off the loser.
    epoch       bigint NOT NULL DEFAULT 1,
    done        boolean NOT NULL DEFAULT false
);

-- Every pod looks for orphans several times a second.
CREATE INDEX streams_unfinished ON streams (id) WHERE NOT done;
