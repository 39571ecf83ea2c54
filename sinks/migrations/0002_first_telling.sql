-- A step that is told again, as after a crash, has the same id and a later time. When something was done must not
-- change because of that: each telling stays, and readers take the earliest one of an id. What is told again with the
-- same time is one row once merged, as before.
-- Both statements change what is known of the table and none of its data, however large it is. A column can join the
-- key only while it has no default; rows of before, and those of older versions, then have theirs from it.

ALTER TABLE trace
    ADD COLUMN IF NOT EXISTS told DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    MODIFY ORDER BY (subject, id, told);

ALTER TABLE trace MODIFY COLUMN IF EXISTS told DEFAULT at;
