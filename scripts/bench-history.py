"""The rows of `cargo bench -p history` in other stores: bytes a row, scans, and pages.

Usage: bench-history.py DIRECTORY, where DIRECTORY holds the CSV files that the benchmark wrote.
`scripts/bench-history.sh` runs both.
"""

import csv
import sqlite3
import sys
import time
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow
import pyarrow.compute
import pyarrow.parquet

PAGE_ROWS = 1_000
REPEATS = 31


def read(path):
    """Columns of exact integers: decimals at the highest scale of their column."""
    with path.open() as file:
        names, *rows = csv.reader(file)
    columns, scales = {}, {}
    for name, texts in zip(names, zip(*rows)):
        scale = max(len(text.partition(".")[2]) for text in texts)
        scales[name] = scale
        columns[name] = [int(Decimal(text).scaleb(scale)) for text in texts]
    return columns, scales


def timed(call):
    """The median time of a call in seconds."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def fits(columns):
    return all(abs(value) < 2**63 for column in columns.values() for value in column)


def in_sqlite(path, columns):
    connection = sqlite3.connect(path)
    names = list(columns)
    key = "first_id" if "is_buy" in columns else "start_ms"
    fields = ", ".join(f"{name} INTEGER NOT NULL" for name in names)
    connection.execute(f"CREATE TABLE rows ({fields}, PRIMARY KEY ({key})) WITHOUT ROWID")
    places = ", ".join("?" * len(names))
    connection.executemany(f"INSERT INTO rows VALUES ({places})", zip(*columns.values()))
    connection.commit()
    connection.execute("VACUUM")
    value = "quantity" if "is_buy" in columns else "volume"
    scan = timed(lambda: connection.execute(f"SELECT sum({value}) FROM rows").fetchall())
    page = timed(
        lambda: connection.execute(
            f"SELECT * FROM rows ORDER BY {key} DESC LIMIT {PAGE_ROWS}"
        ).fetchall()
    )
    connection.close()
    return path.stat().st_size, scan, page


def in_duckdb(path, columns):
    table = pyarrow.table(columns)
    connection = duckdb.connect(str(path))
    connection.execute("SET threads = 1")
    connection.register("given", table)
    connection.execute("CREATE TABLE rows AS SELECT * FROM given")
    connection.execute("CHECKPOINT")
    key = "first_id" if "is_buy" in columns else "start_ms"
    value = "quantity" if "is_buy" in columns else "volume"
    newest = columns[key][-1]
    oldest = columns[key][-min(PAGE_ROWS, len(columns[key]))]
    scan = timed(lambda: connection.execute(f"SELECT sum({value}) FROM rows").fetchall())
    page = timed(
        lambda: connection.execute(
            f"SELECT * FROM rows WHERE {key} BETWEEN {oldest} AND {newest} ORDER BY {key}"
        ).fetchall()
    )
    connection.close()
    return path.stat().st_size, scan, page


def in_parquet(path, columns, **options):
    table = pyarrow.table(columns)
    pyarrow.parquet.write_table(table, path, **options)
    value = "quantity" if "is_buy" in columns else "volume"

    def scan():
        column = pyarrow.parquet.read_table(path, columns=[value], use_threads=False)
        pyarrow.compute.sum(column[value])

    key = "first_id" if "is_buy" in columns else "start_ms"
    oldest = columns[key][-min(PAGE_ROWS, len(columns[key]))]
    page = timed(
        lambda: pyarrow.parquet.read_table(path, filters=[(key, ">=", oldest)], use_threads=False)
    )
    return path.stat().st_size, timed(scan), page


def measure(directory, name, kind, columns, scales):
    rows = len(next(iter(columns.values())))
    floats = {
        name: [value / 10 ** scales[name] for value in column] if scales[name] else column
        for name, column in columns.items()
    }
    delta = dict(compression="zstd", use_dictionary=False)
    encodings = {name: "DELTA_BINARY_PACKED" for name in columns}
    stores = [
        ("SQLite rows", lambda path: in_sqlite(path, columns)),
        ("DuckDB", lambda path: in_duckdb(path, columns)),
        ("Parquet, floats, ZSTD-1", lambda path: in_parquet(path, floats, compression="zstd", compression_level=1)),
        (
            "Parquet, integers, deltas, ZSTD-3",
            lambda path: in_parquet(path, columns, compression_level=3, column_encoding=encodings, **delta),
        ),
    ]
    for store, run in stores:
        path = directory / "store"
        path.unlink(missing_ok=True)
        if not fits(columns) and "floats" not in store:
            print(f"| {name} | {kind} | {store} | integers of more than 64 bits | | |")
            continue
        size, scan, page = run(path)
        path.unlink()
        million = rows / scan / 1e6
        print(f"| {name} | {rows} {kind} | {store} | {size / rows:.2f} | {million:.0f} | {page * 1e3:.2f} |")


def main():
    directory = Path(sys.argv[1])
    print("| tape | rows | store | bytes a row | scan of one column, M rows/s | newest 1,000 rows, ms |")
    print("|---|---|---|---|---|---|")
    for label in sorted(directory.glob("*-name.txt")):
        name, index = label.read_text(), label.name.split("-")[0]
        for kind in ["trades", "bars"]:
            columns, scales = read(directory / f"{index}-{kind}.csv")
            measure(directory, name, kind, columns, scales)


main()
