CREATE TABLE users (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- What a request can show to say who sends it: the cookie of a session, or an API key. Only the digest of the
-- secret is kept, so that a stolen table opens nothing. Revoking one is deleting its row.
CREATE TABLE credentials (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id    bigint NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind       text NOT NULL CHECK (kind IN ('session', 'api-key')),
    digest     bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);
