import csv, statistics

with open("sales.csv") as file:
    rows = list(csv.DictReader(file))

by_region = {}
for row in rows:
    by_region.setdefault(row["region"], []).append(float(row["amount"]))

with open("summary.csv", "w", newline="") as file:
    out = csv.writer(file)
    out.writerow(["region", "orders", "total", "median"])
    for region, amounts in sorted(by_region.items()):
        out.writerow([region, len(amounts), sum(amounts), statistics.median(amounts)])

best = max(by_region, key=lambda region: sum(by_region[region]))
print(f"{len(rows)} orders; the best region is {best} with {sum(by_region[best]):.2f}")
