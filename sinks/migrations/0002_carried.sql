-- What facts carry for rules that look at whole facts: which of their conditions hold, and values of fields.
ALTER TABLE facts ADD COLUMN IF NOT EXISTS carried Nullable(String) CODEC(ZSTD(1));

-- Points by which an alert lowers the credit of an enterprise.
ALTER TABLE alerts ADD COLUMN IF NOT EXISTS credit_points Int64;
