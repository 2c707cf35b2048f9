"""Runs the recipes of docs/reading-the-bucket.md, and readers over every type.

In the current folder are the data directory of a stopped server and, for every table, what
the server itself answered. Arguments: the page, and the file with the names of what is missing.
"""
import base64, datetime, decimal, glob, importlib, json, math, os, re, struct, sys, uuid

page, missing = sys.argv[1], sys.argv[2]
failures = ran = 0


def canon(typ, v):
    """A value as the server's JSON has it, whatever a reader makes of it."""
    if hasattr(v, "as_py"):
        v = v.as_py()
    if v is None or v.__class__.__name__ in ("NAType", "NaTType"):
        return None
    if typ.endswith("]"):
        inner = typ[: typ.rindex("[")]
        return [canon(inner, x) for x in v]
    if typ == "BOOLEAN":
        return bool(v)
    if typ in ("SMALLINT", "INTEGER", "BIGINT"):
        return int(v)
    if typ in ("FLOAT", "DOUBLE"):
        v = float(v)
        if typ == "FLOAT":
            v = struct.unpack("f", struct.pack("f", v))[0]
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(v, "NaN" if v != v else v)
    if typ.startswith("DECIMAL"):
        return format(decimal.Decimal(v), "f")
    if typ == "JSON":
        return json.loads(v) if isinstance(v, (str, bytes)) else v
    if typ == "UUID":
        return str(uuid.UUID(bytes=bytes(v)) if isinstance(v, (bytes, bytearray)) else uuid.UUID(str(v)))
    if typ == "BLOB":
        return v if isinstance(v, str) else base64.b64encode(bytes(v)).decode()
    if isinstance(v, datetime.datetime):
        return v.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(v, datetime.date):
        return v.isoformat()
    if isinstance(v, datetime.time):
        return v.strftime("%H:%M:%S.%f")
    return str(v)


class Table:
    """What the server says of a table."""

    def __init__(self, name):
        columns = json.load(open(f"{name}.columns.json"))
        self.types = {c["column_name"]: c["column_type"] for c in columns}
        self.rows = [self.row(r, True) for r in json.load(open(f"{name}.json"))]

    def row(self, r, server=False):
        typed = lambda t, v: v if server and (t == "JSON" or t == "BLOB") else canon(t, v)
        return {c: typed(t, r[c]) for c, t in self.types.items()}

    def same(self, what, rows):
        global failures, ran
        ran += 1
        try:
            got = [self.row(r) for r in rows]
        except Exception as e:
            got = repr(e)
        key = lambda r: json.dumps(r, sort_keys=True)
        if isinstance(got, str) or sorted(map(key, got)) != sorted(map(key, self.rows)):
            failures += 1
            print(f"FAIL {what}\n  the server: {self.rows}\n  the reader: {got}")
        else:
            print(f"ok   {what}: {len(got)} rows")


def reader(what, module):
    """The module, None if it is not there."""
    try:
        return importlib.import_module(module)
    except ImportError as e:
        print(f"---- {what}: {e}")
        with open(missing, "a") as f:
            f.write(module + "\n")


def attempt(what, f):
    global failures
    try:
        f()
    except Exception as e:
        failures += 1
        print(f"FAIL {what}: {type(e).__name__}: {str(e)[:2000]}")


recipes = {}
for block in re.finditer(r"^```(sql|python) (\S+)\n(.*?)^```$", open(page).read(), re.M | re.S):
    recipes[block[2]] = block[3]


def python(name):
    scope = {}
    exec(recipes.pop(name), scope)
    return scope["current"]


notes, types, items, plans, visits = (Table(n) for n in ("notes", "types", "items", "plans", "visits"))

if duckdb := reader("DuckDB", "duckdb"):
    def rows(query):
        answer = duckdb.connect().execute(query)
        names = [d[0] for d in answer.description]
        return [dict(zip(names, r)) for r in answer.fetchall()]

    attempt("recipe duckdb", lambda: notes.same("recipe duckdb", rows(recipes.pop("duckdb"))))
    attempt("recipe duckdb-by-id", lambda: items.same("recipe duckdb-by-id", rows(recipes.pop("duckdb-by-id"))))
    attempt("recipe duckdb-packs", lambda: visits.same("recipe duckdb-packs", rows(recipes.pop("duckdb-packs"))))
    attempt("DuckDB, every type", lambda: types.same("DuckDB, every type", rows("FROM 'data/storage/users/ana/app/types/*.parquet'")))
    attempt("DuckDB, shared", lambda: plans.same("DuckDB, shared", rows("FROM 'data/storage/shared/app/plans/*.parquet'")))
if reader("pyarrow", "pyarrow") and reader("pandas", "pandas"):
    import pyarrow.parquet as pq

    attempt("recipe pandas", lambda: notes.same("recipe pandas", python("pandas").to_dict("records")))
    attempt("recipe by-id", lambda: items.same("recipe by-id", python("by-id")))
    attempt("recipe packs", lambda: visits.same("recipe packs", python("packs")))
    attempt("pyarrow, every type", lambda: types.same("pyarrow, every type", pq.read_table("data/storage/users/ana/app/types").to_pylist()))

    def checksums():  # and what the footer says
        for path in glob.glob("data/storage/*/**/*.parquet", recursive=True):
            meta = pq.read_metadata(path).metadata
            of = "pack_directory" if "/packs/" in path else "user"
            for key in ("table", "table_id", of, "schema_version", "min_seq", "max_seq"):
                assert f"kalamdb.{key}".encode() in meta, (path, key)

    attempt("pyarrow, footers", checksums)
if polars := reader("Polars", "polars"):
    attempt("recipe polars", lambda: notes.same("recipe polars", python("polars").to_dicts()))
    attempt("Polars, every type", lambda: types.same("Polars, every type", polars.read_parquet("data/storage/users/ana/app/types/*.parquet").to_dicts()))
if reader("Spark", "pyspark"):
    attempt("recipe spark", lambda: notes.same("recipe spark", [r.asDict() for r in python("spark").collect()]))
if chdb := reader("ClickHouse", "chdb"):
    def clickhouse():
        out = str(chdb.query(recipes.pop("clickhouse"), "JSONEachRow"))
        return [json.loads(line) | {"_updated": json.loads(line)["_updated"].replace(" ", "T") + "Z"} for line in out.splitlines()]

    attempt("recipe clickhouse", lambda: notes.same("recipe clickhouse", clickhouse()))


def log():
    named = set().union(*python("log").values())
    there = {os.path.relpath(p, "data/storage") for p in glob.glob("data/storage/users/*/app/notes/*.parquet")}
    assert named == there and len(there) == 3, (named, there)
    print("ok   recipe log: 3 files")


attempt("recipe log", log)
if recipes and not os.path.getsize(missing):
    failures += 1
    print(f"FAIL nothing runs the recipes {sorted(recipes)}")
print(f"{ran} comparisons, {failures} failed")
sys.exit(failures > 0)
