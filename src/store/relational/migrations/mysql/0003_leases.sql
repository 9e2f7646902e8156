-- Who works on what at the moment. A lease that is not renewed ends by itself; times are Unix seconds by the database's clock.
CREATE TABLE IF NOT EXISTS msght_leases (
    name VARCHAR(255) NOT NULL PRIMARY KEY,
    holder VARCHAR(255) NOT NULL,
    since BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci;
