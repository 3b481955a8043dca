import sqlite3

with sqlite3.connect("d.db") as db:
    db.execute("pragma journal_mode=wal")
    db.execute("create table t (a integer primary key, b text)")
    db.executemany("insert into t (b) values (?)", [(str(n),) for n in range(1000)])
other = sqlite3.connect("d.db", timeout=1)
print(other.execute("select count(*), max(a) from t").fetchone(), db.execute("pragma integrity_check").fetchone())
db.execute("vacuum")
