import csv, struct, time, zlib

totals = {}
with open("sales.csv") as file:
    for row in csv.DictReader(file):
        totals[row["region"]] = totals.get(row["region"], 0) + float(row["amount"])
ranking = sorted(totals.items(), key=lambda item: -item[1])
for region, total in ranking:
    print(f"total: {region} with {total:.2f}", flush=True)
    time.sleep(0.3)

# A bar for each region, the highest first, as a PNG made by hand.
width, height, most = 400, 240, ranking[0][1]
slot = width // len(ranking)
rows = b""
for y in range(height):
    rows += b"\0"
    for x in range(width):
        bar = min(x // slot, len(ranking) - 1)
        top = height - 20 - ranking[bar][1] / most * (height - 40)
        inside = slot // 5 < x - bar * slot < slot * 4 // 5 and top <= y < height - 20
        rows += bytes((54, 110, 180) if inside else (255, 255, 255))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
with open("chart.png", "wb") as file:
    file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header))
    file.write(chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
print("the chart is in chart.png")
