-- Git's SHA-256 repositories have ids of 64 digits, in commits and in the events that name one.
-- Every statement can be repeated: a migration that was cut off is run again.

ALTER TABLE commits MODIFY sha VARCHAR(64) COLLATE /*!80000 utf8mb4_0900_bin*/ /*M! utf8mb4_nopad_bin*/ NOT NULL;

ALTER TABLE issue_events MODIFY action_specific VARCHAR(64);
