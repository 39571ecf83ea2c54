-- What facts carry for rules that look at whole facts: which of their conditions hold, and values of fields.
ALTER TABLE facts ADD COLUMN IF NOT EXISTS carried Nullable(String) CODEC(ZSTD(1));
