CREATE TABLE visits (at timestamptz NOT NULL DEFAULT now(), path text NOT NULL);
