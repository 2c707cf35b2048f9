-- What the readers are given, as user root. Between two FLUSH ALL lies one file of each partition.
CREATE NAMESPACE app;
CREATE USER TABLE app.notes (id BIGINT PRIMARY KEY, text TEXT, done BOOLEAN);
CREATE SHARED TABLE app.plans (name TEXT, year SMALLINT, price DECIMAL(20,4), PRIMARY KEY (year, name));
CREATE USER TABLE app.types (
  id INT PRIMARY KEY, bo BOOLEAN, si SMALLINT, it INT, bi BIGINT, fl FLOAT, db DOUBLE,
  d9 DECIMAL(9,2), d18 DECIMAL(18,6), d38 DECIMAL(38,10), tx TEXT, bin BYTES, da DATE, ti TIME, ts TIMESTAMP,
  js JSON, uu UUID, li INT[], lt TEXT[], ld DECIMAL(20,1)[], lb BOOLEAN[], em EMBEDDING(3));
CREATE USER TABLE app.items (id INT PRIMARY KEY, name TEXT NOT NULL, price DECIMAL(8,2), n SMALLINT, old TEXT, list SMALLINT[]);
CREATE USER TABLE app.visits (id BIGINT PRIMARY KEY, page TEXT) WITH (pack = '2');
