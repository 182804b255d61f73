BEGIN TRANSACTION;
CREATE TABLE greenroom_schema (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT greenroom_schema_pkc PRIMARY KEY (version_num)
);
INSERT INTO "greenroom_schema" VALUES('0001');
CREATE TABLE ledger (
	id INTEGER NOT NULL, 
	steam_id BIGINT NOT NULL, 
	transaction_id VARCHAR(128), 
	deltas JSON NOT NULL, 
	reason VARCHAR(256), 
	server_id VARCHAR(64), 
	version BIGINT NOT NULL, 
	previous_id BIGINT, 
	at_ms BIGINT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "ledger" VALUES(1,76561197960265729,'srv7-000001','{"exp":250}','map_end','srv7',1,NULL,1770000000000);
INSERT INTO "ledger" VALUES(2,76561197960265729,NULL,'{"cash":100}',NULL,NULL,2,1,1770000000000);
INSERT INTO "ledger" VALUES(3,76561197960265730,'srv7-000002','{"exp":2147483647}','disconnect','srv7',1,NULL,1770000000000);
CREATE TABLE player_stats (
	steam_id INTEGER NOT NULL, 
	version BIGINT NOT NULL, 
	totals JSON NOT NULL, 
	last_id BIGINT, 
	updated_ms BIGINT NOT NULL, 
	PRIMARY KEY (steam_id)
);
INSERT INTO "player_stats" VALUES(76561197960265729,2,'{"exp":250,"cash":100}',2,1770000000000);
INSERT INTO "player_stats" VALUES(76561197960265730,1,'{"exp":9007199254740993}',3,1770000000000);
CREATE UNIQUE INDEX ix_ledger_transaction_id_steam_id ON ledger (transaction_id, steam_id);
COMMIT;
